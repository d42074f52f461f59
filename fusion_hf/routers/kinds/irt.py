"""Multidimensional item response theory: a query has a difficulty and tests abilities, a candidate has them or not."""

import numpy as np
import torch
from torch.nn.functional import softplus

from ..base import Router, Targets
from ..config import RouterConfig
from ..learning.gradient import Parameters, Whitened, cross_entropy, descend, uniform
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table

ABILITIES = 16
STEPS, RATE, DECAY = 500, 3e-3, 0.1


class IrtRouterConfig(RouterConfig):
    """Configuration of an `IrtRouter`; ``options`` holds the place of each quantity in the table of logits."""

    model_type = "fusion_hf-irt"


class IrtRouter(Router):
    """``P(right) = sigmoid(discrimination(query) . ability[candidate] - difficulty(query))``.

    The compensatory multidimensional two-parameter model (Reckase 1985) that IRT-Router (arXiv 2506.01048) uses for
    routing: discrimination, which is positive, and difficulty are functions of the query's features, so that new
    queries need no calibration; abilities are free. Cross-entropy on the measured cells. Costs are predicted apart (see
    `costs`).
    """

    config_class = IrtRouterConfig

    @classmethod
    def learn(
        cls,
        x: np.ndarray,
        targets: Targets,
        seed: int = 0,
        abilities: int = ABILITIES,
        steps: int = STEPS,
        rate: float = RATE,
        decay: float = DECAY,
    ):
        """See `Router.learn`.

        Args:
            x: Features.
            targets: Of the log.
            seed: Of initial values and the order of the rows.
            abilities: Number of dimensions.
            steps: Number of batches.
            rate: Largest step size.
            decay: Weight decay.
        """
        places, y = score_table(targets)
        blocks, m = max(places.values()) + 1, targets.raw["performance"].shape[1]
        inputs, generator, scores = Whitened(x), torch.Generator().manual_seed(seed), torch.from_numpy(y).float()

        def loss(p: Parameters, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return cross_entropy(_logits(inputs.x[rows] @ p["item"] + p["item_bias"], p["ability"]), scores[rows])

        d, k = x.shape[1], blocks * m
        # One difficulty a quantity: a judge may be milder than a grader.
        first = {
            "item": uniform(generator, d, d, abilities + blocks), "item_bias": torch.zeros(abilities + blocks),
            "ability": uniform(generator, abilities, abilities, k),
        }  # fmt: skip
        found = descend(first, loss, len(x), steps=steps, generator=generator, rate=rate, decay=decay, label="irt")
        options, buffers = learn_costs(x, targets, seed)
        buffers["item_weight"], buffers["item_bias"] = inputs.unfold(found["item"], found["item_bias"])
        never = torch.from_numpy(np.isnan(y).all(0))
        buffers["ability"] = torch.where(never, torch.nan, found["ability"])
        return options | {"places": places}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        table = _logits(x @ self.item_weight + self.item_bias, self.ability).sigmoid()
        return score_outputs(self.config.options["places"], table) | cost_outputs(self, x)


def _logits(item: torch.Tensor, ability: torch.Tensor) -> torch.Tensor:
    """Logits [n, blocks * m] of items [n, abilities + blocks] (discriminations, difficulties) and abilities."""
    size = len(ability)
    blocks = item.shape[1] - size
    difficulty = item[:, size:].repeat_interleave(ability.shape[1] // blocks, 1)
    return softplus(item[:, :size]) @ ability - difficulty


ROUTER = IrtRouter

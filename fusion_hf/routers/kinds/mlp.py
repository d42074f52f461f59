"""A small network from the query's features to all candidates' scores at once."""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig
from ..learning.gradient import Parameters, Whitened, cross_entropy, descend, drop, uniform
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table

HIDDEN, DROPOUT = 128, 0.3
STEPS, RATE, DECAY = 500, 3e-3, 0.1
POLICY, SHARPNESS = 1.0, 4.0


class MlpRouterConfig(RouterConfig):
    """Configuration of an `MlpRouter`; ``options`` holds the place of each quantity in the network's output."""

    model_type = "fusion_hf-mlp"


class MlpRouter(Router):
    """One hidden layer; binary cross-entropy on every measured score, minus the reward of a soft choice.

    The soft choice picks candidates by a softmax of the logits, and its expected reward is what routing is about:
    cross-entropy alone spends the network on candidates that never win. Missing cells count in neither term. Costs are
    predicted apart (see `costs`).
    """

    config_class = MlpRouterConfig

    @classmethod
    def learn(
        cls,
        x: np.ndarray,
        targets: Targets,
        seed: int = 0,
        hidden: int = HIDDEN,
        dropout: float = DROPOUT,
        steps: int = STEPS,
        rate: float = RATE,
        decay: float = DECAY,
        policy: float = POLICY,
    ):
        """See `Router.learn`.

        Args:
            x: Features.
            targets: Of the log.
            seed: Of initial weights, dropout and the order of the rows.
            hidden: Units of the hidden layer.
            dropout: Share of them that is left out of a step.
            steps: Number of batches.
            rate: Largest step size.
            decay: Weight decay.
            policy: Weight of the expected reward against the cross-entropy.
        """
        places, y = score_table(targets)
        inputs, generator, scores = Whitened(x), torch.Generator().manual_seed(seed), torch.from_numpy(y).float()

        def loss(p: Parameters, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            inner = torch.nn.functional.gelu(inputs.x[rows] @ p["hidden"] + p["hidden_bias"])
            logits = drop(inner, dropout, generator) @ p["out"] + p["out_bias"]
            return score_loss(logits, scores[rows], places, policy)

        d, k = x.shape[1], y.shape[1]
        first = {
            "hidden": uniform(generator, d, d, hidden), "hidden_bias": uniform(generator, d, hidden),
            "out": uniform(generator, hidden, hidden, k), "out_bias": torch.zeros(k),
        }  # fmt: skip
        found = descend(first, loss, len(x), steps=steps, generator=generator, rate=rate, decay=decay, label="mlp")
        options, buffers = learn_costs(x, targets, seed)
        buffers["hidden_weight"], buffers["hidden_bias"] = inputs.unfold(found["hidden"], found["hidden_bias"])
        never = torch.from_numpy(np.isnan(y).all(0))
        buffers["out_weight"] = found["out"].contiguous()
        buffers["out_bias"] = torch.where(never, torch.nan, found["out_bias"])
        return options | {"places": places}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        inner = torch.nn.functional.gelu(x @ self.hidden_weight + self.hidden_bias)
        table = (inner @ self.out_weight + self.out_bias).sigmoid()
        return score_outputs(self.config.options["places"], table) | cost_outputs(self, x)


def score_loss(logits: torch.Tensor, score: torch.Tensor, places: dict[str, int], policy: float) -> torch.Tensor:
    """Cross-entropy less `policy` times the `expected_reward` in every scaled quantity of `scores.score_table`."""
    total, blocks = cross_entropy(logits, score), max(places.values()) + 1
    parts = list(zip(logits.chunk(blocks, 1), score.chunk(blocks, 1), strict=True))
    for block in sorted({p for n, p in places.items() if n.endswith("_scaled")}):
        total = total - policy * expected_reward(*parts[block])
    return total


def expected_reward(logits: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """Mean score of the choice that a softmax of `logits` [n, m] makes among the measured cells of `score` [n, m]."""
    measured = ~score.isnan()
    # Not minus infinity: a row without any measurement must not give NaN.
    share = (SHARPNESS * logits).masked_fill(~measured, -1e4).softmax(1) * measured
    rows = measured.any(1)
    return (share * score.nan_to_num(0)).sum(1)[rows].mean() if rows.any() else logits.sum() * 0


ROUTER = MlpRouter

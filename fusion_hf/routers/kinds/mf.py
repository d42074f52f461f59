"""Matrix factorisation: a query and a candidate meet in a small space, as in EmbedLLM."""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig
from ..learning.gradient import Parameters, Whitened, cross_entropy, descend, uniform
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table

RANK = 16
STEPS, RATE, DECAY = 500, 3e-3, 0.1


class MfRouterConfig(RouterConfig):
    """Configuration of an `MfRouter`; ``options`` holds the place of each quantity in the table of logits."""

    model_type = "fusion_hf-mf"


class MfRouter(Router):
    """``P(right) = sigmoid(project(query) . embedding[candidate] + bias[candidate])``.

    As EmbedLLM (arXiv 2410.02223) factorises the table of who was right on what: queries are projected from their
    features, candidates have free vectors, and cross-entropy on the measured cells trains both. EmbedLLM's last linear
    layer is part of the candidates' vectors here; the bias a candidate is ours. Costs are predicted apart (`costs`).
    """

    config_class = MfRouterConfig

    @classmethod
    def learn(
        cls,
        x: np.ndarray,
        targets: Targets,
        seed: int = 0,
        rank: int = RANK,
        steps: int = STEPS,
        rate: float = RATE,
        decay: float = DECAY,
    ):
        """See `Router.learn`.

        Args:
            x: Features.
            targets: Of the log.
            seed: Of initial values and the order of the rows.
            rank: Dimensions of the common space.
            steps: Number of batches.
            rate: Largest step size.
            decay: Weight decay.
        """
        places, y = score_table(targets)
        inputs, generator, scores = Whitened(x), torch.Generator().manual_seed(seed), torch.from_numpy(y).float()

        def loss(p: Parameters, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            logits = (inputs.x[rows] @ p["project"] + p["project_bias"]) @ p["embedding"] + p["candidate_bias"]
            return cross_entropy(logits, scores[rows])

        d, k = x.shape[1], y.shape[1]
        first = {
            "project": uniform(generator, d, d, rank), "project_bias": torch.zeros(rank),
            "embedding": uniform(generator, rank, rank, k), "candidate_bias": torch.zeros(k),
        }  # fmt: skip
        found = descend(first, loss, len(x), steps=steps, generator=generator, rate=rate, decay=decay, label="mf")
        options, buffers = learn_costs(x, targets, seed)
        buffers["project_weight"], buffers["project_bias"] = inputs.unfold(found["project"], found["project_bias"])
        never = torch.from_numpy(np.isnan(y).all(0))
        buffers["embedding"] = found["embedding"].contiguous()
        buffers["candidate_bias"] = torch.where(never, torch.nan, found["candidate_bias"])
        return options | {"places": places}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        table = ((x @ self.project_weight + self.project_bias) @ self.embedding + self.candidate_bias).sigmoid()
        return score_outputs(self.config.options["places"], table) | cost_outputs(self, x)


ROUTER = MfRouter

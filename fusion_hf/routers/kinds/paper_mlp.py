"""The published MLP: a small network a candidate on whether it is the winner. See `paper`."""

import numpy as np
import torch

from ..config import RouterConfig
from ..learning.gradient import Parameters, descend, uniform
from ._paper import PaperRouter

HIDDEN, STEPS, RATE, DECAY, BATCH = 50, 1000, 1e-3, 0.01, 200


class PaperMlpRouterConfig(RouterConfig):
    """Configuration of a `PaperMlpRouter`; ``options`` holds the trade-offs that it was trained on."""

    model_type = "fusion_hf-paper-mlp"


class PaperMlpRouter(PaperRouter):
    """One hidden layer of `HIDDEN` rectified units a candidate, trained by squared error on plain embeddings.

    Rate, decay and batch are the published ones; a fixed number of steps stands for early stopping. The published
    script ends up with one unit (``hidden=1``).
    """

    config_class = PaperMlpRouterConfig

    @classmethod
    def learn_shares(
        cls, x: np.ndarray, labels: np.ndarray, seed: int, hidden: int = HIDDEN, steps: int = STEPS, rate: float = RATE
    ) -> dict[str, torch.Tensor]:
        """See `PaperRouter.learn_shares`; `hidden` is the number of units."""
        inputs, truth = torch.from_numpy(x).float(), torch.from_numpy(labels).float().flatten(1)
        generator, d, k = torch.Generator().manual_seed(seed), x.shape[1], truth.shape[1]
        first = {
            "hidden": uniform(generator, d, d, k * hidden), "hidden_bias": uniform(generator, d, k * hidden),
            "out": uniform(generator, hidden, k, hidden), "out_bias": uniform(generator, hidden, k),
        }  # fmt: skip

        def loss(p: Parameters, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return ((_network(inputs[rows], p) - truth[rows]) ** 2).mean(0).sum()

        return descend(
            first, loss, len(x), steps=steps, generator=generator, rate=rate, decay=DECAY, batch=BATCH, label="mlp"
        )

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """See `PaperRouter.shares`."""
        found = _network(x, dict(self.named_buffers(recurse=False)))
        return found.unflatten(1, (len(self.config.options["trade_offs"]), -1))


def _network(x: torch.Tensor, p: Parameters) -> torch.Tensor:
    """Output of every network, [n, k], of features [n, d]."""
    inner = (x @ p["hidden"] + p["hidden_bias"]).relu().unflatten(1, p["out"].shape)
    return (inner * p["out"]).sum(2) + p["out_bias"]


ROUTER = PaperMlpRouter

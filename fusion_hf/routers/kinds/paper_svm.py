"""The published SVM: a linear support vector regression a candidate on whether it is the winner. See `paper`."""

import numpy as np
import torch

from ..config import RouterConfig
from ..learning.ridge import Ridge
from ._paper import PaperRouter

C = 1.0
ROUNDS, STEP = 200, 1.0


class PaperSvmRouterConfig(RouterConfig):
    """Configuration of a `PaperSvmRouter`; ``options`` holds the trade-offs that it was trained on."""

    model_type = "fusion_hf-paper-svm"


class PaperSvmRouter(PaperRouter):
    """The absolute loss without a tube and C = 1: scikit-learn's ``LinearSVR()``, but for the intercept's penalty."""

    config_class = PaperSvmRouterConfig

    @classmethod
    def learn_shares(cls, x: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, torch.Tensor]:
        """See `PaperRouter.learn_shares`."""
        weight, bias = absolute_regression(x, labels.reshape(len(x), -1))
        return {
            "weight": torch.from_numpy(weight.astype(np.float32)),
            "bias": torch.from_numpy(bias.astype(np.float32)),
        }

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """See `PaperRouter.shares`."""
        return (x @ self.weight + self.bias).unflatten(1, (len(self.config.options["trade_offs"]), -1))


def absolute_regression(x: np.ndarray, y: np.ndarray, rounds: int = ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """Weights [d, k] and intercepts [k] that minimise ``|w|^2 / 2 + C sum |y - xw - b|``, for targets y [n, k].

    By the alternating direction method of multipliers (Boyd et al. 2011, section 6.1) on the residual: a ridge
    regression and a soft threshold in turn, `rounds` times.
    """
    ridge = Ridge(x)
    residual = price = np.zeros_like(y)
    for _ in range(rounds):
        weight, bias = ridge.solve(y - residual - price, 1.0 / STEP)
        gap = y - x @ weight - bias
        residual = np.sign(gap - price) * np.maximum(np.abs(gap - price) - C / STEP, 0)
        price = price + residual - gap
    return weight, bias


ROUTER = PaperSvmRouter

"""Ridge regression from the query's features to every candidate's score and cost."""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig
from ..learning.ridge import Ridge

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 4


class LinearRouterConfig(RouterConfig):
    """Configuration of a `LinearRouter`; ``options`` holds the ``outputs`` in order and the penalty of each."""

    model_type = "fusion_hf-linear"


class LinearRouter(Router):
    """One ridge regression a candidate for the score, and one for the logarithm of the cost.

    Penalties are chosen by cross-validated squared error on the training log. Missing cells count neither for nor
    against (see `Ridge.solve`).
    """

    config_class = LinearRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        outputs = _outputs(targets)
        folds = np.random.RandomState(seed).randint(0, FOLDS, len(x))
        parts = [(Ridge(x[folds != f]), folds == f) for f in range(FOLDS) if (folds == f).any() and (folds != f).any()]
        penalties, weights, biases, whole = {}, [], [], Ridge(x)
        for name, y in outputs.items():
            penalties[name] = min(PENALTIES, key=lambda p: error(parts, x, y, p))
            weight, bias = whole.solve(y, penalties[name])
            if name == "cost":
                bias = bias + smear(y - x @ weight - bias)
            weights.append(weight)
            biases.append(bias)
        return (
            {"penalties": penalties, "outputs": list(outputs)},
            {
                "weight": torch.from_numpy(np.concatenate(weights, 1).astype(np.float32)),
                "bias": torch.from_numpy(np.concatenate(biases).astype(np.float32)),
            },
        )

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        names = self.config.options["outputs"]
        result = dict(zip(names, (x @ self.weight + self.bias).chunk(len(names), 1), strict=True))
        for name in ("performance", "judge"):
            if name in result:
                result[name] = result[name].clamp(0, 1)
        if "cost" in result:
            result["cost"] = result["cost"].exp()
        return result


def _outputs(targets: Targets) -> dict[str, np.ndarray]:
    """Everything that is regressed; the cost in USD by its logarithm."""
    result = {}
    for name, values in targets.raw.items():
        result[name] = log_cost(values) if name == "cost" else values
        result[f"{name}_scaled"] = targets.scaled[name]
    return result


def log_cost(cost: np.ndarray) -> np.ndarray:
    """Natural logarithm of a cost in USD, of which free answers get a thousandth of the smallest price."""
    positive = cost[cost > 0]
    return np.log(np.maximum(cost, (positive.min() if len(positive) else 1.0) * 1e-3))


def smear(residual: np.ndarray) -> np.ndarray:
    """log of the mean of exp(residual) a column: turns a predicted log into a predicted mean (Duan 1983)."""
    seen = ~np.isnan(residual)
    total = np.where(seen, np.exp(np.clip(np.where(seen, residual, 0), -5, 5)), 0).sum(0)
    return np.log(np.maximum(total, 1e-9) / np.maximum(seen.sum(0), 1))


def error(parts: list[tuple[Ridge, np.ndarray]], x: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Squared error on held-out rows, summed over folds: `parts` are (ridge on the other rows, mask of the fold)."""
    total = 0.0
    for ridge, fold in parts:
        weight, bias = ridge.solve(y[~fold], penalty)
        total += float(np.nansum((y[fold] - x[fold] @ weight - bias) ** 2))
    return total


ROUTER = LinearRouter

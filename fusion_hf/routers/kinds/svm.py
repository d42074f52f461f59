"""Support vector regression from the query's features to every candidate's score."""

import numpy as np
import torch

from ..base import Router
from ..config import RouterConfig
from ..learning.ridge import Ridge
from ..targets import Targets
from ._costs import cost_outputs, learn_costs
from ._score_table import mean_picked, score_outputs, score_table

EPSILON = 0.1
PENALTIES = (3.0, 10.0, 30.0, 100.0)
FOLDS = 4
ROUNDS = 60


class SvmRouterConfig(RouterConfig):
    """Configuration of an `SvmRouter`; ``options`` holds the place of each quantity and the penalty chosen."""

    model_type = "fusion_hf-svm"


class SvmRouter(Router):
    """One linear support vector regression a candidate, with the squared epsilon-insensitive loss.

    The squared loss (L2-loss SVR, Ho and Lin 2012) and not the absolute one: that one predicts medians, which for
    scores of 0 or 1 are 0 or 1 and rank nothing. The penalty is chosen by cross-validated reward. Costs are predicted
    apart (see `costs`).
    """

    config_class = SvmRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0, epsilon: float = EPSILON):
        """See `Router.learn`; `epsilon` is the error of a score that costs nothing."""
        places, y = score_table(targets)
        score, place = targets.scaled["performance"], places["performance_scaled"]
        columns = slice(place * score.shape[1], (place + 1) * score.shape[1])
        fold = np.random.RandomState(seed).randint(0, FOLDS, len(x))
        parts = [(Ridge(x[fold != f]), fold == f) for f in range(FOLDS) if (fold == f).any() and (fold != f).any()]
        rewards = {p: _reward(parts, x, y[:, columns], p, epsilon) for p in PENALTIES}
        penalty = max(PENALTIES, key=lambda p: rewards[p])
        weight, bias = support_vectors(Ridge(x), y, penalty, epsilon)
        options, buffers = learn_costs(x, targets, seed)
        buffers["weight"] = torch.from_numpy(np.ascontiguousarray(weight, np.float32))
        buffers["bias"] = torch.from_numpy(bias.astype(np.float32))
        return options | {"places": places, "penalty": penalty, "epsilon": epsilon}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        return score_outputs(self.config.options["places"], x @ self.weight + self.bias) | cost_outputs(self, x)


def support_vectors(
    ridge: Ridge, y: np.ndarray, penalty: float, epsilon: float, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [d, k] and intercepts [k] that minimise ``sum max(0, |y - xw - b| - epsilon)^2 + penalty |w|^2``.

    The loss is the squared distance of the residual to the tube, so ridge regression on ``y`` moved to the nearest edge
    of the tube, again and again, goes down to the only minimum. NaN targets are missing; a column without any gets an
    intercept of NaN. `rounds` is an upper bound: it ends when no target moves by more than 1e-4.
    """
    missing = np.isnan(y)
    empty = missing.all(0)
    mean = np.where(missing, 0, y).sum(0) / np.maximum((~missing).sum(0), 1)
    target = np.where(missing, mean, y)
    x = ridge.x + ridge.mean
    for _ in range(rounds):
        weight, bias = ridge.solve(target, penalty)
        fitted = x @ weight + bias
        new = np.where(missing, fitted, y - np.clip(y - fitted, -epsilon, epsilon))
        moved = np.abs(new - target).max(initial=0.0)
        target = new
        if moved < 1e-4:
            break
    return weight, np.where(empty, np.nan, bias)


def _reward(parts, x: np.ndarray, score: np.ndarray, penalty: float, epsilon: float) -> float:
    """Mean score of the best candidate by the predictions of the other folds."""
    expected = np.zeros_like(score)
    for ridge, held in parts:
        weight, bias = support_vectors(ridge, score[~held], penalty, epsilon)
        expected[held] = x[held] @ weight + bias
    return mean_picked(expected, score)


ROUTER = SvmRouter

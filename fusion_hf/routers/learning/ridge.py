"""Ridge regression for many targets and penalties at once, with missing targets.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

import numpy as np


class Ridge:
    """Least squares on x, float64 [n, d], centred, with the intercept not penalised.

    One eigendecomposition serves every penalty and every target; with fewer rows than columns it is that of the rows'
    inner products.

    Attributes:
        mean: Of the rows, [d].
        x: Rows without it, [n, d].
        axes, values: Right singular vectors [d, min(n, d)] and squared singular values of `x`.
    """

    def __init__(self, x: np.ndarray):
        self.mean = x.mean(0)
        self.x = x - self.mean
        if len(x) >= x.shape[1]:
            values, self.axes = np.linalg.eigh(self.x.T @ self.x)
            self.values = np.maximum(values, 0)
        else:
            values, left = np.linalg.eigh(self.x @ self.x.T)
            kept = values > 1e-10 * max(values[-1], 1e-300)
            self.values = values[kept]
            self.axes = self.x.T @ (left[:, kept] / np.sqrt(self.values))

    def solve(self, y: np.ndarray, penalty: float, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
        """Weights [d, k] and intercepts [k] for targets y [n, k]; NaN targets are missing.

        Missing targets are filled with the model's own prediction and the model is solved again (`rounds` times): this
        majorise-minimise iteration goes to the ridge on the measured rows alone, and shares the decomposition. A column
        without any measurement gets zero weights and an intercept of NaN.
        """
        missing = np.isnan(y)
        if not missing.any():
            return self._solve(y, penalty)
        holes = missing.any(0)
        if not holes.all():  # columns do not depend on each other: those without a gap are solved once
            weights, intercept = np.empty((self.x.shape[1], y.shape[1])), np.empty(y.shape[1])
            weights[:, ~holes], intercept[~holes] = self._solve(y[:, ~holes], penalty)
            weights[:, holes], intercept[holes] = self.solve(y[:, holes], penalty, rounds)
            return weights, intercept
        empty = missing.all(0)
        measured = np.maximum((~missing).sum(0), 1)
        y = np.where(missing, np.where(missing, 0, y).sum(0) / measured, y)
        for _ in range(rounds):
            weights, intercept = self._solve(y, penalty)
            y = np.where(missing, self.x @ weights + (intercept + self.mean @ weights), y)
        return weights, np.where(empty, np.nan, intercept)

    def _solve(self, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        mean = y.mean(0)
        target = self.axes.T @ (self.x.T @ (y - mean))
        weights = self.axes @ (target / (self.values + penalty)[:, None])
        return weights, mean - self.mean @ weights


class SinglePenalty(Ridge):
    """The same for one penalty alone, without an eigendecomposition: several times as fast on hundreds of columns.

    `solve` takes no other penalty than the one given here.
    """

    def __init__(self, x: np.ndarray, penalty: float):
        self.mean, self.penalty = x.mean(0), penalty
        self.x = x - self.mean
        gram = self.x.T @ self.x
        gram[np.diag_indices(len(gram))] += penalty
        self.inverse = np.linalg.inv(gram)

    def _solve(self, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        if penalty != self.penalty:
            raise ValueError(f"expected the penalty {self.penalty}, found {penalty}")
        mean = y.mean(0)
        weights = self.inverse @ (self.x.T @ (y - mean))
        return weights, mean - self.mean @ weights

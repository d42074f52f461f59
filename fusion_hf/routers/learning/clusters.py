"""Groups of rows: k-means, and means in every group where cells are missing.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

import numpy as np


def group_means(y: np.ndarray, onehot: np.ndarray, prior: float = 0.0) -> np.ndarray:
    """Mean of y [n, k] in every group [g, k], over measured cells; `prior` pseudo-counts pull it to the column's mean.

    A group without a measurement gets the column's mean; a column without any is NaN.
    """
    seen = ~np.isnan(y)
    filled = np.where(seen, y, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overall = filled.sum(0) / seen.sum(0)
        count = onehot.T @ seen
        total = onehot.T @ filled + prior * overall
        return np.where(count + prior > 0, total / (count + prior), overall)


def kmeans(x: np.ndarray, k: int, seed: int = 0, rounds: int = 30) -> np.ndarray:
    """Group of every row, int [n], by k-means++ and Lloyd's iterations."""
    rng = np.random.default_rng(seed)
    norm = (x**2).sum(1)
    centres = x[rng.integers(len(x))][None]
    nearest = np.full(len(x), np.inf)
    for _ in range(min(k, len(x)) - 1):
        nearest = np.minimum(nearest, np.maximum(norm - 2 * x @ centres[-1] + (centres[-1] ** 2).sum(), 0))
        if nearest.sum() <= 1e-9:
            break  # fewer different rows than k
        centres = np.vstack([centres, x[rng.choice(len(x), p=nearest / nearest.sum())]])
    group = np.zeros(len(x), np.int64)
    for step in range(rounds):
        new = (x @ centres.T - (centres**2).sum(1) / 2).argmax(1)
        if step and (new == group).all():
            break
        group = new
        for g in range(len(centres)):
            if (group == g).any():
                centres[g] = x[group == g].mean(0)
    return np.unique(group, return_inverse=True)[1]

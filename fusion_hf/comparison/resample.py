"""Sums over queries as they are and on bootstrap resamples, for every system and every quantity at once."""

import hashlib
from collections.abc import Sequence

import numpy as np

DRAWS = 1000
BLOCK = 1 << 22  # queries that are drawn at a time


class Resamples:
    """Bootstrap resamples of queries within each task.

    How many queries a task has is a choice of whoever made the benchmark, not chance, so every resample keeps it. All
    quantities see the same resamples: differences and ratios are paired.

    Args:
        tasks: Task of each of n queries.
        draws: Number of resamples.
        seed: Of the draws.
    """

    def __init__(self, tasks: Sequence[str], draws: int = DRAWS, seed: int = 0):
        self.tasks, place = np.unique(np.asarray(tasks, str), return_inverse=True)
        self.rows = [np.flatnonzero(place == t) for t in range(len(self.tasks))]
        self.draws, self.seed = draws, seed

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of values [n, k] (no NaN) over each task's queries: float64 [tasks, 1 + draws, k], first as it is."""
        result = np.empty((len(self.tasks), 1 + self.draws, values.shape[1]))
        for t, rows in enumerate(self.rows):
            part, n = values[rows], len(rows)
            result[t, 0] = part.sum(0)
            rng, step = np.random.default_rng([self.seed, t]), max(1, BLOCK // n)
            for start in range(0, self.draws, step):
                size = min(step, self.draws - start)
                drawn = rng.integers(0, n, (size, n)) + np.arange(size)[:, None] * n
                counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
                result[t, 1 + start : 1 + start + size] = counts.astype(np.float64) @ part
        return result


class Columns:
    """Columns [n] side by side, equal ones once: most systems share their masks and many share more."""

    def __init__(self) -> None:
        self.columns: list[np.ndarray] = []
        self._places: dict[bytes, int] = {}

    def add(self, column: np.ndarray) -> int:
        """Place of a column; NaN counts as zero."""
        column = np.nan_to_num(np.asarray(column, np.float64))
        key = hashlib.blake2b(column.tobytes(), digest_size=16).digest()
        if key not in self._places:
            self._places[key] = len(self.columns)
            self.columns.append(column)
        return self._places[key]

    def array(self) -> np.ndarray:
        """float64 [n, k]."""
        return np.stack(self.columns, 1)

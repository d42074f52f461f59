"""Groups of queries on which the same candidates are good: the log's tasks, or clusters where no task is named.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..features import block_weights
from .clusters import group_means, kmeans
from .ridge import Ridge

PENALTY, POWER = 0.3, 3
LABEL_PRIOR, CLUSTER_PRIOR = 1.0, 5.0
SCORE_PENALTY = 10.0
ROUNDS = 30  # of k-means


@dataclass
class Grouping:
    """One or several ways side by side to put every training query into a group.

    Attributes:
        names: A name of each column.
        onehot: float64 [n, columns]: a row has a one in every block.
        blocks: Number of columns of every way.
        prior: Pseudo-counts that pull the means of a group to the means of the log.
        penalty: Of the ridge that recognises the groups.
    """

    names: list[str]
    onehot: np.ndarray
    blocks: list[int]
    prior: float
    penalty: float = PENALTY

    def means(self, y: np.ndarray, rows=slice(None)) -> np.ndarray:
        """Mean of y [n, k] over the queries at `rows` in every group: [columns, k]."""
        return group_means(y[rows], self.onehot[rows], self.prior)

    def beyond(self, y: np.ndarray, means: np.ndarray) -> np.ndarray:
        """What of y [n, k] the means of its groups do not say; NaN where not measured."""
        return y - self.onehot @ np.nan_to_num(means) / len(self.blocks)

    def recognise(self, ridge: Ridge, rows=slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Weights [d, columns] and intercepts of a ridge on the features at `rows`, to hand to `share`."""
        return ridge.solve(self.onehot[rows], self.penalty)

    def share(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Weight of each group for queries of which only the features are known: [n, columns], rows sum to 1."""
        likely = np.clip(x @ weight + bias, 0, None) ** POWER + 1e-9
        parts = np.split(likely, np.cumsum(self.blocks)[:-1], 1)
        return np.concatenate([p / p.sum(1, keepdims=True) for p in parts], 1) / len(parts)


def by_label(labels: Sequence[str]) -> Grouping:
    """A group a task of the log."""
    names, group = np.unique(labels, return_inverse=True)
    return Grouping([str(n) for n in names], np.eye(len(names))[group], [len(names)], LABEL_PRIOR)


def by_cluster(x: np.ndarray, expected: np.ndarray, sizes: Sequence[int], embedding: int, seed: int) -> Grouping:
    """Clusters of queries that look alike and on which the same candidates can be expected to be good.

    Args:
        x: Features, [n, d].
        expected: Scores that other queries let one expect, [n, m].
        sizes: Number of clusters of every way to cluster; the ways are averaged.
        embedding: Leading columns of x that are a text embedding.
        seed: Of k-means.
    """
    weight = block_weights(x.shape[1], embedding)
    points = np.concatenate([x * weight, expected - expected.mean(0)], 1).astype(np.float32)
    groups = [kmeans(points, k, seed + i, rounds=ROUNDS) for i, k in enumerate(sizes)]
    blocks = [int(g.max()) + 1 for g in groups]
    names = [f"group {i}.{j}" if len(blocks) > 1 else f"group {j}" for i, n in enumerate(blocks) for j in range(n)]
    onehot = np.concatenate([np.eye(n)[g] for n, g in zip(blocks, groups, strict=True)], 1)
    return Grouping(names, onehot, blocks, CLUSTER_PRIOR)


def expected_scores(parts: Sequence[tuple[Ridge, np.ndarray]], x: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Score [n, m] of every query by a ridge that did not see it: `parts` are (ridge on the other rows, mask)."""
    result = np.tile(np.nan_to_num(group_means(score, np.ones((len(x), 1)))), (len(x), 1))
    for ridge, held in parts:
        weight, bias = ridge.solve(score[~held], SCORE_PENALTY)
        result[held] = np.nan_to_num(x[held] @ weight + bias)
    return result

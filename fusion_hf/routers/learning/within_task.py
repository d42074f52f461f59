"""What a query says beyond its task: two ridges, each weighed in each task by what it gains in cross-validation.

One ridge is the same for all tasks, the other a task's own. In most tasks neither helps to choose; in some both do.
This file is copied beside checkpoints (see `remote_code`), so it uses numpy and torch only.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from .grouping import Grouping
from .ridge import Ridge

SHARED_PENALTY, OWN_PENALTY = 30.0, 20.0
GAINS = np.array(list(product((0.0, 0.25, 0.5, 1.0), (0.0, 0.5, 1.0, 1.5))))  # of the shared and of the own ridge
SHARED_GAINS = np.array([(g, 0.0) for g in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)])
BELIEF = 200.0  # queries that the whole log counts as in the choice of a task's gains
SHARPNESS = 3.0  # of the choice, in standard errors: gains that do as well are averaged
FEWEST = 10  # queries of a task from which a ridge of its own is learned
CAUTION = 1.0  # standard errors that all gains together may lose on other folds before they are dropped
RANK = 32  # directions of the features that are kept


def own_ridges(x: np.ndarray, rest: np.ndarray, onehot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A ridge a group on its own rows: weights [groups, d, m] and intercepts [groups, m], zero for small groups.

    `rest` is what the group's means leave, so that a missing cell counts as nothing beyond them.
    """
    weight = np.zeros((onehot.shape[1], x.shape[1], rest.shape[1]))
    bias = np.zeros((onehot.shape[1], rest.shape[1]))
    for g in range(onehot.shape[1]):
        rows = onehot[:, g] > 0
        if rows.sum() < FEWEST:
            continue
        y, middle = np.nan_to_num(rest[rows]), x[rows].mean(0)
        z = x[rows] - middle
        few = len(z) < z.shape[1]  # the smaller of the two systems of equations
        gram = z @ z.T if few else z.T @ z
        gram[np.diag_indices(len(gram))] += OWN_PENALTY
        target = y - y.mean(0)
        weight[g] = z.T @ np.linalg.solve(gram, target) if few else np.linalg.solve(gram, z.T @ target)
        bias[g] = y.mean(0) - middle @ weight[g]
    return weight, bias


def choose_gains(
    score: np.ndarray, plain: np.ndarray, shared: np.ndarray, own: np.ndarray | None, groups: np.ndarray
) -> np.ndarray:
    """Gains of both ridges in every group: [groups, 2].

    Args:
        score: What was measured, [n, m].
        plain: Held-out prediction by the task alone, [n, m].
        shared, own: Held-out predictions of what is beyond it, [n, m]; own is None where groups have no ridge.
        groups: One-hot groups, [n, groups].
    """
    grid = SHARED_GAINS if own is None else GAINS
    own = np.zeros_like(shared) if own is None else own
    before = _reward(plain, score)
    more = np.stack([_reward(plain + a * shared + b * own, score) - before for a, b in grid], 1)
    seen = ~np.isnan(before)
    more, groups = more[seen], groups[seen]
    count = groups.sum(0)[:, None]
    total = groups.T @ more
    mean = (total + BELIEF * more.mean(0) if len(more) else total) / (count + BELIEF)
    spread = np.sqrt(np.maximum(groups.T @ more**2 - total**2 / np.maximum(count, 1), 0)) / np.maximum(count, 1)
    error = spread.mean(1, keepdims=True) + 1e-4
    weight = np.exp(SHARPNESS * (mean - mean.max(1, keepdims=True)) / error)
    return weight @ grid / weight.sum(1, keepdims=True)


def _reward(predicted: np.ndarray, score: np.ndarray) -> np.ndarray:
    return score[np.arange(len(score)), np.nan_to_num(predicted, nan=-9).argmax(1)]


def compress(ridge: Ridge, weight: np.ndarray, rank: int = RANK) -> tuple[np.ndarray, np.ndarray]:
    """Factors [d, k] and [k, columns] of weights [d, columns] that predict nearly the same on the rows of `ridge`."""
    root = np.sqrt(ridge.values)[:, None] * (ridge.axes.T @ weight)
    if min(root.shape) <= rank:
        return weight, np.eye(weight.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        right = torch.svd_lowrank(torch.from_numpy(root), q=rank + 8, niter=4)[2][:, :rank].numpy()
    return weight @ right, right.T


def learn_beyond(
    x: np.ndarray,
    parts: Sequence[tuple[Ridge, np.ndarray]],
    whole: Ridge,
    grouping: Grouping,
    score: np.ndarray,
    quantities: np.ndarray,
) -> tuple[list, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Gains in every group, and tables for `FusionRouter.head`.

    Args:
        x: Features, [n, d].
        parts: (ridge on the other rows, mask of the held-out ones) of every fold.
        whole: Ridge on all rows.
        grouping: The groups.
        score: What gains are chosen by, [n, m].
        quantities: What is predicted, [n, q].

    Returns:
        Gains, [groups, 2] or [1, 2]; weights [d, k] and intercepts [k] of the content of a query, whose first column is
        one; and the predictions for every group and column of the content, [groups, k, q]. Where several ways to group
        stand side by side, only the first column depends on the group.
    """
    alone = len(grouping.blocks) == 1
    gains = _gains(x, parts, grouping, score)
    means = grouping.means(quantities)
    rest = grouping.beyond(quantities, means)
    weight, bias = whole.solve(rest, SHARED_PENALTY)
    weight, bias = gains[:, :1, None] * np.nan_to_num(weight), gains[:, :1] * np.nan_to_num(bias)
    if alone:
        weights, biases = own_ridges(x, rest, grouping.onehot)
        weight, bias = weight + gains[:, 1:, None] * weights, bias + gains[:, 1:] * biases
    flat = weight.transpose(1, 0, 2).reshape(x.shape[1], -1)
    left, right = compress(whole, flat) if gains.any() else (flat[:, :0], np.zeros((0, flat.shape[1])))
    table = np.zeros((len(means), 1 + left.shape[1], means.shape[1]))
    table[:, 0] = means + bias + whole.mean @ weight
    table[:, 1:] = right.reshape(len(right), len(weight), means.shape[1]).transpose(1, 0, 2)
    left = np.concatenate([np.zeros((len(left), 1)), left], 1)
    intercept = -whole.mean @ left
    intercept[0] = 1.0
    return gains.round(3).tolist(), (left, intercept), table


def _gains(x: np.ndarray, parts, grouping: Grouping, score: np.ndarray) -> np.ndarray:
    """`choose_gains` on held-out queries; zero where gains that other folds chose lose."""
    alone = len(grouping.blocks) == 1
    plain, shared, own = np.full(score.shape, np.nan), np.full(score.shape, np.nan), np.zeros(score.shape)
    for ridge, held in parts:
        share = grouping.share(x[held], *grouping.recognise(ridge, ~held))
        means = grouping.means(score, ~held)
        rest = grouping.beyond(score, means)[~held]
        plain[held] = share @ means
        weight, bias = ridge.solve(rest, SHARED_PENALTY)
        shared[held] = x[held] @ weight + bias
        if alone:
            weights, biases = own_ridges(x[~held], rest, grouping.onehot[~held])
            own[held] = np.einsum("nt,ntm->nm", share, np.tensordot(x[held], weights, (1, 1)) + biases)
    own = own if alone else None
    groups = grouping.onehot if alone else np.ones((len(x), 1))

    def chosen(rows: np.ndarray) -> np.ndarray:
        return choose_gains(score[rows], plain[rows], shared[rows], None if own is None else own[rows], groups[rows])

    seen = ~np.isnan(plain).all(1)
    more = np.full(len(x), np.nan)  # earned by gains that were chosen on the other folds
    for _, held in parts:
        if (seen & ~held).any():
            gain = groups[held] @ chosen(seen & ~held)
            beyond = gain[:, :1] * shared[held] + (0 if own is None else gain[:, 1:] * own[held])
            more[held] = _reward(plain[held] + beyond, score[held]) - _reward(plain[held], score[held])
    more = more[~np.isnan(more)]
    if not len(more) or not more.mean() > -CAUTION * more.std() / len(more) ** 0.5:
        return np.zeros((groups.shape[1], 2))
    return chosen(seen)

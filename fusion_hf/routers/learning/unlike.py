"""How far a query is unlike all that was trained on, and how far a router then trusts what it learned of groups.

A query of a kind that training never saw belongs to no group, but its posterior sums to one all the same. How surely
the ridge puts it into its likeliest group tells it apart, though not perfectly. A logistic regression on that, between
queries of known kinds and of kinds that were held out, gives the share of the prediction that groups get; the rest is
the mean over the whole log, by which the best single candidate is chosen.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

from collections.abc import Sequence

import numpy as np

from .clusters import group_means
from .grouping import Grouping
from .ridge import Ridge

FOLDS = 4  # parts of the kinds of query that are held out in turn
ODDS = (1.0, 2.0, 3.0, 4.0, 6.0)  # log odds that a query is of a known kind before it is seen
CAUTION = 1.5  # standard errors that known queries may lose where trust in the groups does harm on new kinds
PENALTY, STEPS = 1e-4, 25  # of the logistic regression


def sureness(likely: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
    """How surely queries belong to their likeliest group: [n], from what the ridge says of every group [n, columns].

    Where several ways to group stand side by side, it is their mean.
    """
    return np.mean([part.max(1) for part in np.split(likely, np.cumsum(blocks)[:-1], 1)], 0)


def learn_trust(
    x: np.ndarray,
    parts: Sequence[tuple[Ridge, np.ndarray]],
    grouping: Grouping,
    score: np.ndarray,
    tasks: Sequence[str] | None,
) -> tuple[float, float] | None:
    """Intercept and slope of the log odds of trust in `sureness`; None for trust in every query.

    Kinds of query are the log's tasks, or without labels the coarsest groups. Every query is trusted where no kind can
    be held out, or where held-out kinds look no less like the groups. Else the odds before a query is seen are the
    least of `ODDS` that cost queries of known kinds no more than chance explains; and nothing at all where the groups
    do as well as the best single candidate on kinds that were held out.

    Args:
        x: Features, [n, d].
        parts: (ridge on the other rows, mask of the held-out ones) of every fold.
        grouping: The groups.
        score: What was measured, [n, m].
        tasks: Labels; None without.
    """
    kinds = np.unique(tasks, return_inverse=True)[1] if tasks is not None else np.zeros(len(x), int)
    if not kinds.any():
        kinds = grouping.onehot[:, : grouping.blocks[0]].argmax(1)
    count = np.bincount(kinds)
    if len(count) < 2:
        return None
    part = np.empty(len(count), int)
    part[np.argsort(-count, kind="stable")] = np.arange(len(count)) % FOLDS
    fold = part[kinds]
    new = _Held(x, [(Ridge(x[fold != f]), fold == f) for f in np.unique(fold)], grouping, score)
    known = _Held(x, parts, grouping, score)
    intercept, slope = _logistic(known.sure, new.sure)
    if slope <= 0:
        return None
    caution = CAUTION if new.gained(-np.inf, 0.0).mean() > 0 else 0.0
    for odds in ODDS:
        more = known.gained(odds + intercept, slope)
        if more.mean() >= -caution * more.std() / len(more) ** 0.5:
            break
    return odds + intercept, slope


def _logistic(known: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Intercept and slope that tell two samples apart, both of the same weight (iteratively reweighted)."""
    x = np.stack([np.ones(len(known) + len(new)), np.concatenate([known, new])], 1)
    y = np.repeat([1.0, 0.0], [len(known), len(new)])
    weight = np.repeat([0.5 / len(known), 0.5 / len(new)], [len(known), len(new)])
    found = np.zeros(2)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-x @ found))
        gram = x.T @ (x * (weight * p * (1 - p))[:, None]) + PENALTY * np.eye(2)
        found = found + np.linalg.solve(gram, x.T @ (weight * (y - p)) - PENALTY * found)
    return float(found[0]), float(found[1])


class _Held:
    """Held-out queries: how sure their groups are, and what trusting the groups earns."""

    def __init__(self, x: np.ndarray, parts: Sequence[tuple[Ridge, np.ndarray]], grouping: Grouping, score: np.ndarray):
        sure, expected, overall, got = [], [], [], []
        for ridge, held in parts:
            weight, bias = grouping.recognise(ridge, ~held)
            sure.append(sureness(x[held] @ weight + bias, grouping.blocks))
            expected.append(grouping.share(x[held], weight, bias) @ grouping.means(score, ~held))
            overall.append(np.tile(group_means(score[~held], np.ones((int((~held).sum()), 1))), (int(held.sum()), 1)))
            got.append(score[held])
        self.sure, self.expected, self.overall, self.score = map(np.concatenate, (sure, expected, overall, got))

    def gained(self, intercept: float, slope: float) -> np.ndarray:
        """What falling back earns more than to trust the groups always, a query; 0 where either was not measured."""
        with np.errstate(over="ignore"):
            trust = 1 / (1 + np.exp(-intercept - slope * self.sure[:, None]))
        mixed, plain = trust * self.expected + (1 - trust) * self.overall, self.expected
        line, picks = np.arange(len(plain)), [np.nan_to_num(e, nan=-9.0).argmax(1) for e in (mixed, plain)]
        return np.nan_to_num(self.score[line, picks[0]] - self.score[line, picks[1]])

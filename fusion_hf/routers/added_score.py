"""What is believed of the scores of a new LLM after a few dozen queries, and how much of it a router reckons with.

This is Bayesian linear regression on what the router expects of the known candidates: as they differ from each other,
so the new one may differ from them. Two things make a few queries tell more:

- They may have been harder or easier than others like them. What the known candidates scored on them beyond what was
  expected tells how hard, and is taken into account (a control variate).
- The best of many guesses is mostly too good. So the lower end of what is believed counts: a little lower for the LLM
  as a whole, which is one guess, and much lower for how it differs from kind to kind of query, which are many.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

OVERALL, APART = 0.5, 2.0  # standard deviations taken off: of the mean over queries, of a query's difference from it
SPREADS = (0.25, 1.0, 3.0)  # variance of the new candidate's differences, against those among the known ones
SLOPES = (0.0, 0.01, 0.04)  # variance that is linear in what the known ones are expected to do
OFFSETS = (0.01, 0.05)  # variance of what it has everywhere
NOISES = (0.3, 0.5, 0.7, 0.85, 1.0)  # share of the variance of its scores that no query explains
FEWEST_KNOWN, FEWEST_QUERIES = 3, 5  # measured candidates and queries without which difficulty is not told
LEAST_WIDTH = 0.3  # standard deviation, between candidates, of how much difficulty moves a score


@dataclass(frozen=True)
class Difficulty:
    """How hard queries were.

    Attributes:
        value: Mean score of the known candidates beyond what was expected, [n]; 0 where none was measured.
        slope: How much a candidate's score moves with it.
        width: How much that differs between candidates (standard deviation).
    """

    value: np.ndarray
    slope: float = 0.0
    width: float = 0.0


def difficulty(beyond: np.ndarray) -> Difficulty:
    """Learned from the known candidates: each one's residual on the mean residual of the others.

    Args:
        beyond: Measured less expected scores of the known candidates, [n, m]; NaN where not measured.
    """
    seen, beyond = ~np.isnan(beyond), np.nan_to_num(beyond)
    total, count = beyond.sum(1, keepdims=True), seen.sum(1, keepdims=True)
    used = seen & (count >= FEWEST_KNOWN)
    others = np.where(used, (total - beyond) / np.maximum(count - 1, 1), 0.0)
    square = (others**2).sum(0)
    if used.any(1).sum() < FEWEST_QUERIES or not square.any():
        return Difficulty(np.zeros(len(beyond)))
    together = (beyond * others).sum(0)
    slopes = together[square > 0] / square[square > 0]
    value = np.where(count >= FEWEST_KNOWN, total / np.maximum(count, 1), 0.0)[:, 0]
    return Difficulty(value, float(together.sum() / square.sum()), max(float(slopes.std()), LEAST_WIDTH))


def posterior(columns: np.ndarray, y: np.ndarray, likeness: np.ndarray, hard: Difficulty) -> dict[str, np.ndarray]:
    """Posterior of the new candidate's score, from predictions [n, m] for the known ones and what was measured [n].

    The prior is a Gaussian process over queries. Its mean is the first guess; the new candidate may differ from it as
    the known ones do, by any linear function of what they are expected to do, and by an offset. The variances of the
    three and of the noise are those of the highest likelihood.

    Args:
        columns: What the router expects of the known candidates.
        y: NaN where not measured.
        likeness: Weights of the known candidates in the first guess, [m].
        hard: Of the same queries.

    Returns:
        ``weight`` [m] and ``bias`` of the mean, and ``spread`` [m + 1, m + 1]: what is taken off a score is the length
        of ``[predictions, 1] @ spread``.
    """
    m, seen = len(likeness), ~np.isnan(y)
    columns, y, z = columns[seen], y[seen], hard.value[seen]
    rest = y - columns @ likeness - hard.slope * z
    middle = columns.mean(0) if len(y) else np.zeros(m)
    variance = max(float(np.var(y)), 1e-3) if len(y) else 1.0
    scale = max(float(((columns - middle) ** 2).sum(1).mean()) ** 0.5, 1e-4) if len(y) else 1.0
    # From [predictions, 1, difficulty] to differences from the guess, to differences from the mean query, to an offset,
    # and to how much more or less than the known ones it does on hard queries.
    apart, slope, offset, more = (np.zeros((m + 2, k)) for k in (m, m, 1, 1))
    apart[:m] = (np.eye(m) - likeness[:, None]) * np.sqrt(likeness)
    slope[:m], slope[m], offset[m], more[m + 1] = np.eye(m) / scale, -middle / scale, 1.0, hard.width
    rows = np.concatenate([columns, np.ones((len(y), 1)), z[:, None]], 1)
    best = (-np.inf, np.zeros((m + 2, 2 * m + 2)), variance)
    for variances in product(SPREADS, SLOPES, OFFSETS):
        parts = zip((apart, slope, offset, more), (*variances, 1.0), strict=True)
        basis = np.concatenate([np.sqrt(v) * part for part, v in parts], 1)
        values, axes = np.linalg.eigh((rows @ basis) @ (rows @ basis).T)
        for noise in NOISES:
            total = np.maximum(values, 0) + noise * variance
            likely = -float(np.log(total).sum() + ((axes.T @ rest) ** 2 / total).sum())
            if likely > best[0] or not len(y):
                best = (likely, basis, noise * variance)
    _, basis, noise = best
    seen_basis, basis = rows @ basis, basis[: m + 1]  # a new query is taken to be as hard as others like it
    covariance = np.linalg.inv(seen_basis.T @ seen_basis / noise + np.eye(basis.shape[1]))
    mean = basis @ (covariance @ (seen_basis.T @ rest) / noise)
    spread = _cautious(basis @ covariance @ basis.T, np.append(middle, 1.0))
    return {"weight": likeness + mean[:m], "bias": mean[m], "spread": spread}


def _cautious(covariance: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """``spread`` of `posterior`, from the covariance of what [predictions, 1] are multiplied with and their mean."""
    constant = np.zeros_like(middle)
    constant[-1] = 1.0
    around = np.eye(len(middle)) - np.outer(middle, constant)  # from [predictions, 1] to the difference from the middle
    parts = APART**2 * around.T @ covariance @ around
    parts += OVERALL**2 * (middle @ covariance @ middle) * np.outer(constant, constant)
    values, axes = np.linalg.eigh(parts)
    return axes * np.sqrt(np.maximum(values, 0))

"""What a policy would have earned on traffic that another one served, with intervals.

Inverse propensity weighting (Horvitz and Thompson, 1952) counts the requests on which both chose the same, by the
inverse of the probability with which it was chosen. The doubly robust estimate (Dudik, Langford and Li, 2011) corrects
a prediction of every reward by the same weights: it is as unbiased, and varies less the better the prediction is.
"""

import numpy as np

from ...logs.stats import number

NORMAL_95 = 1.959963984540054


def ips(reward: np.ndarray, propensity: np.ndarray, agrees: np.ndarray) -> np.ndarray:
    """One unbiased term a request: reward / propensity where the policy chooses the same, else 0. float64 [n]."""
    return np.where(agrees, reward / propensity, 0.0)


def doubly_robust(
    reward: np.ndarray, propensity: np.ndarray, agrees: np.ndarray, logged: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """One unbiased term a request. float64 [n].

    Args:
        reward: Of the candidate that was asked.
        propensity: Probability with which it was chosen.
        agrees: Whether the policy would have chosen it too, bool [n].
        logged: Predicted reward of the candidate that was asked.
        chosen: Predicted reward of the policy's choice.
    """
    return chosen + np.where(agrees, (reward - logged) / propensity, 0.0)


RARE = 2.0
"""Requests that no sample of this size need show, but that would decide; see `estimate`."""


def estimate(terms: np.ndarray, largest: float = 0.0) -> dict[str, float | None]:
    """Mean of the terms with its standard error and 95 % interval.

    Where weights are large a few requests decide, and those that would show the other outcome may be missing: the
    normal interval is too narrow then. As Agresti and Coull (1998) do for shares, the standard error reckons with
    `RARE` more requests, each with the largest correction that one could bring.

    Args:
        terms: One a request.
        largest: The largest correction: the span of the reward / the smallest propensity.
    """
    n = len(terms)
    value = float(terms.mean()) if n else float("nan")
    se = float(np.sqrt(terms.var(ddof=1) / n + RARE * (largest / n) ** 2)) if n > 1 else float("nan")
    return {
        "value": number(value),
        "se": number(se),
        "low": number(value - NORMAL_95 * se),
        "high": number(value + NORMAL_95 * se),
    }

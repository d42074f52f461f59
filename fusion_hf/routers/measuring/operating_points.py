"""What a router costs at a given share of the best single candidate's performance, with intervals."""

from collections.abc import Callable

import numpy as np

DRAWS = 1000


def cost_weights(cost: np.ndarray, points: int = 80) -> np.ndarray:
    """Weights of cost, in performance a USD, that lead from the dearest choices to the cheapest ones.

    Args:
        cost: USD of the best single candidate, [n]; NaN where not measured. One that costs nothing counts as a
            millionth of a USD.
        points: How many, apart from 0.
    """
    known = cost[~np.isnan(cost)]
    unit = float(known.mean()) if len(known) else 0.0
    return np.concatenate([[0.0], np.geomspace(3e-3, 1e3, points) / (unit or 1e-6)])


def curves(follow: Callable, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Performance and cost of every query at every weight of cost, [len(at), n]; see `calibrate.follower`."""
    performance, cost = zip(*(follow(cost_weight=float(p)) for p in at), strict=True)
    return np.array(performance), np.array(cost)


def cheapest(performance: np.ndarray, cost: np.ndarray, single: np.ndarray, share: float) -> int | None:
    """Place of the cheapest operating point that reaches a share of a candidate's mean performance; None for none.

    Args:
        performance, cost: [points, n], NaN where not measured; such queries are left out of that point's means.
        single: Performance of the candidate, [n].
        share: Of its mean.
    """
    reached = np.nanmean(performance, 1) >= share * np.nanmean(single) - 1e-12
    mean = np.where(reached, np.nanmean(np.where(np.isnan(performance), np.nan, cost), 1), np.inf)
    return int(mean.argmin()) if reached.any() else None


def resampled(
    performance, cost, single, single_cost, share: float, point: int | None = None, seed: int = 0
) -> np.ndarray:
    """Cost and performance as shares of a single candidate's: [1 + DRAWS, 2], as measured and on resampled queries.

    Args:
        performance, cost, single, share: As in `cheapest`.
        single_cost: USD of the candidate, [n].
        point: The operating point; None for the `cheapest` one, which each resample then chooses for itself; NaN where
            there is none.
        seed: Of the resamples: the same ones for the same seed, so that routers compare in pairs.
    """
    counts = np.random.default_rng(seed).multinomial(len(single), np.full(len(single), 1 / len(single)), DRAWS)
    rows = np.concatenate([np.ones((1, len(single)), np.int64), counts])
    p, c = _means(performance, rows), _means(np.where(np.isnan(performance), np.nan, cost), rows)  # [1 + DRAWS, points]
    s, s_cost = _means(single[None], rows), _means(single_cost[None], rows)
    if point is None:
        able = p >= share * s - 1e-12
        chosen = np.where(able, c, np.inf).argmin(1)
        able = able.any(1)
    else:
        chosen, able = np.full(len(rows), point), np.ones(len(rows), bool)
    line = np.arange(len(rows))
    found = np.stack([c[line, chosen] / s_cost[:, 0], p[line, chosen] / np.maximum(s[:, 0], 1e-12)], 1)
    return np.where(able[:, None], found, np.nan)


def cost_share(*args, **options) -> dict:
    """`resampled` in a few numbers.

    Returns:
        ``cost_share``, ``performance_share`` and their ``…_ci95``, by percentile; ``reached``, the share of resamples
        in which some point reaches the performance (others are left out of the interval). Null where none does.
    """
    found = resampled(*args, **options)
    draws = found[1:][~np.isnan(found[1:, 0])]
    result: dict = {"reached": len(draws) / DRAWS}
    for i, name in enumerate(("cost_share", "performance_share")):
        result[name] = None if np.isnan(found[0, i]) else float(found[0, i])
        result[f"{name}_ci95"] = [float(v) for v in np.quantile(draws[:, i], [0.025, 0.975])] if len(draws) else None
    return result


def _means(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of values [points, n] over measured queries, each counted as often as rows [k, n] say: [k, points]."""
    seen = ~np.isnan(values)
    return rows @ np.where(seen, values, 0.0).T / np.maximum(rows @ seen.T, 1)

"""Means of what was measured, intervals, paired differences, the cost-quality hull, and the size of a split."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def mean(values: np.ndarray, axis: int | None = None) -> Any:
    """Mean of what was measured along `axis`; NaN where nothing was."""
    seen = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen, values, 0).sum(axis) / seen.sum(axis)


def summary(table: pa.Table, split: str) -> dict[str, Any]:
    """Rows, queries, tasks, candidates, missing cells of a split, and the USD of all its answers (or None).

    A cell is missing where no row of it has a performance or a judge score.
    """
    scored = pc.or_(pc.is_valid(table["performance"]), pc.is_valid(table["judge"]))
    pairs = table.select(["llm", "mode"]).group_by(["llm", "mode"]).aggregate([])
    queries = pc.count_distinct(table["query_id"]).as_py()
    return {
        "split": split,
        "rows": table.num_rows,
        "queries": queries,
        "tasks": pc.count_distinct(table["task"]).as_py(),
        "candidates": pairs.num_rows,
        "missing": queries * pairs.num_rows - (pc.sum(scored).as_py() or 0),
        "usd": pc.sum(table["cost"]).as_py(),
    }


def number(value: Any) -> float | None:
    """A finite number for JSON; None where there is none."""
    return float(value) if np.isfinite(value) else None


def bootstrap_ci(values: np.ndarray, n: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of `values` [queries] with its 95 % percentile bootstrap interval over queries: (mean, low, high).

    NaN values are left out. An empty input gives three NaN.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return (float("nan"),) * 3
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [values[rng.integers(0, len(values), (min(100, n - i), len(values)))].mean(1) for i in range(0, n, 100)]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def paired(a: np.ndarray, b: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Mean of a - b over the same queries with its standard error and 95 % bootstrap interval."""
    gap = np.asarray(a, float) - np.asarray(b, float)
    gap = gap[~np.isnan(gap)]
    mean, low, high = bootstrap_ci(gap, seed=seed)
    se = float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else float("nan")
    return {"difference": mean, "se": se, "low": low, "high": high}


def hull(cost: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-decreasing upper convex hull of (cost, quality) points, sorted by cost (RouterBench, arXiv 2403.12031)."""
    order = np.lexsort((-np.asarray(quality), np.asarray(cost)))
    points: list[tuple[float, float]] = []
    for x, y in zip(np.asarray(cost)[order], np.asarray(quality)[order], strict=True):
        if points and (x == points[-1][0] or y <= points[-1][1]):
            continue
        while len(points) > 1 and _below(points[-2], points[-1], (x, y)):
            points.pop()
        points.append((float(x), float(y)))
    return np.array([p[0] for p in points]), np.array([p[1] for p in points])


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Is b on or under the line from a to c?"""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def aiq(cost: np.ndarray, quality: np.ndarray, max_cost: float | None = None) -> float:
    """Average improvement in quality (RouterBench): area under the hull from cost 0 to `max_cost`, over `max_cost`.

    The hull is padded flat on either side: from its cheapest point down to 0, which reproduces the published .819 of
    RouterBench's single LLMs on arc_challenge, mbpp and winogrande, and beyond its dearest. `max_cost` is the largest
    cost of everything that is compared (default: the largest cost given). Without any cost
    (all zero) it is the best quality.
    """
    x, y = hull(cost, quality)
    end = float(np.max(cost) if max_cost is None else max_cost)
    if end > x[-1]:
        x, y = np.append(x, end), np.append(y, y[-1])
    return float((np.trapezoid(y, x) + x[0] * y[0]) / end) if end > 0 else float(y[-1])

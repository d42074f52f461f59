"""How many rows of each task: a cap for all, or a budget that is shared by weight, so that no domain swamps another."""

import zlib
from collections.abc import Mapping

import numpy as np

from ..errors import UserError
from ..tasks import TASKS


def quotas(
    rows: Mapping[str, int],
    cap: int | None = None,
    budget: int | None = None,
    weights: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Task -> how many of its rows to keep.

    Args:
        rows: Task -> rows there are.
        cap: At most so many rows of each task.
        budget: At most so many rows in all, shared among tasks by weight; what a task cannot fill goes to the others.
        weights: Of a task or of a domain, which shares its weight equally among its tasks; 1 where none is given.
            0 leaves a task out.

    Raises:
        UserError: A name is neither a task nor a domain of `rows`, or there are weights and nothing to share out.
    """
    weight = _weights(rows, weights or {})
    if weights and budget is None and all(weight.values()):
        raise UserError("task weights share out a number of rows: give max_rows too (a weight of 0 needs none)")
    most = {task: (n if cap is None else min(n, cap)) if weight[task] else 0 for task, n in rows.items()}
    return most if budget is None else _share(most, weight, budget)


def _weights(rows: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    domain = {task: TASKS[task].domain if task in TASKS else task for task in rows}
    for name in weights:
        if name not in rows and name not in domain.values():
            known = ", ".join(sorted({*rows, *domain.values()}))
            raise UserError(f"weight of {name!r}: expected a task or domain of the log, which has {known}")
    sizes = {d: sum(other == d for other in domain.values()) for d in domain.values()}
    return {
        task: weights.get(task, weights[domain[task]] / sizes[domain[task]] if domain[task] in weights else 1.0)
        for task in rows
    }


def _share(most: dict[str, int], weight: dict[str, float], budget: int) -> dict[str, int]:
    """Whole numbers in proportion to the weights, none above `most`, together the budget or all there is."""
    given = dict.fromkeys(most, 0)
    left = min(budget, sum(most.values()))
    while left:
        open_ = [task for task in sorted(most) if given[task] < most[task]]
        total = sum(weight[task] for task in open_)
        parts = {task: min(most[task] - given[task], int(left * weight[task] / total)) for task in open_}
        if not any(parts.values()):  # fewer rows than tasks: the heaviest first
            for task in sorted(open_, key=lambda t: (-weight[t], t))[:left]:
                parts[task] = 1
        for task, n in parts.items():
            given[task] += n
        left -= sum(parts.values())
    return given


def within(task: np.ndarray, query_id: np.ndarray, rank: np.ndarray, quota: Mapping[str, int]) -> np.ndarray:
    """bool [rows]: which to keep. First answers before second ones, then queries in an order that only their ids set.

    Args:
        task: Task of each row, [rows].
        query_id: Likewise.
        rank: 1 for a query's best answer, likewise.
        quota: Task -> rows to keep.
    """
    chance = np.array([zlib.crc32(str(q).encode()) for q in query_id], np.int64)
    keep = np.zeros(len(task), bool)
    for name, n in quota.items():
        rows = np.flatnonzero(task == name)
        order = rows[np.lexsort((query_id[rows].astype(str), chance[rows], rank[rows]))]
        keep[order[:n]] = True
    return keep

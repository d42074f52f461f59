"""Grades a whole log: fills the columns performance, extracted and grader."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from ..errors import UserError
from ..tasks.graders import GRADERS, _math_worker, grade, grader_name
from .schema import LOG_SCHEMA

_SLOW = ("code_eval", "math")  # these wait for processes of their own, so threads are enough to use every core
_NEEDED = ("metric", "response", "ground_truth", "query")


def grade_table(
    table: pa.Table, version: str = "strict", workers: int | None = None, progress: bool = False
) -> pa.Table:
    """Grade every row that has a response and a reference answer; the others keep the score they have (mostly null).

    Equal (metric, response, ground truth, query) are graded once. Code runs in the sandbox and algebra in workers, as
    many at a time as `workers` (the cores by default).

    Raises:
        UserError: A column is missing, or a metric is unknown (the message names the row).
    """
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise UserError(
            f"the log cannot be graded: expected a column {missing[0]!r}, found {', '.join(table.column_names)}"
        )
    work, keys = _distinct(table)
    grades = _graded(work, version, workers, progress)
    values = {
        "performance": lambda k: grades[k].score,
        "extracted": lambda k: grades[k].extracted,
        "grader": lambda k: grader_name(work[k][0], version),
    }
    for name, value in values.items():
        place = table.schema.get_field_index(name)
        old = table[name].to_pylist() if place >= 0 else [None] * len(keys)
        filled = [old[i] if k is None else value(k) for i, k in enumerate(keys)]
        column = pa.array(filled, LOG_SCHEMA.field(name).type)
        table = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
    return table


def _distinct(table: pa.Table) -> tuple[list[tuple], list[int | None]]:
    """Distinct (metric, response, reference answers, query); and each row's place there, None if not graded."""
    places: dict[tuple, int] = {}
    keys: list[int | None] = []
    rows = zip(*(table[name].to_pylist() for name in _NEEDED), strict=True)
    for i, (metric, response, truth, query) in enumerate(rows):
        if response is None or not truth:
            keys.append(None)
            continue
        if metric not in GRADERS:
            raise UserError(f"row {i}, column 'metric': expected one of {', '.join(GRADERS)}, found {metric!r}")
        keys.append(places.setdefault((metric, response, tuple(truth), query), len(places)))
    return list(places), keys


def _graded(work: list[tuple], version: str, workers: int | None, progress: bool) -> list[Any]:
    """The grade of each."""
    grades: list[Any] = [None] * len(work)
    slow = [i for i, key in enumerate(work) if key[0] in _SLOW]
    bar = tqdm(total=len(work), desc="grading", unit="answer", disable=None if progress else True)

    def one(i: int) -> None:
        grades[i] = grade(*work[i], version=version)
        bar.update()

    with bar:
        if slow:
            pool = ThreadPoolExecutor(workers or _cores())
            try:
                list(pool.map(one, slow))
            finally:
                pool.shutdown(cancel_futures=True)
                _math_worker.close(ended_only=True)
        for i, key in enumerate(work):
            if key[0] not in _SLOW:
                one(i)
    return grades


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

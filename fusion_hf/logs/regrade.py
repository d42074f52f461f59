"""Grade a log again, and say what changed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from .grade_table import grade_table
from .log import Log, Source


def regrade(log: Source, version: str = "strict", out: str | Path | None = None, split: str | None = None) -> dict:
    """Grade every response of a log with graders of `version`, and count the scores that changed.

    Args:
        log: Anything that `Log` opens; it keeps its splits.
        version: ``strict`` or ``paper``.
        out: Where the graded log goes: a FusionBench folder, or a ``.parquet`` or ``.jsonl`` file. None writes nothing.
        split: Put all rows into this split; a log without splits needs it to become a folder.

    Returns:
        ``{"graded", "changed", "by_task": {task: {"graded", "changed"}}}``; rows without a response are not graded.
    """
    before = Log(log).as_collected()
    before = before if split is None else before.with_split(split)
    if out is not None:
        before.check_out(out)
    by_task: dict[str, dict[str, int]] = {}
    after = before.map(lambda table: _graded(table, version, by_task))
    if not by_task:
        raise UserError("no row of the log has a response: there is nothing to grade")
    if out is not None:
        after.write(out, replace=True)
    return {
        "graded": sum(row["graded"] for row in by_task.values()),
        "changed": sum(row["changed"] for row in by_task.values()),
        "by_task": {task: by_task[task] for task in sorted(by_task)},
    }


def _graded(before: pa.Table, version: str, by_task: dict[str, dict[str, int]]) -> pa.Table:
    after = grade_table(before, version, progress=True)
    graded = np.asarray(pc.is_valid(before["response"]))
    old, new = (pc.fill_null(t["performance"], -1.0).to_numpy() for t in (before, after))
    changed = graded & (old != new)
    tasks = before["task"].to_numpy(zero_copy_only=False)
    for task in np.unique(tasks[graded].astype(str)):
        entry = by_task.setdefault(str(task), {"graded": 0, "changed": 0})
        entry["graded"] += int(graded[tasks == task].sum())
        entry["changed"] += int(changed[tasks == task].sum())
    return after

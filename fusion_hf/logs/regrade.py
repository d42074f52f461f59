"""Grade a log again, say what changed, and write the graded log."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import UserError
from .grade_table import grade_table
from .write import write_bench


def regrade(before: pa.Table, version: str = "strict", out: str | Path | None = None, split: str = "train") -> dict:
    """Grade every response of a log with graders of `version` and count the scores that changed.

    Args:
        before: A log table.
        version: ``strict`` or ``paper``.
        out: Where the graded log goes: a ``.parquet`` file, or a FusionBench folder (as `split`). None writes nothing.

    Returns:
        ``{"graded", "changed", "by_task": {task: {"graded", "changed"}}}``; rows without a response are not graded.
    """
    if before["response"].null_count == before.num_rows:
        raise UserError("no row of the log has a response: there is nothing to grade")
    after = grade_table(before, version, progress=True)
    graded = np.asarray(pc.is_valid(before["response"]))
    old, new = (pc.fill_null(t["performance"], -1.0).to_numpy() for t in (before, after))
    changed = graded & (old != new)
    tasks = before["task"].to_numpy(zero_copy_only=False)
    _write(after, out, split)
    return {
        "graded": int(graded.sum()),
        "changed": int(changed.sum()),
        "by_task": {
            str(t): {"graded": int(graded[tasks == t].sum()), "changed": int(changed[tasks == t].sum())}
            for t in np.unique(tasks)
        },
    }


def _write(table: pa.Table, out: str | Path | None, split: str) -> None:
    if out is None:
        return
    if Path(out).suffix == ".parquet":
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out, compression="zstd")
    else:
        write_bench({split: table}, out)

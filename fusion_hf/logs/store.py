"""FusionBench on disk: a Hub dataset repository with one config a task, and reading logs back."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import UserError, hub_reason
from .schema import rows_to_table

SPLITS = ("train", "partial_test", "test")
EXTRAS = ("llms", "tasks", "thought_templates")
"""Configs beside the tasks: a folder of this name with ``train-*.parquet``."""
LLMS = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "size")),
        *((name, pa.float64()) for name in ("input_price", "output_price")),  # USD per million tokens
        *((name, pa.string()) for name in ("price_date", "price_source", "description", "model")),
        *((name, pa.float64()) for name in ("cached_input_price", "reasoning_price")),
    ]
)
"""Columns of the config ``llms``; all but the name may be null."""
MANY = 500_000  # rows from which writing shows a bar
# Level 3 takes a quarter of the time of level 9; the files are a tenth larger.
ZSTD_LEVEL = 3


def write_extra(out: str | Path, name: str, table: pa.Table) -> None:
    """Write one of the configs beside the tasks (see `EXTRAS`)."""
    path = Path(out) / name / "train-00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=ZSTD_LEVEL)


def read_extra(path: str | Path, name: str) -> pa.Table | None:
    """One of the configs beside the tasks (see `EXTRAS`) of a FusionBench folder or Hub dataset; None without it."""
    file = local_path(path) / name / "train-00000.parquet"
    return pq.read_table(file, partitioning=None) if file.is_file() else None


def summary(out: str | Path) -> list[dict]:
    """One dict a split: rows, queries, tasks, candidates, missing cells, and the USD of all answers (or None).

    A cell is missing where no row of it has a performance or a judge score.
    """
    result = []
    for split in bench_splits(out):
        table = read_log(out, split, columns=["query_id", "task", "llm", "mode", "performance", "judge", "cost"])
        scored = pc.or_(pc.is_valid(table["performance"]), pc.is_valid(table["judge"]))
        pairs = table.select(["llm", "mode"]).group_by(["llm", "mode"]).aggregate([])
        queries = pc.count_distinct(table["query_id"]).as_py()
        result.append(
            {
                "split": split,
                "rows": table.num_rows,
                "queries": queries,
                "tasks": pc.count_distinct(table["task"]).as_py(),
                "candidates": pairs.num_rows,
                "missing": queries * pairs.num_rows - (pc.sum(scored).as_py() or 0),
                "usd": pc.sum(table["cost"]).as_py(),
            }
        )
    return result


def bench_splits(path: str | Path) -> list[str]:
    """The splits that a local FusionBench folder holds, in the order train, partial_test, test."""
    return [s for s in SPLITS if any(Path(path).glob(f"data/*/{s}-*.parquet"))]


def read_log(
    path: str | Path, split: str | None = None, task: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read log rows from a FusionBench folder, a Hub repository id, a Parquet file, or JSON lines.

    Args:
        path: A local path, or a dataset repository id such as ``org/FusionBench``.
        split: Only this split (folders and repositories); None reads all of them.
        task: Only this task.
        columns: Only these columns.

    Raises:
        UserError: Nothing is there, or the split or task is not in it.
    """
    path = local_path(path)
    if path.is_file():
        table = _read_file(path, columns)
    elif any(path.glob("data/*/*.parquet")):
        splits = bench_splits(path)
        if split is not None and split not in splits:
            raise UserError(f"{path} has no split {split!r}: expected one of {', '.join(splits)}")
        tasks = sorted(p.name for p in (path / "data").iterdir() if p.is_dir())
        if task is not None and task not in tasks:
            raise UserError(f"{path} has no task {task!r}: expected one of {', '.join(tasks)}")
        pattern = f"data/{task or '*'}/{split or '*'}-*.parquet"
        files = sorted(path.glob(pattern))
        if not files:
            raise UserError(f"{path} has no rows of split {split!r} for task {task!r}")
        # Older folders may lack a nullable column that newer ones have.
        return pa.concat_tables([_read_file(f, columns) for f in files], promote_options="default")
    elif files := sorted(path.glob("*.jsonl")):
        table = pa.concat_tables([_read_file(f, columns) for f in files])
    else:
        raise UserError(f"{path} holds no log: expected data/<task>/<split>-*.parquet or *.jsonl, found neither")
    if task is not None:
        table = table.filter(pc.equal(table["task"], task))
    return table


def local_path(path: str | Path) -> Path:
    """`path` if it exists, else the snapshot of the Hub dataset of that name."""
    local = Path(path)
    if local.exists():
        return local
    name = str(path)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: expected a FusionBench folder, a log file or a Hub dataset id, found nothing there")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset"))
    except (RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        found = f"{name}: no such folder here, and the Hub did not give a dataset of that name"
        raise UserError(f"{found}: {hub_reason(error)}") from error


def _read_file(path: Path, columns: Sequence[str] | None) -> pa.Table:
    if path.suffix == ".parquet":
        try:
            return pq.read_table(path, columns=list(columns) if columns else None, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path}: expected a Parquet file, found something else: {error}") from None
    if path.suffix == ".jsonl":
        table = rows_to_table(_json_lines(path))
        return table.select(list(columns)) if columns else table
    raise UserError(f"{path}: expected a .parquet or .jsonl file, found {path.suffix or 'no suffix'}")


def _json_lines(path: Path) -> Iterable[dict]:
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{path}, line {number}: expected a JSON object, found {error}") from None


def query_overlap(a: pa.Table, b: pa.Table) -> int:
    """Number of distinct query texts that stand in both tables (a query in two splits leaks)."""
    left, right = (pc.unique(t["query"]) for t in (a, b))
    return pc.sum(pc.is_in(left, value_set=right)).as_py() or 0


__all__ = [
    "EXTRAS", "SPLITS", "bench_splits", "local_path", "query_overlap", "read_log", "summary", "write_extra",
]  # fmt: skip

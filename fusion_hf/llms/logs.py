"""Logs wherever they are: the collector's shards, or anything that `read_log` reads; and log files."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from ..logs.judgements import add_judgements, read_judgements
from ..logs.schema import rows_to_table
from ..logs.shards import latest_rows, shard_files
from ..logs.store import read_log
from .collect import finish
from .pool import Pool

JUDGE = "judge"  # folder of judgements in a folder of the collector


def load_log(path: str | Path, pool: Pool | None = None, version: str = "strict") -> pa.Table:
    """A log table. A folder of the collector is read with one row a key, priced, graded and judged (see `finish`)."""
    if not shard_files(path):
        return read_log(path)
    table = finish(path, pool, version)
    judged = Path(path) / JUDGE
    return add_judgements(table, read_judgements(judged)) if judged.is_dir() else table


def load_ungraded(path: Path) -> pa.Table:
    """The same without grading, pricing and judging the collector's rows, which may take long."""
    return rows_to_table(latest_rows(path)) if path.is_dir() and shard_files(path) else read_log(path)


def check_log_file(out: Path) -> None:
    """Refuse a name that `write_log` could not write."""
    if out.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"{out}: expected a file that ends in .parquet or .jsonl for a log that is no FusionBench")


def write_log(table: pa.Table, out: Path) -> None:
    """Write a .parquet or .jsonl file; beside it first, so that a kill leaves an old one whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    if out.suffix == ".parquet":
        pq.write_table(table, part, compression="zstd")
    else:
        _write_lines(table, part)
    part.replace(out)


def _write_lines(table: pa.Table, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as lines:
        for batch in table.to_batches(10_000):
            for row in batch.to_pylist():
                lines.write(json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) + "\n")

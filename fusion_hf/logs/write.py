"""Writing a FusionBench: a Hub dataset repository with one config a task."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ..errors import UserError
from .card import write_card
from .schema import encode, validate
from .store import EXTRAS, LLMS, MANY, SPLITS, ZSTD_LEVEL, write_extra

# A row group is what a stream decodes at once; with 300-character responses this many rows are about 20 MB.
ROW_GROUP = 50_000


def write_bench(
    splits: dict[str, pa.Table],
    out: str | Path,
    llms: list[dict] | None = None,
    title: str = "FusionBench",
    text: str = "",
    sources: dict[str, tuple[str | None, str | None]] | None = None,
) -> Path:
    """Write logs as a dataset repository: ``data/<task>/<split>-00000.parquet`` and a README with its YAML.

    Rows are sorted and copied a row group at a time, so the peak is the given tables and one row group.

    Args:
        splits: Log table of each split; each is validated. A split that `out` holds already is replaced, others stay.
        llms: Optional rows of the ``llms`` config (see `LLMS`).
        title: Heading of the card.
        text: Paragraphs of the card (Markdown) that say what this log is; kept from the old card when empty.
        sources: (source, licence) of a task whose queries do not come from the source that the task names; see
            `fusion_hf.logs.card.write_card`.

    Returns:
        The folder. ``load_dataset(folder, "<task>", split="train")`` reads it.
    """
    out = Path(out)
    for split, table in splits.items():
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
        if table.num_rows == 0:
            raise UserError(f"split {split!r} is empty: expected at least one log row")
        table = validate(table, where=split)
        rows = _rows_by_task(table)
        for task in rows:
            _file_name(task)
        for old in out.glob(f"data/*/{split}-*.parquet"):
            old.unlink()
        for task, order in tqdm(rows.items(), desc=f"writing {split}", unit="task", disable=table.num_rows < MANY):
            _write_task(table, order, out / "data" / task / f"{split}-00000.parquet")
    if llms:
        write_extra(out, "llms", pa.Table.from_pylist(llms, schema=LLMS))
    write_card(out, title, text, sources)
    return out


def _rows_by_task(table: pa.Table) -> dict[str, np.ndarray]:
    """Row numbers of each task, ordered by query, LLM and mode (equal texts side by side compress best)."""
    code = np.zeros(table.num_rows, np.int64)
    for name in ("task", "query_id", "llm", "mode"):
        values, codes = encode(table[name])
        rank = np.empty(len(values), np.int64)
        rank[np.argsort(values)] = np.arange(len(values))
        code = code * len(values) + rank[codes]
    order = np.argsort(code, kind="stable")
    tasks, codes = encode(table["task"])
    places = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return {str(tasks[codes[part[0]]]): part for part in np.split(order, places[1:])}


def _write_task(table: pa.Table, order: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=ZSTD_LEVEL) as writer:
        for start in range(0, len(order), ROW_GROUP):
            writer.write_table(table.take(pa.array(order[start : start + ROW_GROUP])), ROW_GROUP)


def _file_name(task: str) -> str:
    if not task or any(c in task for c in '/\\:*?"<>|') or task in (".", "..", "all", *EXTRAS):
        raise UserError(f"task name {task!r} cannot be a dataset config: use letters, digits, '-', '_' and '.'")
    return task

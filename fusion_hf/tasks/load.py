"""Queries of a task from its source: the Hub, or a local file of the same columns."""

import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from . import PROMPT_VERSIONS, Example, Task, get_task, in_version

PARTIAL_TEST = 50
GPQA_TRAIN_SHARE = 0.8


def load_examples(
    task: str | Task,
    split: str,
    limit: int | None = None,
    seed: int = 0,
    source: str | Path | None = None,
    prompt_version: str = "plain",
) -> list[Example]:
    """Examples of one split.

    Args:
        task: Name of a task, the path of a file that defines one, or the task.
        split: ``train``, ``test`` or ``partial_test`` (50 queries of test, the same for everybody).
        limit: Take this many, drawn by `seed` from the whole split and kept in its order; None takes all.
        seed: Which sample.
        source: A ``.parquet``, ``.jsonl`` or ``.json`` file (gzip too), or a folder of such files named by split, used
            instead of the Hub. Its columns are those of the task's source.
        prompt_version: ``plain`` or ``paper``; see `fusion_hf.tasks.PROMPT_VERSIONS`.

    Raises:
        UserError: Unknown split, a source that cannot be reached or is gated, or columns that the task does not know.
    """
    if isinstance(task, str):
        task = get_task(task)
    if split not in ("train", "test", "partial_test"):
        raise UserError(f"unknown split {split!r}: expected train, test or partial_test")
    if prompt_version not in PROMPT_VERSIONS:
        raise UserError(f"unknown prompt version {prompt_version!r}: expected one of {', '.join(PROMPT_VERSIONS)}")
    if limit is not None and limit < 1:
        raise UserError(f"expected a limit of at least 1, found {limit}")
    ours = "test" if split == "partial_test" else split
    rows = _local_rows(task, ours, Path(source)) if source is not None else _hub_rows(task, ours)
    chosen = _range(task, ours, rows)
    if split == "partial_test":
        chosen = _sample(chosen, PARTIAL_TEST, seed=0)
    if limit is not None:
        chosen = _sample(chosen, limit, seed)
    if not len(chosen):
        raise UserError(f"{task.name}: split {split!r} is empty: expected at least one row in {source or task.source}")
    return [in_version(task, _example(task, rows[int(i)], int(i)), prompt_version) for i in chosen]


def _example(task: Task, row: dict[str, Any], index: int) -> Example:
    try:
        return task.example(row, index)
    except KeyError as error:
        found = ", ".join(sorted(row))
        raise UserError(f"{task.name}, row {index}: expected a column {error}, found {found}") from None


def _sample(rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    if n >= len(rows):
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), n, replace=False))]


def _range(task: Task, split: str, rows: Sequence) -> np.ndarray:
    """Indices of the rows that belong to our split: a range of the source, a share of it, or all."""
    if split in task.rows:
        first, last = task.rows[split]
        if task.row_id:
            numbers = np.array([_number(task, rows[i]) for i in range(len(rows))], np.int64)
            return np.flatnonzero((numbers >= first) & (numbers <= last))
        return np.arange(first, min(last + 1, len(rows)))
    if len(set(task.splits.values())) == len(task.splits):
        return np.arange(len(rows))
    # One source split serves both of ours: a row's side follows from its content, so it never depends on the order.
    texts = (json.dumps(rows[i], sort_keys=True, default=str) for i in range(len(rows)))
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    order = np.array(sorted(range(len(rows)), key=keys.__getitem__), dtype=np.int64)
    cut = round(GPQA_TRAIN_SHARE * len(rows))
    return np.sort(order[:cut] if split == "train" else order[cut:])


def _number(task: Task, row: dict[str, Any]) -> int:
    """The number that ends a row's id: 5 of ``HumanEval/5``."""
    found = re.search(r"(\d+)$", str(row.get(task.row_id)))
    if found is None:
        raise UserError(
            f"{task.name}: expected a column {task.row_id!r} that ends in a number, which says the split of a row; "
            f"found {row.get(task.row_id)!r}"
        )
    return int(found[1])


def _hub_rows(task: Task, split: str) -> Sequence[dict]:
    """The source's split from the Hub; all configs of a joined task one after the other."""
    from datasets import concatenate_datasets, load_dataset

    wanted = task.splits[split]
    parts = []
    for config in (task.config or "").split(","):
        where = f"{task.source}{f' ({config})' if config else ''}"
        try:
            found = load_dataset(task.source, config or None, split=None if wanted == "all" else wanted)
        except Exception as error:  # datasets raises a dozen unrelated types here; the reason is passed on
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{task.name}: {where} cannot be loaded from the Hub: {reason:.300}; log in and accept its terms "
                "where it is gated, or give a local file of the same columns (source=)"
            ) from error
        parts += found.values() if wanted == "all" else [found]
    rows = concatenate_datasets(parts) if len(parts) > 1 else parts[0]
    return rows.sort("task_id") if wanted == "all" else rows


def _local_rows(task: Task, split: str, path: Path) -> list[dict]:
    """Rows of a file, or of the files of a folder that belong to the source's split."""
    if not path.exists():
        raise UserError(f"{task.name}: expected a file or folder at {path}, found nothing there")
    files = [path]
    wanted = task.splits[split]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.is_file() and _kind(f))
        if wanted != "all":
            named = re.compile(rf"(?:^|[-_./]){re.escape(wanted)}(?=[-_./])")
            files = [f for f in files if named.search(f.relative_to(path).as_posix())]
        if not files:
            raise UserError(f"{task.name}: {path} has no .parquet or .jsonl file of the split {wanted!r}")
    rows = [row for file in files for row in _read_rows(task, file)]
    if wanted == "all" and rows and all("task_id" in row for row in rows):
        rows.sort(key=lambda row: row["task_id"])
    return rows


def _kind(path: Path) -> str | None:
    name = path.name.removesuffix(".gz")
    return next((kind for kind in ("parquet", "jsonl", "json") if name.endswith("." + kind)), None)


def _read_rows(task: Task, file: Path) -> list[dict]:
    kind = _kind(file)
    if kind is None:
        raise UserError(f"{task.name}: {file}: expected a .parquet, .jsonl or .json file")
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            return pq.read_table(file, partitioning=None).to_pylist()
        data = file.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        rows = json.loads(text) if kind == "json" else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, OSError, EOFError, RecursionError) as error:  # pyarrow's and json's errors are ValueErrors
        raise UserError(f"{task.name}: {file} cannot be read as {kind}: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{task.name}: {file}: expected a list of objects, one a row")
    return rows

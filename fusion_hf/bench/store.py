"""FusionBench on disk: a Hub dataset repository with one config a task, and reading logs back."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..cards import render_card
from ..errors import UserError
from .schema import rows_to_table, validate

SPLITS = ("train", "partial_test", "test")


def write_bench(
    splits: dict[str, pa.Table],
    out: str | Path,
    llms: list[dict] | None = None,
    title: str = "FusionBench",
    text: str = "",
) -> Path:
    """Write logs as a dataset repository: ``data/<task>/<split>-00000.parquet`` and a README with its YAML.

    Args:
        splits: Log table of each split; each is validated. A split that `out` holds already is replaced, others stay.
        llms: Optional rows of the ``llms`` config (name, size, prices, description).
        title: Heading of the card.
        text: Paragraphs of the card (Markdown) that say what this log is; kept from the old card when empty.

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
        for old in out.glob(f"data/*/{split}-*.parquet"):
            old.unlink()
        for task in sorted(pc.unique(table["task"]).to_pylist()):
            folder = out / "data" / _file_name(task)
            folder.mkdir(parents=True, exist_ok=True)
            rows = table.filter(pc.equal(table["task"], task)).sort_by(
                [("query_id", "ascending"), ("llm", "ascending"), ("mode", "ascending")]
            )
            pq.write_table(rows, folder / f"{split}-00000.parquet", compression="zstd", compression_level=9)
    if llms:
        (out / "llms").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(llms), out / "llms" / "train-00000.parquet", compression="zstd")
    _write_card(out, title, text)
    return out


def _file_name(task: str) -> str:
    if not task or any(c in task for c in '/\\:*?"<>|') or task in (".", "..", "all", "llms"):
        raise UserError(f"task name {task!r} cannot be a dataset config: use letters, digits, '-', '_' and '.'")
    return task


def _write_card(out: Path, title: str, text: str) -> None:
    """README.md: the configs that `datasets` reads, and what the log holds."""
    tasks = sorted(p.name for p in (out / "data").iterdir() if p.is_dir())
    configs = [_config("all", {s: f"data/*/{s}-*.parquet" for s in bench_splits(out)}) | {"default": True}]
    for task in tasks:
        present = [s for s in SPLITS if any((out / "data" / task).glob(f"{s}-*.parquet"))]
        configs.append(_config(task, {s: f"data/{task}/{s}-*.parquet" for s in present}))
    for extra in ("llms", "thought_templates"):
        if any((out / extra).glob("*.parquet")):
            configs.append(_config(extra, {"train": f"{extra}/train-*.parquet"}))
    readme = out / "README.md"
    if not text and readme.exists():
        text = _kept_text(readme.read_text(encoding="utf-8"))
    header = {
        "pretty_name": title,
        "tags": ["fusion_hf", "llm-routing", "llm-logs"],
        "task_categories": ["text-generation", "question-answering"],
        "configs": configs,
    }
    card = render_card("dataset", header, title=title, text=text.strip(), splits=summary(out), example_config=tasks[0])
    readme.write_text(card, encoding="utf-8")


def _config(name: str, files: dict[str, str]) -> dict:
    return {"config_name": name, "data_files": [{"split": s, "path": p} for s, p in files.items()]}


def _kept_text(card: str) -> str:
    """The paragraphs between the heading and the generated part of an existing card."""
    body = card.split("\n---\n", 1)[-1]
    return "\n".join(line for line in body.split("## What it holds")[0].splitlines() if not line.startswith("# "))


def summary(out: str | Path) -> list[dict]:
    """One dict a split: rows, queries, tasks, candidates, missing cells, and the USD of all answers (or None)."""
    result = []
    for split in bench_splits(out):
        table = read_log(out, split, columns=["query_id", "task", "llm", "mode", "performance", "cost"])
        pairs = table.select(["llm", "mode"]).group_by(["llm", "mode"]).aggregate([])
        queries = pc.count_distinct(table["query_id"]).as_py()
        result.append(
            {
                "split": split,
                "rows": table.num_rows,
                "queries": queries,
                "tasks": pc.count_distinct(table["task"]).as_py(),
                "candidates": pairs.num_rows,
                "missing": queries * pairs.num_rows - (table.num_rows - table["performance"].null_count),
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
        return pa.concat_tables([_read_file(f, columns) for f in files])
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
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{name}: no such folder here, and the Hub did not give a dataset of that name: {reason}"
        ) from error


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
    left, right = (np.unique(t["query"].to_numpy(zero_copy_only=False)) for t in (a, b))
    return len(np.intersect1d(left, right, assume_unique=True))


__all__ = ["SPLITS", "bench_splits", "local_path", "query_overlap", "read_log", "summary", "write_bench"]

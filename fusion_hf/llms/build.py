"""Logs of any origin -> one FusionBench dataset repository."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from ..errors import UserError
from ..logs.card import llm_rows, told_sources
from ..logs.store import bench_splits, local_path, read_log
from ..logs.write import write_bench
from .logs import load_log
from .pool import PRICES, Pool, load_pool


def build(
    logs: Iterable[str | Path],
    out: str | Path,
    split: str | None = None,
    pool: str | Path | Pool | None = None,
    templates: str | Path | None = None,
    title: str = "FusionBench",
    text: str = "",
    sources: dict[str, tuple[str | None, str | None]] | None = None,
) -> Path:
    """Write the logs as a dataset repository: Parquet, the configs beside the tasks, card and plot.

    Args:
        logs: Shards of the collector (priced and graded on the way), FusionBench folders or Hub ids, .parquet, .jsonl.
        out: Folder. Splits that are not given stay; a split that is given is replaced.
        split: Where all rows go. None lets FusionBench folders keep their splits; other logs need it.
        pool: For the config ``llms``; None takes the pools and ``llms`` configs that the logs carry.
        templates: Folder of a template index; its table becomes the config ``thought_templates``. None takes the
            templates that a log carries.
        title: Heading of the card.
        text: Paragraphs under it.
        sources: See `fusion_hf.logs.card.write_card`; what the logs carry holds for the other tasks.

    Raises:
        UserError: Nothing to read, no split to put rows into, rows that do not fit the log row, or one key twice.
    """
    parts: dict[str, list[pa.Table]] = {}
    llms: dict[str, dict] = {}
    told: dict[str, tuple[str | None, str | None]] = {}
    for log in logs:
        folder = local_path(log)
        own = bench_splits(folder) if folder.is_dir() and split is None else []
        if not own and split is None:
            raise UserError(f"{log} says no split: expected --split train, partial_test or test")
        for name in own:
            parts.setdefault(name, []).append(read_log(folder, name))
        if not own:
            parts.setdefault(split, []).append(load_log(folder))
        llms |= {row["name"]: row for row in (pool_rows(folder / "pool.yaml") or llm_rows(folder))}
        told |= told_sources(folder)
        if templates is None and any(folder.glob("thought_templates/train-*.parquet")):
            templates = folder
    if pool is not None:
        llms = {row["name"]: row for row in pool_rows(pool)}
    out = Path(out)
    if templates is not None:
        _copy_templates(Path(templates), out)
    tables = {name: pa.concat_tables(found, promote_options="default") for name, found in parts.items()}
    parts.clear()
    return write_bench(tables, out, llms=list(llms.values()), title=title, text=text, sources=told | (sources or {}))


def pool_rows(pool: str | Path | Pool) -> list[dict]:
    """Rows of the ``llms`` config; empty where there is no such file."""
    if not isinstance(pool, Pool):
        if not Path(pool).is_file():
            return []
        pool = load_pool(pool)
    wanted = ("name", "size", *PRICES, "price_date", "price_source", "description")
    return [{k: getattr(llm, k) for k in wanted} | {"model": llm.model_id} for llm in pool.values()]


def _copy_templates(folder: Path, out: Path) -> None:
    """The Parquet of a template index, with what reads it beside it."""
    source = folder / "thought_templates" if (folder / "thought_templates").is_dir() else folder
    if not any(source.glob("train-*.parquet")):
        raise UserError(f"{folder}: expected thought templates (train-*.parquet), found none")
    target = out / "thought_templates"
    if source.resolve() != target.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md"))

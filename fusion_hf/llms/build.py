"""Logs of any origin -> one FusionBench dataset repository."""

from collections.abc import Iterable
from dataclasses import replace as changed
from pathlib import Path

from ..errors import UserError
from ..logs.card import About
from ..logs.log import Log, Source
from ..logs.merge import Merged
from .llm import PRICES
from .pool import Pool, load_pool


def build(
    logs: Iterable[Source],
    out: str | Path,
    split: str | None = None,
    pool: str | Path | Pool | None = None,
    templates: str | Path | None = None,
    title: str | None = None,
    text: str = "",
    replace: bool = False,
    newer: bool = False,
    overwrite: bool = False,
) -> Merged:
    """Write the logs as a dataset repository: Parquet, the configs beside the tasks, card and plot.

    Rows are added by key to those of `out`. Where rows of one key differ, the first of the logs counts, and what is in
    `out` before all of them, unless `newer`.

    Arguments are those of `fusion_hf.build`; returned is what became of the rows.

    Raises:
        UserError: Nothing to read, no split to put rows into, or rows that do not fit the log row.
    """
    given = None if pool is None else pool_rows(pool)
    whole, merged = _joined(logs, split, newer)
    about = whole.about | About(title, text, templates=_templates(templates))
    if given is not None:
        about = changed(about, llms=given)
    report = Log(whole, about=about).add_to(out, newer, replace, overwrite)
    report.older, report.newer = report.older + merged.older, report.newer + merged.newer
    return report


def _joined(logs: Iterable[Source], split: str | None, newer: bool) -> tuple[Log, Merged]:
    """All logs as one, and what became of rows that stood in several."""
    whole, merged = None, Merged()
    for log in map(Log, logs):
        if split is None and not log.splits:
            raise UserError(f"{log.path or 'the log'} says no split: expected split train, partial_test or test")
        log = log if split is None else log.with_split(split)
        if whole is None:
            whole = log
        else:
            whole, report = whole.merge(log, newer)
            merged += report
    if whole is None:
        raise UserError("expected at least one log, found none")
    return whole, merged


def pool_rows(pool: str | Path | Pool) -> list[dict]:
    """Rows of the config ``llms``."""
    pool = pool if isinstance(pool, Pool) else load_pool(pool)
    wanted = ("name", "size", *PRICES, "price_date", "price_source", "description")
    return [{k: getattr(llm, k) for k in wanted} | {"model": llm.model_id} for llm in pool.values()]


def _templates(folder: str | Path | None) -> Path | None:
    if folder is None:
        return None
    folder = Path(folder)
    folder = folder / "thought_templates" if (folder / "thought_templates").is_dir() else folder
    if not any(folder.glob("train-*.parquet")):
        found = "those of a pipeline, as JSON lines" if any(folder.glob("train-*.jsonl")) else "none"
        raise UserError(
            f"{folder}: expected thought templates (train-*.parquet), found {found}: make a folder of templates with  "
            "fusion-hf templates BENCH --out DIR,  or TemplateIndex.from_pretrained(FOLDER).save_pretrained(DIR)"
        )
    return folder

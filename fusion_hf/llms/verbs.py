"""The functions of the commands that judge, price and put together logs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from ..logs.log import Log, Source
from ..logs.merge import Merged
from ..results import Result
from .build import build as build_folder
from .judge import judge_log
from .pool import Pool, load_pool
from .recosting import recost_log


@dataclass
class Judged(Result):
    """What a judge said.

    Attributes:
        judge_model: Its name.
        read, kept, dropped: Rows of the log: with a score, or without by reason; ``read == kept + sum(dropped)``.
        clamped: Scores that left the scale.
        judge: Mean score, 0..1.
        by_candidate: ``{"judge", "judged"}`` of each candidate.
        run: What the run did (see `fusion_hf.llms.record.Summary`).
        plan: Of a dry run: its price, and nothing else.
    """

    judge_model: str
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    clamped: int = 0
    judge: float | None = None
    by_candidate: dict[str, dict[str, Any]] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.plan is not None:
            return self.plan
        return {name: value for name, value in super().to_dict().items() if name != "plan"}

    def table(self) -> list[dict[str, Any]]:
        return [{"candidate": name} | row for name, row in self.by_candidate.items()]


def judge(
    log: Source,
    model: str,
    pool: str | PathLike[str] | Pool,
    out: str | PathLike[str] | None = None,
    max_usd: float | None = None,
    concurrency: int | None = None,
    dry_run: bool = False,
) -> Judged:
    """Let an LLM score every answer of a log, 0..1; the same call resumes.

    Args:
        log: Anything that `Log` opens.
        model: Name of the judge in the pool.
        pool: Pool, or its file: how the judge is reached, and its prices.
        out: Where the judged log goes: a FusionBench folder for a log with splits, else a ``.parquet`` or ``.jsonl``
            file. Only shards need none: what the judge says is kept beside them, and counts wherever they are read.
        max_usd: Stop before this much is spent on judging.
        concurrency: Requests at once; None leaves it to the backend.
        dry_run: Only price it.
    """
    found = judge_log(
        log, model, _pool(pool), out, dry_run=dry_run, max_usd=max_usd, concurrency=concurrency,
    )  # fmt: skip
    return Judged(model, plan=found) if dry_run else Judged(**found)


def _pool(pool: str | PathLike[str] | Pool) -> Pool:
    return pool if isinstance(pool, Pool) else load_pool(str(pool))


@dataclass
class Recosted(Result):
    """What new prices changed.

    Attributes:
        read: Rows.
        recosted, unpriced: Of LLMs of the pool: with a cost now, or without (no token counts, or no prices).
        kept: Of other LLMs, which were left as they are.
        usd_before, usd_after: Of all rows together.
        by_llm: The same of each LLM.
    """

    read: int
    recosted: int
    unpriced: int
    kept: int
    usd_before: float
    usd_after: float
    by_llm: dict[str, dict[str, Any]]

    def table(self) -> list[dict[str, Any]]:
        return [{"llm": name} | row for name, row in self.by_llm.items()]

    def __str__(self) -> str:
        lines = [f"{'LLM':<36} {'recosted':>9} {'unpriced':>9} {'kept':>9} {'USD before':>12} {'USD after':>12}"]
        for name, row in [*self.by_llm.items(), ("all", vars(self))]:
            counts = f"{row['recosted']:>9} {row['unpriced']:>9} {row['kept']:>9}"
            lines.append(f"{name:<36} {counts} {row['usd_before']:>12.6g} {row['usd_after']:>12.6g}")
        if self.unpriced:
            lines.append(f"{self.unpriced} rows have no cost: no token counts, or no prices")
        return "\n".join(lines)


def recost(log: Source, pool: str | PathLike[str] | Pool, out: str | PathLike[str], partial: bool = False) -> Recosted:
    """Price a log anew after a price change; the scores and everything else stay as they are.

    Args:
        log: Anything that `Log` opens.
        pool: Pool, its file, or the name of a shipped one.
        out: A FusionBench folder for a log with splits, else a ``.parquet`` or ``.jsonl`` file.
        partial: Leave the rows of LLMs that the pool has not as they are.
    """
    return Recosted(**recost_log(log, _pool(pool), out, partial=partial))


@dataclass
class Built(Result):
    """What was built: the splits of the folder (see `Log.summary`), and what became of the rows (see `Merged`)."""

    splits: dict[str, dict[str, Any]]
    merged: Merged

    def table(self) -> list[dict[str, Any]]:
        return [{"split": name} | row for name, row in self.splits.items()]

    def __str__(self) -> str:
        lines = ["  ".join(f"{key} {value}" for key, value in row.items()) for row in self.table()]
        return "\n".join([*lines, *([self.merged.conflict_text()] if self.merged.conflicts else [])])


def build(
    logs: Sequence[Source],
    out: str | PathLike[str],
    split: str | None = None,
    pool: str | PathLike[str] | Pool | None = None,
    templates: str | PathLike[str] | None = None,
    title: str | None = None,
    text: str = "",
    replace: bool = False,
    newer: bool = False,
    overwrite: bool = False,
) -> Built:
    """Put logs of any origin together as one dataset repository: Parquet, card and plot.

    Args:
        logs: Anything that `Log` opens; shards of the collector are graded on the way.
        out: FusionBench folder; rows are added by key (query, LLM, mode) to those that it holds.
        split: Put all rows into this split; logs with splits keep theirs without it.
        pool: Pool, its file, or the name of a shipped one, for the config ``llms``; None takes what the logs carry.
        templates: Folder of a template index, for the config ``thought_templates``.
        title: Heading of the card.
        text: Paragraph under it (Markdown).
        replace: Splits that the logs have take the place of those of `out`.
        newer: Rows that differ from earlier ones of the same key take their place; else the earlier ones stay.
        overwrite: Write into a folder that holds other things.
    """
    logs = [logs] if isinstance(logs, str | PathLike | Log) else logs
    merged = build_folder(
        logs, out, split=split, pool=None if pool is None else _pool(pool), templates=templates, title=title,
        text=text, replace=replace, newer=newer, overwrite=overwrite,
    )  # fmt: skip
    return Built({row.pop("split"): row for row in Log(out).summary()}, merged)

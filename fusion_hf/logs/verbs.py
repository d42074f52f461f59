"""The functions of the commands that read, grade, check and split logs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..results import Result
from .audit import audit_tables
from .grade_table import grade_table
from .importing import import_tables
from .log import Log, Source
from .merge import Merged
from .near import NEAR
from .split import by_date, by_share, parted, query_groups
from .store import Folder, query_overlap
from .write import check_ours


@dataclass
class Imported(Result):
    """What was imported.

    Attributes:
        read, kept, dropped: Answers of the source; ``read == kept + sum(dropped.values())``, `dropped` by reason.
        notes: Other counts worth knowing, by what they count.
        merged: What became of the rows in the folder (see `Merged`).
        splits: What the folder holds now, by split (see `Log.summary`).
        in_two_splits: Queries that stand in two splits, by ``"a & b"``: counted, not removed.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    notes: dict[str, int]
    merged: Merged
    splits: dict[str, dict[str, Any]]
    in_two_splits: dict[str, int]

    def __str__(self) -> str:
        return super().__str__() + _conflicts(self.merged)


def _conflicts(merged: Merged) -> str:
    if not merged.conflicts:
        return ""
    kept = "the old rows stayed: --newer takes the new ones" if merged.older else "the new rows took their place"
    return f"\n{merged.conflict_text()}; {kept}"


def import_log(
    format: str,
    path: str | PathLike[str],
    out: str | PathLike[str],
    split: str | None = None,
    task: str | None = None,
    map: Mapping[str, str] | None = None,
    scale: str | None = None,
    on_duplicate: str | None = None,
    title: str | None = None,
    replace: bool = False,
    newer: bool = False,
    overwrite: bool = False,
) -> Imported:
    """Read a public or private log and add its rows to a FusionBench folder.

    Args:
        format: Name of an importer, or the path of a file that is one.
        path: File or folder of the log.
        out: FusionBench folder; rows are added by key (query, LLM, mode) to those that it holds.
        split: Put every row into this split, whatever the file names say.
        task: Task name for formats that carry none, or the path of a YAML file that describes it.
        map: Column of the log row -> key of the source (``a.b`` for the key b inside a), for your own logs.
        scale: Worst and best rating of your own logs, such as ``1-5``, which become the scores 0 and 1.
        on_duplicate: Which of several rows of one query, LLM and mode stays, for your own logs: ``first`` (None),
            ``last``, ``rated`` (the first with a score), ``mean`` (of scores, costs and latencies) or ``error``.
        title: Heading of the card.
        replace: The imported splits take the place of those that `out` holds.
        newer: Rows that differ from those of the same key take their place; else the old ones stay.
        overwrite: Write into a folder that holds other things.
    """
    check_ours(out, overwrite)
    result, log = import_tables(
        format,
        path,
        split=split,
        task=task,
        title=title,
        mapping=map,
        scale=scale,
        on_duplicate=on_duplicate,
    )
    merged = log.add_to(out, newer, replace, overwrite)
    whole = Log(out)
    splits = {row.pop("split"): row for row in whole.summary()}
    return Imported(result.read, result.kept, result.dropped, result.notes, merged, splits, _overlaps(whole))


def _overlaps(log: Log) -> dict[str, int]:
    pairs = [(a, b) for i, a in enumerate(log.splits) for b in log.splits[i + 1 :]]
    tables = log.parts(["query"]) if pairs else {}
    return {f"{a} & {b}": query_overlap(tables[a], tables[b]) for a, b in pairs}


@dataclass
class Graded(Result):
    """What grading changed: answers that were graded, those whose score is another one now, and both by task."""

    graded: int
    changed: int
    by_task: dict[str, dict[str, int]]

    def table(self) -> list[dict[str, Any]]:
        return [{"task": task} | row for task, row in self.by_task.items()]


def grade(
    log: Source, grader: str = "strict", out: str | PathLike[str] | None = None, split: str | None = None
) -> Graded:
    """Grade every response of a log again; rows without a response keep what they have.

    Args:
        log: Anything that `Log` opens; it keeps its splits.
        grader: ``strict`` or ``paper``.
        out: Where the graded log goes: a FusionBench folder, or a ``.parquet`` or ``.jsonl`` file. None writes nothing.
        split: Put all rows into this split; a log without splits needs it to become a folder.
    """
    before = Log(log).as_collected()
    before = before if split is None else before.with_split(split)
    if out is not None:
        before.check_out(out)
    by_task: dict[str, dict[str, int]] = {}
    after = before.map(lambda table: _graded(table, grader, by_task))
    if not by_task:
        raise UserError("no row of the log has a response: there is nothing to grade")
    if out is not None:
        after.write(out, replace=True)
    sums = {name: sum(row[name] for row in by_task.values()) for name in ("graded", "changed")}
    return Graded(**sums, by_task={task: by_task[task] for task in sorted(by_task)})


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


@dataclass
class Audited(Result):
    """What an audit found; see `fusion_hf.logs.audit.audit_tables`."""

    read: int
    kept: int
    dropped: dict[str, int]
    splits: dict[str, int]
    findings: list[dict[str, Any]]
    by_severity: dict[str, int]
    skipped: dict[str, str] = field(default_factory=dict)

    def table(self) -> list[dict[str, Any]]:
        return self.findings

    def __str__(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{finding['severity']:8}{finding['kind']}: {finding['message']}")
            lines.append(f"{'':8}-> {finding['advice']}")
            if finding["examples"]:
                lines.append(f"{'':8}   query ids: {', '.join(finding['examples'])}")
        lines += [f"skipped {check}: {reason}" for check, reason in self.skipped.items()]
        counts = ", ".join(f"{n} {severity}" for severity, n in self.by_severity.items())
        return "\n".join([*lines, f"{self.read} rows; findings: {counts}"])


def audit(log: Source, regrade: int = 200, near: float = NEAR) -> Audited:
    """Look through a log for what would make a benchmark lie; nothing is changed.

    Args:
        log: Anything that `Log` opens.
        regrade: Responses of a task and split that are graded again, drawn by a fixed seed; 0 grades none, -1 all.
        near: Similarity (0..1) from which two queries are near-duplicates.
    """
    opened = Log(log)
    tables = {split or "log": table for split, table in opened.parts().items()}
    figures = audit_tables(tables, None if regrade < 0 else regrade, near, opened.about.llms)
    return Audited(**figures)


@dataclass
class Parted(Result):
    """How a log was split.

    Attributes:
        splits: Rows, queries, … of each split (see `Log.summary`).
        by_task: Queries of each task by split.
        groups: Groups of like queries that stayed together.
        near_duplicates: Queries that are in a group with others.
    """

    splits: dict[str, dict[str, Any]]
    by_task: dict[str, dict[str, int]]
    groups: int
    near_duplicates: int

    def table(self) -> list[dict[str, Any]]:
        return [{"task": task} | row for task, row in self.by_task.items()]


def split(
    log: Source,
    out: str | PathLike[str],
    test: float | None = None,
    after: str | None = None,
    near: float = NEAR,
    seed: int = 0,
    overwrite: bool = False,
) -> Parted:
    """Split a log into train and test, each query and all that are nearly like it on one side.

    Args:
        log: Anything that `Log` opens; splits that it has are taken together.
        out: FusionBench folder; it must not hold a log yet.
        test: Share of each task's queries that the test split gets, above 0 and below 1.
        after: In place of `test`: queries first served on this day (ISO 8601, UTC) or later are the test split.
        near: Similarity (0..1) from which two queries stay together; 1 keeps only equal texts together.
        seed: Of the draw.
        overwrite: Write into a folder that holds other things.
    """
    if (test is None) == (after is None):
        raise UserError("expected either test (a share of the queries) or after (a date), found both or none")
    check_ours(out, overwrite)
    if not overwrite and Folder.open(out).files:
        raise UserError(f"out: {out} holds a log: give a new folder, or set overwrite")
    opened = Log(log)
    whole = opened.with_split("train") if opened.splits else opened
    table = whole.table()
    groups, of_queries = query_groups(table, near)
    chosen = by_share(table, groups, test, seed) if after is None else by_date(table, groups, after)
    tables = parted(table, chosen)
    Log(tables, about=opened.about).write(out, replace=True, overwrite=overwrite)
    by_task: dict[str, dict[str, int]] = {}
    for name, part in tables.items():
        for row in part.group_by("task").aggregate([("query_id", "count_distinct")]).to_pylist():
            by_task.setdefault(row["task"], {"train": 0, "test": 0})[name] = row["query_id_count_distinct"]
    sizes = np.bincount(of_queries)
    splits = {row.pop("split"): row for row in Log(tables).summary()}
    return Parted(splits, dict(sorted(by_task.items())), len(sizes), int(sizes[sizes > 1].sum()))

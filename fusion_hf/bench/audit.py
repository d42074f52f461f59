"""Look through a log for what would make a benchmark lie: leaks, unread answers, doubles, wrong golds, truncation."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from ..errors import UserError
from .schema import candidate_id, encode, key_codes
from .store import MANY, bench_splits, local_path, read_log

SEVERITIES = ("error", "warning", "info")
EXAMPLES = 5


@dataclass
class Finding:
    """One thing that is wrong, or looks wrong.

    Attributes:
        kind: Short name of the check, such as ``unparsed answers``.
        severity: ``error`` (scores are wrong, or a split leaks), ``warning`` (look at it), ``info``.
        message: What was found, with its figures.
        advice: What to do about it.
        count: Rows, queries or cells that it concerns.
        task: The task that it concerns, or None.
        candidate: The candidate that it concerns, or None.
        examples: A few query ids.
        figures: The figures of the message as numbers.
    """

    kind: str
    severity: str
    message: str
    advice: str
    count: int
    task: str | None = None
    candidate: str | None = None
    examples: list[str] = field(default_factory=list)
    figures: dict = field(default_factory=dict)


def audit(path: str | Path, regrade: int | None = 200, near: float = 0.8) -> dict:
    """Read a log (folder, Hub id, Parquet or JSON lines) and look through it; see `audit_tables`."""
    local = local_path(path)
    splits = bench_splits(local) if local.is_dir() else []
    tables = {split: read_log(local, split) for split in splits} or {"log": read_log(local)}
    return audit_tables(tables, regrade=regrade, near=near)


def audit_tables(tables: dict[str, pa.Table], regrade: int | None = 200, near: float = 0.8) -> dict:
    """Every check over the log tables of the splits. Nothing is changed or removed.

    A check that needs a column which the log leaves empty (responses, gold answers, costs) is passed over and named in
    ``skipped``.

    Args:
        tables: Split -> log table; duplicate keys are allowed, since they are looked for.
        regrade: At most this many responses of a task and split are graded again, drawn by a fixed seed; 0 grades none
            and None grades all.
        near: Jaccard similarity from which two queries are near-duplicates.

    Returns:
        ``{"read", "kept", "dropped", "splits", "findings": [Finding as a dict], "by_severity": {…}, "skipped": {check:
        reason}}``; findings are sorted by severity and count.
    """
    from .audit_answers import candidate_pairs, regrading, truncation, unread_answers
    from .audit_golds import gold_answers
    from .audit_scores import below_chance, below_own_level, nobody_above_chance

    rows = sum(table.num_rows for table in tables.values())
    if not rows:
        raise UserError("the log is empty: expected at least one row, found none")
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    findings += queries_in_two_splits(tables, near)
    checks: dict[str, Callable] = {
        "duplicate keys": duplicate_keys,
        "missing cells": missing_cells,
        "unparsed answers": below_chance,
        "implausible scores": below_own_level,
        "tasks at chance": nobody_above_chance,
        "unread answers": unread_answers,
        "coinciding candidates": candidate_pairs,
        "gold answers": gold_answers,
        "truncated responses": truncation,
        "re-grading": lambda table, split: regrading(table, split, regrade),
    }
    for split, table in tables.items():
        for name, check in tqdm(checks.items(), desc=f"checking {split}", disable=table.num_rows < MANY):
            found = check(table, split)
            if isinstance(found, str):
                skipped[f"{name} ({split})"] = found
            else:
                findings += found
    findings.sort(key=lambda f: (SEVERITIES.index(f.severity), f.kind, -f.count))
    return {
        "read": rows,
        "kept": rows,
        "dropped": {},
        "splits": {split: table.num_rows for split, table in tables.items()},
        "findings": [asdict(f) for f in findings],
        "by_severity": {s: sum(f.severity == s for f in findings) for s in SEVERITIES},
        "skipped": skipped,
    }


def duplicate_keys(table: pa.Table, split: str) -> list[Finding]:
    """Rows whose (query_id, llm, mode) came before."""
    codes = key_codes(table)
    order = np.argsort(codes, kind="stable")
    again = order[1:][codes[order][1:] == codes[order][:-1]]
    if not len(again):
        return []
    return [
        Finding(
            "duplicate keys", "error", f"{split}: {len(again)} rows repeat another row's key (query_id, llm, mode)",
            "keep one row a key (`fusion-hf import` does); a doubled row counts twice in every mean", len(again),
            examples=examples(table, again),
        )
    ]  # fmt: skip


def missing_cells(table: pa.Table, split: str) -> list[Finding]:
    """Cells with neither a performance nor a judge score, a finding a task (info where whole candidates lack it)."""
    ids, query = encode(table["query_id"])
    names, column = candidates(table)
    tasks, task = encode(table["task"])
    scored = np.zeros((len(ids), len(names)), bool)
    valid = np.asarray(pc.or_(pc.is_valid(table["performance"]), pc.is_valid(table["judge"])))
    scored[query[valid], column[valid]] = True
    task_of = np.empty(len(ids), np.int64)
    task_of[query] = task
    findings = []
    for t, name in enumerate(tasks):
        rows = np.flatnonzero(task_of == t)
        gaps = ~scored[rows]
        of = {names[j]: int(n) for j, n in enumerate(gaps.sum(0)) if n}
        if of:
            some = {c: n for c, n in of.items() if n < len(rows)}
            worst = max(some or of, key=(some or of).get)
            findings.append(
                Finding(
                    "missing cells", "warning" if some else "info",
                    f"{split}: {gaps.sum()} of {gaps.size} cells of {name} have no score ({len(of)} of {len(names)} "
                    f"candidates; most: {worst}, {of[worst]} of {len(rows)} queries)",
                    "collect them again; until then compare candidates on the queries that all of them have",
                    int(gaps.sum()), str(name), None, [str(ids[i]) for i in rows[gaps.any(1)][:EXAMPLES]],
                    {"by_candidate": of},
                )
            )  # fmt: skip
    return findings


def queries_in_two_splits(tables: dict[str, pa.Table], near: float) -> list[Finding]:
    """Queries of one split that stand, word for word or nearly, in another."""
    from .near import near_duplicates

    queries = {split: _queries(table) for split, table in tables.items()}
    names = list(tables)
    findings = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            both = set(queries[a]) & set(queries[b])
            # partial_test is 50 queries of test a task, by definition.
            if both and {a, b} != {"partial_test", "test"}:
                findings.append(_leak(a, b, "word for word", [queries[b][q] for q in both], {}))
    texts = {text: (split, qid) for split in reversed(names) for text, qid in queries[split].items()}
    where = list(texts.values())
    pairs: dict[tuple[str, str], list[tuple[str, str, float]]] = {}
    for i, j, similarity in near_duplicates(list(texts), near):
        splits = sorted({where[i][0], where[j][0]}, key=names.index)
        if len(splits) == 2 and splits != ["partial_test", "test"]:
            pairs.setdefault(tuple(splits), []).append((where[i][1], where[j][1], similarity))
        elif len(splits) == 1:
            pairs.setdefault((splits[0], splits[0]), []).append((where[i][1], where[j][1], similarity))
    for (a, b), found in pairs.items():
        figures = {"pairs": len(found), "threshold": near, "most_similar": found[0][2]}
        findings.append(_leak(a, b, "nearly word for word", [x for pair in found for x in pair[:2]], figures))
    return findings


def _leak(a: str, b: str, how: str, ids: list[str], figures: dict) -> Finding:
    ids = list(dict.fromkeys(ids))
    pairs = f" ({figures['pairs']} pairs at a Jaccard similarity of {figures['threshold']} or more)" if figures else ""
    if a == b:
        message, advice = f"{a}: {len(ids)} queries are near-duplicates of another query of the split{pairs}", (
            "they count twice; folds of a cross-validation should keep them together"
        )  # fmt: skip
    else:
        message, advice = f"{len(ids)} queries stand {how} in {a} and in {b}{pairs}", (
            f"take them out of one of the two: what was learned from {a} has seen them"
        )  # fmt: skip
    severity = "info" if a == b else "error" if not figures else "warning"
    kind = "near-duplicate queries" if figures else "queries in two splits"
    if figures and a != b:
        kind = "near-duplicates in two splits"
    return Finding(kind, severity, message, advice, len(ids), examples=ids[:EXAMPLES], figures=figures)


def _queries(table: pa.Table) -> dict[str, str]:
    """Distinct query text -> id of its first row."""
    ids, code = encode(table["query_id"])
    first = np.full(len(ids), table.num_rows, np.int64)
    np.minimum.at(first, code, np.arange(table.num_rows))
    texts = table["query"].take(pa.array(first)).to_pylist()
    return {text: str(qid) for text, qid in zip(reversed(texts), reversed(ids), strict=True)}


def candidates(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """(candidate ids, int64 [rows] place of each row's candidate)."""
    llms, llm = encode(table["llm"])
    modes, mode = encode(table["mode"])
    pairs, column = np.unique(llm * len(modes) + mode, return_inverse=True)
    return [candidate_id(str(llms[p // len(modes)]), str(modes[p % len(modes)])) for p in pairs], column


def examples(table: pa.Table, rows) -> list[str]:
    """A few query ids of these rows, each once."""
    found = table["query_id"].take(pa.array(np.asarray(rows)[: 20 * EXAMPLES], pa.int64())).to_pylist()
    return list(dict.fromkeys(found))[:EXAMPLES]

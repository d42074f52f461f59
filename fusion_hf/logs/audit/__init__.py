"""Look through a log for what would make a benchmark lie: leaks, unparsed answers, wrong reference answers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from ...errors import UserError
from ..write import MANY
from .answers import candidate_pairs, regrading, truncation, unparsed_answers
from .finding import SEVERITIES, Finding
from .keys import duplicate_keys, missing_cells
from .leaks import queries_in_two_splits
from .references import reference_answers
from .scores import below_chance, below_own_level, nobody_above_chance
from .usage import costs, latencies, served_models, token_counts


def audit_tables(
    tables: dict[str, pa.Table],
    regrade: int | None = 200,
    near: float = 0.8,
    llms: Iterable[Mapping[str, Any]] = (),
) -> dict:
    """Every check over the log tables of the splits. Nothing is changed or removed.

    A check that needs a column which the log leaves empty (responses, reference answers, costs) is passed over, and
    ``skipped`` names it.

    Args:
        tables: Split -> log table; duplicate keys are allowed, since they are looked for.
        regrade: At most this many responses of a task and split are graded again, drawn by a fixed seed; 0 grades none
            and None grades all.
        near: Jaccard similarity from which two queries are near-duplicates.
        llms: Rows of the config ``llms``: prices, which costs are compared with, and the model behind a name.

    Returns:
        ``{"read", "kept", "dropped", "splits", "findings": [Finding as a dict], "by_severity": {…}, "skipped": {check:
        reason}}``; findings are sorted by severity and count.
    """
    rows = sum(table.num_rows for table in tables.values())
    if not rows:
        raise UserError("the log is empty: expected at least one row, found none")
    llms = list(llms)
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    findings += queries_in_two_splits(tables, near)
    checks: dict[str, Callable] = {
        "duplicate keys": duplicate_keys,
        "missing cells": missing_cells,
        "scores below chance": below_chance,
        "implausible scores": below_own_level,
        "tasks at chance": nobody_above_chance,
        "unparsed answers": unparsed_answers,
        "coinciding candidates": candidate_pairs,
        "reference answers": reference_answers,
        "truncated responses": truncation,
        "token counts": token_counts,
        "costs": lambda table, split: costs(table, split, llms),
        "latencies": latencies,
        "served models": lambda table, split: served_models(table, split, llms),
        "re-grading": lambda table, split: regrading(table, split, regrade),
    }
    for split, table in tables.items():
        for name, check in tqdm(checks.items(), desc=f"checking {split}", disable=table.num_rows < MANY or None):
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

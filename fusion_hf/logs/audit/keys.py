"""Keys and cells: rows that repeat a key, and cells without a score."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import encode, key_codes
from .finding import EXAMPLES, Finding, candidates, examples


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

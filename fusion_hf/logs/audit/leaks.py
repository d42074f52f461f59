"""Queries that stand, word for word or nearly, in two splits or twice in one."""

import numpy as np
import pyarrow as pa

from ..near import near_duplicates
from ..schema import encode
from .finding import EXAMPLES, Finding


def queries_in_two_splits(tables: dict[str, pa.Table], near: float) -> list[Finding]:
    """Queries of one split that stand, word for word or nearly, in another."""
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

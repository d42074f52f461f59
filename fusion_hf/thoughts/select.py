"""Which answers of a log a thought template is made from: only right ones, the best first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..bench.schema import candidate_id
from ..errors import UserError

RULES = ("perf", "judge", "hybrid")
HYBRID_POOL = 5


@dataclass(frozen=True)
class Selection:
    """The chosen answers of every query.

    Attributes:
        answers: query_id -> row numbers of the log, the best answer first; queries in the order of their first row.
        read: How many queries the log has.
        dropped: Reason -> how many queries have no answer to learn from.
    """

    answers: dict[str, list[int]]
    read: int
    dropped: dict[str, int]


def select_answers(
    table: pa.Table,
    rule: str = "perf",
    top_k: int | None = None,
    threshold: float = 0.5,
    llms: Sequence[str] | None = None,
) -> Selection:
    """Choose the answers to learn from, query by query.

    ``perf``: by performance, then by lower cost, then by candidate id. ``judge``: by the judge's score. ``hybrid``: of
    the top five by ``perf`` the best by the judge (arXiv 2507.10540). All rules use only answers whose performance is
    above `threshold`; where no performance was measured at all (open-ended tasks) ``judge`` asks the same of the judge.

    Args:
        table: A log.
        rule: One of `RULES`.
        top_k: At most so many answers a query; None keeps all (for ``hybrid``: all five).
        threshold: An answer counts as right above this score (0..1).
        llms: Use answers of these LLMs only (a small pool, say).
    """
    if rule not in RULES:
        raise UserError(f"unknown rule {rule!r}: expected one of {', '.join(RULES)}")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k: expected at least 1, found {top_k}")
    scores = {name: _numbers(table, name) for name in ("performance", "judge", "cost")}
    usable = _has_text(table)
    if llms is not None:
        usable &= pc.is_in(table["llm"], value_set=pa.array(list(llms), pa.string())).to_numpy()
    _check(table, rule, scores, usable)

    query = table["query_id"].combine_chunks().dictionary_encode()
    code = query.indices.to_numpy(zero_copy_only=False)
    ids = query.dictionary.to_pylist()
    score = scores["performance"]
    if rule == "judge":
        score = np.where(np.isnan(score), scores["judge"], score)
    measured = usable & ~np.isnan(score)
    right = measured & (score > threshold)
    if rule == "judge":
        right &= ~np.isnan(scores["judge"])

    first, cost = score, np.nan_to_num(scores["cost"], nan=np.inf)
    if rule == "judge":
        first = scores["judge"]
    rows = np.flatnonzero(right)
    rows = rows[np.lexsort((_names(table)[rows], cost[rows], -first[rows], code[rows]))]
    groups = np.split(rows, np.flatnonzero(np.diff(code[rows])) + 1) if len(rows) else []
    if rule == "hybrid":
        judge = np.nan_to_num(scores["judge"], nan=-np.inf)
        groups = [g[:HYBRID_POOL] for g in groups]
        groups = [g[np.argsort(-judge[g], kind="stable")] for g in groups]
    answers = {ids[code[g[0]]]: g[:top_k].tolist() for g in groups}

    graded = np.zeros(len(ids), bool)
    graded[code[measured]] = True
    dropped = Counter({"no right answer": int(graded.sum()) - len(answers), "no graded answer": int((~graded).sum())})
    return Selection(answers, len(ids), {reason: n for reason, n in dropped.items() if n})


def candidates_of(table: pa.Table, rows: Sequence[int]) -> list[str]:
    """Candidate ids of log rows."""
    taken = table.select(["llm", "mode"]).take(pa.array(rows, pa.int64())).to_pylist()
    return [candidate_id(row["llm"], row["mode"]) for row in taken]


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return pc.cast(table[name], pa.float64()).to_numpy().astype(np.float64)


def _has_text(table: pa.Table) -> np.ndarray:
    if "response" not in table.column_names:
        return np.zeros(table.num_rows, bool)
    length = pc.utf8_length(pc.utf8_trim_whitespace(table["response"]))
    return pc.fill_null(pc.greater(length, 0), False).to_numpy().astype(bool)


def _names(table: pa.Table) -> np.ndarray:
    """A number a row that orders candidates by id."""
    llm, mode = (table[name].combine_chunks().dictionary_encode() for name in ("llm", "mode"))
    llms, modes = llm.dictionary.to_pylist(), mode.dictionary.to_pylist()
    ids = [candidate_id(a, b) for a in llms for b in modes]
    rank = np.empty(len(ids), np.int64)
    rank[np.argsort(ids)] = np.arange(len(ids))
    pair = llm.indices.to_numpy(zero_copy_only=False).astype(np.int64) * max(len(modes), 1)
    return rank[pair + mode.indices.to_numpy(zero_copy_only=False)]


def _check(table: pa.Table, rule: str, scores: dict[str, np.ndarray], usable: np.ndarray) -> None:
    if table.num_rows == 0:
        raise UserError("the log is empty: expected at least one answer, found none")
    if not usable.any():
        raise UserError("the log has no response texts to learn from: collect or import a log with responses")
    if rule != "perf" and np.isnan(scores["judge"][usable]).all():
        raise UserError(f"rule {rule!r} needs judge scores and the log has none: run  fusion-hf judge  or use perf")
    if rule != "judge" and np.isnan(scores["performance"][usable]).all():
        raise UserError(f"rule {rule!r} needs graded answers and the log has none: run  fusion-hf grade  first")

"""Which answers of a log a thought template is made from: only right ones, the best first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..errors import UserError
from ..logs.schema import candidate_id
from ..logs.select import RULES, Answers, as_measured, rank_answers


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
    llms: Collection[str] | None = None,
) -> Selection:
    """Choose the answers to learn from, query by query, by a rule of `fusion_hf.logs.select`.

    All rules use only answers whose performance is at least `threshold`; where none was measured (open-ended tasks)
    ``judge`` asks the same of the judge's score.

    Args:
        table: A log.
        rule: ``perf``, ``judge`` or ``hybrid``.
        top_k: At most so many answers a query; None keeps all (for ``hybrid``: the five best by ``perf``).
        threshold: An answer counts as right from this score on (0..1).
        llms: Use answers of these LLMs only (a small pool, say).

    Raises:
        UserError: The log is empty, or has no texts or no scores that the rule needs.
    """
    if rule not in RULES:
        raise UserError(f"unknown rule {rule!r}: expected one of {', '.join(RULES)}")
    if table.num_rows == 0:
        raise UserError("the log is empty: expected at least one answer, found none")
    answers = Answers.of(table)
    usable = (answers.length > 0) & ~answers.failed
    if llms is not None:
        usable &= answers.of_llms(llms)
    _check(answers, rule, usable)
    score = answers.performance
    if rule == "judge":
        score = np.where(np.isnan(score), answers.judge, score)
    measured = usable & ~np.isnan(score)
    right = measured & (score >= as_measured(threshold))
    if rule == "judge":
        right &= ~np.isnan(answers.judge)
    rows = rank_answers(answers, right, rule, top_k).rows
    groups = np.split(rows, np.flatnonzero(np.diff(answers.query[rows])) + 1) if len(rows) else []
    chosen = {str(answers.query_ids[answers.query[g[0]]]): g.tolist() for g in groups}

    graded = np.zeros(len(answers.query_ids), bool)
    graded[answers.query[measured]] = True
    dropped = {"no right answer": int(graded.sum()) - len(chosen), "no graded answer": int((~graded).sum())}
    return Selection(chosen, len(graded), {reason: n for reason, n in dropped.items() if n})


def candidates_of(table: pa.Table, rows: Sequence[int]) -> list[str]:
    """Candidate ids of log rows."""
    taken = table.select(["llm", "mode"]).take(pa.array(rows, pa.int64())).to_pylist()
    return [candidate_id(row["llm"], row["mode"]) for row in taken]


def _check(answers: Answers, rule: str, usable: np.ndarray) -> None:
    if not usable.any():
        raise UserError("the log has no response texts to learn from: collect or import a log with responses")
    if rule != "perf" and np.isnan(answers.judge[usable]).all():
        raise UserError(f"rule {rule!r} needs judge scores and the log has none: run  fusion-hf judge  or use perf")
    if rule != "judge" and np.isnan(answers.performance[usable]).all():
        raise UserError(f"rule {rule!r} needs graded answers and the log has none: run  fusion-hf grade  first")

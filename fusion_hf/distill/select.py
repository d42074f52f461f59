"""Which answers of a log a student should learn from.

The rules are those of FusionFactory's model level (arXiv 2507.10540) as `fusion_hf.logs.select` has them, with these
differences to the published code: wrong, empty and truncated responses never get in, ties go to the cheaper candidate
or the shorter answer, code answers are code that passed its tests, copies are one, and queries of a test split are out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..checks import check_amount, check_choice, check_count, check_share
from ..errors import UserError
from ..logs.near import NEAR
from ..logs.schema import encode
from ..logs.select import RULES as ANSWER_RULES
from ..logs.select import TIES, Answers, as_measured, rank_answers
from ..reasoning import split_reasoning
from ..tasks.modes import MODES, PLAIN_MODES
from .copies import answer_codes, answer_groups, near_queries
from .quota import quotas, within

RULES = (*ANSWER_RULES, "baseline")
COLUMNS = ("query_id", "task", "query", "ground_truth", "metric", "llm", "mode", "response", "performance")
OPTIONAL = {"finish_reason": pa.string(), "error": pa.string(), "output_tokens": pa.int32(), "cost": pa.float64(),
            "extracted": pa.string(), "grader": pa.string(), "judge": pa.float32()}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """How answers are chosen.

    Attributes:
        select: ``perf`` ranks the answers of a query by performance; ``judge`` by the judge's score (a query without a
            graded answer by that alone); ``hybrid`` takes the `top_k` by performance and of these the best
            `hybrid_keep` by the judge; ``baseline`` takes the reference answer once a query, and no LLM's answer.
        top_k: Answers kept of one query.
        hybrid_keep: See `select`; None means three fifths of `top_k`, rounded up (3 of 5, as published).
        tie: What decides between equal scores: ``cost`` (cheaper first) or ``length`` (shorter first); then the other,
            then the candidate's name.
        threshold: Answers below this score are wrong; an answer to a code task is wrong unless it passed every test.
        llms: Only these LLMs teach; None means all.
        min_agreement: Keep a multiple-choice or True/False answer only if at least this many candidates extracted the
            same answer for the query. Right letters with a wrong reason are common among weak LLMs.
        near: Jaccard similarity from which answers, and queries, are near-duplicates; 1 means word for word.
        task_cap, max_rows, weights: How many rows of each task: see `fusion_hf.distill.quota.quotas`.
    """

    select: str = "perf"
    top_k: int = 5
    hybrid_keep: int | None = None
    tie: str = "cost"
    threshold: float = 0.5
    llms: Collection[str] | None = None
    min_agreement: int | None = None
    near: float = NEAR
    task_cap: int | None = None
    max_rows: int | None = None
    weights: Mapping[str, float] | None = None

    def __post_init__(self):
        check_choice("select", self.select, RULES)
        check_choice("tie", self.tie, TIES)
        check_count("top_k", self.top_k)
        for name in ("hybrid_keep", "min_agreement", "task_cap", "max_rows"):
            check_count(name, getattr(self, name), optional=True)
        for name, weight in (self.weights or {}).items():
            check_amount(f"weights: {name}", weight, optional=False)
        check_share("near", self.near)
        if not self.near:
            raise UserError("near: expected a similarity above 0, found 0")
        as_measured(self.threshold)

    @property
    def places(self) -> dict:
        """`rank_answers`' arguments."""
        if self.select != "hybrid":
            return {"rule": self.select, "top_k": self.top_k, "tie": self.tie}
        keep = self.hybrid_keep or -(-3 * self.top_k // 5)
        return {"rule": "hybrid", "pool": self.top_k, "top_k": keep, "tie": self.tie}


class Drops:
    """Counts, for each reason, the rows that were still alive when it struck."""

    def __init__(self, rows: int):
        self.alive = np.ones(rows, bool)
        self.counts: dict[str, int] = {}

    def __call__(self, reason: str, mask: np.ndarray) -> None:
        """Drop the rows of `mask` (bool [rows])."""
        struck = self.alive & mask
        if struck.any():
            self.counts[reason] = self.counts.get(reason, 0) + int(struck.sum())
        self.alive &= ~struck

    def rows(self, reason: str, numbers: np.ndarray) -> None:
        """Drop rows by their numbers."""
        mask = np.zeros(len(self.alive), bool)
        mask[numbers] = True
        self(reason, mask)


def select_rows(table: pa.Table, choice: Choice | None = None, exclude: pa.Table | None = None):
    """Pick the answers of a log that a student should learn from. The order of the log's rows never matters.

    Args:
        table: Log rows of the train split (see `fusion_hf.logs.schema`).
        choice: How; None means ``Choice()``.
        exclude: Log rows (a test split, say) whose queries must not be learned: same query_id, same query text, or
            nearly the same (Jaccard similarity of at least ``choice.near``).

    Returns:
        (the chosen log rows plus ``rule`` and ``rank`` (1 is best), sorted by task, query_id and rank;
        counts ``{"read", "kept", "dropped": {reason: rows}}``, where read = kept + everything dropped).

    Raises:
        UserError: A column is missing, no LLM of ``choice.llms`` is in the log, or the rule needs judge scores and the
            log has none.
    """
    choice = choice or Choice()
    table = read_columns(table)
    drop = Drops(table.num_rows)
    answers = Answers.of(table)
    drop_excluded(drop, table, exclude, choice.near)
    if choice.select == "baseline":
        rows, rank = _gold(table, answers, drop)
    else:
        drop_unusable(drop, table, answers, choice)
        drop_wrong(drop, table, answers, choice)
        rows, rank = _best(table, answers, choice, drop)
    tasks, task = encode(table["task"])
    there = dict(zip(map(str, tasks), np.bincount(task[rows], minlength=len(tasks)).tolist(), strict=True))
    quota = quotas(there, choice.task_cap, choice.max_rows, choice.weights)
    keep = within(tasks[task[rows]], answers.query_ids[answers.query[rows]], rank, quota)
    drop.rows("over_task_quota", rows[~keep])
    rows, rank = rows[keep], rank[keep]
    order = np.lexsort((rank, answers.query_ids[answers.query[rows]].astype(str), tasks[task[rows]].astype(str)))
    chosen = table.take(pa.array(rows[order]))
    chosen = chosen.append_column("rule", pa.array([choice.select] * len(rows), pa.string()))
    chosen = chosen.append_column("rank", pa.array(rank[order].astype(np.int32)))
    return chosen, {"read": table.num_rows, "kept": len(rows), "dropped": drop.counts}


def read_columns(table: pa.Table) -> pa.Table:
    """The columns that choosing reads; optional ones that are absent become null.

    A response that holds its reasoning is read without it: a student learns the answer, and a response that is nothing
    but reasoning is empty.
    """
    missing = [c for c in COLUMNS if c not in table.column_names]
    if missing:
        raise UserError(f"the log has no column {missing[0]!r}: an SFT dataset needs {', '.join(COLUMNS)}")
    for name, kind in OPTIONAL.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    table = table.select([*COLUMNS, *OPTIONAL])
    return table.set_column(COLUMNS.index("response"), "response", _answers_only(table["response"]))


def _answers_only(responses: pa.ChunkedArray) -> pa.ChunkedArray:
    """The responses without their reasoning: see `fusion_hf.reasoning`."""
    texts = responses.to_pylist()
    answers = [text if text is None else split_reasoning(text)[0] for text in texts]
    return responses if answers == texts else pa.chunked_array([pa.array(answers, responses.type)])


def drop_excluded(drop: Drops, table: pa.Table, exclude: pa.Table | None, near: float) -> None:
    """Queries of `exclude`, by id, by text, and nearly by text."""
    if exclude is None or not table.num_rows:
        return
    same = pc.is_in(table["query_id"], value_set=pc.unique(exclude["query_id"]))
    if "query" in exclude.column_names:
        others = pc.cast(exclude["query"], table["query"].type)
        drop("in_excluded_split", pc.or_(same, pc.is_in(table["query"], value_set=pc.unique(others))).to_numpy())
        alike = near_queries(table["query"], others, near)
        drop("nearly_in_excluded_split", pc.is_in(table["query"], value_set=alike).to_numpy())
    else:
        drop("in_excluded_split", same.to_numpy())


def drop_unusable(drop: Drops, table: pa.Table, answers: Answers, choice: Choice) -> None:
    """Errors, empty and truncated answers, those of LLMs that do not teach, and those without a score."""
    if choice.llms is not None and table.num_rows:
        drop("other_llm", ~answers.of_llms(choice.llms))
    # What stood before the query in thought mode is not in the log, so the prompt cannot be told again.
    drop("prompt_not_in_log", pc.invert(pc.is_in(table["mode"], value_set=pa.array(PLAIN_MODES))).to_numpy())
    drop("error", answers.failed)
    drop("empty", answers.length == 0)
    drop("truncated", answers.truncated)
    drop("not_graded", np.isnan(_score(answers, choice)))
    if choice.select in ("judge", "hybrid"):
        if drop.alive.any() and np.isnan(answers.judge[drop.alive]).all():
            raise UserError(
                f"--select {choice.select} needs judge scores, the log has none: run fusion-hf judge or use perf"
            )
        drop("not_judged", np.isnan(answers.judge))


def drop_wrong(drop: Drops, table: pa.Table, answers: Answers, choice: Choice) -> None:
    """Answers below the threshold, code that failed a test, and letters that too few candidates agree on."""
    agreeing = _agreement(table, answers, drop.alive)
    code = pc.equal(table["metric"], "code_eval").to_numpy()
    drop("wrong", _score(answers, choice) < np.where(code, 1.0, as_measured(choice.threshold)))
    if choice.min_agreement is not None:
        drop("too_little_agreement", _guessable(table) & (agreeing < choice.min_agreement))


def _score(answers: Answers, choice: Choice) -> np.ndarray:
    """The performance; for ``judge`` the judge's score where no answer to the query was graded (open-ended tasks)."""
    if choice.select != "judge":
        return answers.performance
    graded = np.zeros(len(answers.query_ids), bool)
    graded[answers.query[~np.isnan(answers.performance)]] = True
    return np.where(graded[answers.query], answers.performance, answers.judge)


def _guessable(table: pa.Table) -> np.ndarray:
    # Joined with a character that no reference answer holds, so that one reference answer reads as itself.
    reference = pc.binary_join(table["ground_truth"], "\x1f")
    yes_no = pc.is_in(reference, value_set=pa.array(["True", "False"]))
    return pc.or_(pc.equal(table["metric"], "em_mc"), yes_no).to_numpy()


def _agreement(table: pa.Table, answers: Answers, alive: np.ndarray) -> np.ndarray:
    """int [rows]: candidates whose extracted answer to the query is the row's (0 where nothing was extracted)."""
    _, code = encode(pc.fill_null(table["extracted"], ""))
    read = alive & pc.is_valid(table["extracted"]).to_numpy()
    pair = answers.query * (code.max(initial=0) + 1) + code
    _, place, counts = np.unique(pair[read], return_inverse=True, return_counts=True)
    result = np.zeros(len(alive), np.int64)
    result[read] = counts[place]
    return result


def query_and_mode(table: pa.Table, answers: Answers) -> np.ndarray:
    """int [rows]: equal where query and mode are equal, for that is one prompt."""
    _, mode = encode(table["mode"])
    return answers.query * len(MODES) + mode


def _best(table: pa.Table, answers: Answers, choice: Choice, drop: Drops) -> tuple[np.ndarray, np.ndarray]:
    """(row numbers, rank) of the best answers; copies of an answer to one prompt are one."""
    texts = pc.fill_null(table["response"], "")
    exact, prompt = answer_codes(texts), query_and_mode(table, answers)
    same = answer_groups(texts, exact, prompt, drop.alive, choice.near)
    # Copies are looked for within a query, and its modes are different prompts.
    same = same * len(MODES) + prompt % len(MODES)
    ranking = rank_answers(answers, drop.alive, **choice.places, same=same)
    exact = exact * (prompt.max(initial=0) + 1) + prompt
    first = ~np.isin(exact[ranking.copies], exact[np.concatenate([ranking.rows, ranking.beyond])])
    drop.rows("duplicate", ranking.copies[~first])
    drop.rows("near_duplicate", ranking.copies[first])
    drop.rows("below_the_best", ranking.beyond)
    return ranking.rows, ranking.rank


def _gold(table: pa.Table, answers: Answers, drop: Drops) -> tuple[np.ndarray, np.ndarray]:
    """One row a query that has a reference answer in words: a code task has tests, and those are not an answer."""
    drop("code_has_no_gold_text", pc.equal(table["metric"], "code_eval").to_numpy())
    drop("no_gold", pc.equal(pc.fill_null(pc.list_value_length(table["ground_truth"]), 0), 0).to_numpy())
    nothing = np.full(len(answers.query), np.nan)
    ranking = rank_answers(replace(answers, performance=nothing, cost=nothing), drop.alive, "perf", 1)
    drop.rows("same_query", ranking.beyond)
    return ranking.rows, ranking.rank

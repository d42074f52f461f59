"""Which answers of a log are worth learning from: the rules that thought templates and SFT data share.

``perf`` orders the right answers to a query by performance, then cost; ``judge`` by the judge's score; ``hybrid`` takes
the best five by ``perf`` and of these the best three by the judge (arXiv 2507.10540).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from .schema import candidate_id, encode

RULES = ("perf", "judge", "hybrid")
HYBRID_POOL = 5
TIES = ("cost", "length")
SIZES = ("small", "medium", "large")
SMALL_BILLIONS = 12.0  # the published small pool ends with Mistral-NeMo 12B
TRUNCATED = ("length", "max_tokens", "model_length", "content_filter")
_UNITS = {"k": 1e-6, "m": 1e-3, "b": 1.0, "t": 1e3}


def small_llms(sizes: Mapping[str, str | None]) -> list[str]:
    """The small LLMs of a pool: called ``small`` there, or of at most `SMALL_BILLIONS` billion parameters.

    `sizes`: a word of `SIZES`, or a number such as ``"7B"``, ``"1.03M"`` or ``"8x7B"``.
    """
    return sorted(name for name, size in sizes.items() if _is_small(name, size))


def _is_small(name: str, size: str | None) -> bool:
    if size in SIZES:
        return size == "small"
    found = re.fullmatch(r"\s*(?:(\d+)\s*[xX]\s*)?(\d+(?:\.\d+)?)\s*([kKmMbBtT])\s*", str(size))
    if not found:
        raise UserError(f"size of {name}: expected {', '.join(SIZES)} or a number such as '7B', found {size!r}")
    experts, number, unit = found.groups()
    return int(experts or 1) * float(number) * _UNITS[unit.lower()] <= SMALL_BILLIONS


@dataclass(frozen=True)
class Answers:
    """What choosing needs of n log rows, as arrays [n]; the texts stay in Arrow.

    Attributes:
        query: Place of the row's query among `query_ids`.
        query_ids: In the order of their first row.
        performance, judge, cost: float64; NaN where not measured.
        length: Characters of the response without the blanks around it; 0 for an empty one and for none.
        name: Number that orders candidates by their id.
        llm: Place of the row's LLM among `llms`.
        llms: Names.
        truncated: Whether the answer was cut off.
        failed: Whether the row is an error.
    """

    query: np.ndarray
    query_ids: np.ndarray
    performance: np.ndarray
    judge: np.ndarray
    cost: np.ndarray
    length: np.ndarray
    name: np.ndarray
    llm: np.ndarray
    llms: np.ndarray
    truncated: np.ndarray
    failed: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "Answers":
        """Read a log; every column but query_id and llm may be absent."""
        ids, query = encode(table["query_id"])
        llms, llm = encode(table["llm"])
        return cls(
            query, ids, *(_numbers(table, name) for name in ("performance", "judge", "cost")),
            length=pc.utf8_length(pc.utf8_trim_whitespace(_texts(table, "response"))).to_numpy(),
            name=_names(table, llms, llm), llm=llm, llms=llms,
            truncated=pc.is_in(pc.utf8_lower(_texts(table, "finish_reason")), pa.array(TRUNCATED)).to_numpy(),
            failed=pc.greater(pc.utf8_length(_texts(table, "error")), 0).to_numpy(),
        )  # fmt: skip

    def of_llms(self, llms: Collection[str]) -> np.ndarray:
        """bool [n]: rows of these LLMs. Raises `UserError` where the log has none of them."""
        wanted = np.isin(self.llms.astype(str), sorted(llms))
        if not wanted.any():
            raise UserError(f"none of the LLMs asked for is in the log: it has {', '.join(sorted(self.llms))}")
        return wanted[self.llm]

    def right(self, threshold: float = 0.5) -> np.ndarray:
        """bool [n]: a performance of at least `threshold` (0..1) was measured."""
        return self.performance >= as_measured(threshold)


def as_measured(threshold: float) -> float:
    """A threshold as the log's float32 holds it: 0.7 must compare as equal to a performance of 0.7."""
    if not 0 < threshold <= 1:
        raise UserError(f"threshold: expected a performance above 0 and at most 1, found {threshold}")
    return float(np.float32(threshold))


@dataclass(frozen=True)
class RankedAnswers:
    """The best answers to every query; row numbers of the log.

    Attributes:
        rows: Chosen rows, query by query in the order of the queries' first rows, the best first.
        rank: 1 for the best of a query, 2 for the next; beside `rows`.
        copies: Rows left out because a better row of the query is the same answer.
        beyond: Rows left out because better ones filled the places.
    """

    rows: np.ndarray
    rank: np.ndarray
    copies: np.ndarray
    beyond: np.ndarray


def rank_answers(
    answers: Answers,
    rows: np.ndarray,
    rule: str = "perf",
    top_k: int | None = None,
    *,
    pool: int = HYBRID_POOL,
    tie: str = "cost",
    same: np.ndarray | None = None,
) -> RankedAnswers:
    """Choose the best answers to each query; the order of the log's rows never matters.

    Args:
        answers: The log.
        rows: bool [n]: rows that may be chosen (right ones, say).
        rule: One of `RULES`. Equal scores go by `tie`, then by the other tie, then by candidate id. ``hybrid`` orders
            the `pool` best of ``perf`` by the judge's score; an answer without one comes last.
        top_k: At most so many answers a query; None keeps all (for ``hybrid``: the `pool`).
        pool: For ``hybrid``.
        tie: ``cost`` (the cheaper; an unknown cost counts as dearest) or ``length`` (the shorter).
        same: Optional int [n]: rows of a query with equal numbers are copies of one answer; only the best stays.
    """
    for name, value in (("top_k", top_k), ("pool", pool)):
        if value is not None and value < 1:
            raise UserError(f"{name}: expected at least 1, found {value}")
    if rule not in RULES:
        raise UserError(f"unknown rule {rule!r}: expected one of {', '.join(RULES)}")
    if tie not in TIES:
        raise UserError(f"unknown tie {tie!r}: expected one of {', '.join(TIES)}")
    score = answers.judge if rule == "judge" else answers.performance
    cost = np.nan_to_num(answers.cost, nan=np.inf)
    ties = (cost, answers.length) if tie == "cost" else (answers.length, cost)
    rows = np.flatnonzero(rows)
    keys = (answers.name, *ties[::-1], -np.nan_to_num(score, nan=-np.inf), answers.query)
    rows = rows[np.lexsort([key[rows] for key in keys])]
    copies = rows[:0]
    if same is not None:
        first = _first_of(answers.query[rows], same[rows])
        rows, copies = rows[first], rows[~first]
    keep, beyond = _best(answers, rows, pool if rule == "hybrid" else top_k)
    if rule == "hybrid":
        judge = -np.nan_to_num(answers.judge[keep], nan=-np.inf)
        keep = keep[np.lexsort((judge, answers.query[keep]))]  # stable: equal ones stay in the order of perf
        keep, more = _best(answers, keep, top_k)
        beyond = np.concatenate([beyond, more])
    return RankedAnswers(keep, _places(answers.query[keep]) + 1, copies, beyond)


def _best(answers: Answers, rows: np.ndarray, k: int | None) -> tuple[np.ndarray, np.ndarray]:
    inside = _places(answers.query[rows]) < (len(rows) if k is None else k)
    return rows[inside], rows[~inside]


def _places(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2, … within each run of equal values."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))


def _first_of(query: np.ndarray, same: np.ndarray) -> np.ndarray:
    """bool: the first of the rows with the same (query, number)."""
    order = np.lexsort((np.arange(len(query)), same, query))
    new = np.ones(len(query), bool)
    new[1:] = (np.diff(query[order]) != 0) | (np.diff(same[order]) != 0)
    first = np.zeros(len(query), bool)
    first[order[new]] = True
    return first


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return pc.cast(table[name], pa.float64()).to_numpy()


def _texts(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.repeat("", table.num_rows)])
    return pc.fill_null(table[name], "")


def _names(table: pa.Table, llms: np.ndarray, llm: np.ndarray) -> np.ndarray:
    modes, mode = encode(table["mode"]) if "mode" in table.column_names else (np.array(["direct"], object), 0)
    ids = [candidate_id(a, b) for a in llms for b in modes]
    rank = np.empty(len(ids), np.int64)
    rank[np.argsort(ids)] = np.arange(len(ids))
    return rank[llm * len(modes) + mode]

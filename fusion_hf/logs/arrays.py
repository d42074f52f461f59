"""`RoutingData`: the log pivoted to arrays [queries x candidates], from which every router learns."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from .schema import candidate_id, encode

COLUMNS = ("query_id", "task", "query", "llm", "mode", "performance", "cost", "judge")


@dataclass(frozen=True)
class RoutingData:
    """What every candidate scored on, and took for, every query.

    Attributes:
        query_ids: n identities, unique.
        queries: n texts, as asked in direct mode.
        tasks: n task names.
        candidates: m candidate ids (``<llm>`` or ``<llm>_think``), sorted.
        performance: float64 [n, m] in 0..1; NaN where not measured.
        cost: float64 [n, m] in USD; NaN where not measured.
        judge: float64 [n, m] in 0..1; NaN where not measured.
    """

    query_ids: list[str]
    queries: list[str]
    tasks: list[str]
    candidates: list[str]
    performance: np.ndarray
    cost: np.ndarray
    judge: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.query_ids), len(self.candidates))
        for name in ("performance", "cost", "judge"):
            found = getattr(self, name).shape
            if found != shape:
                raise UserError(f"RoutingData.{name}: expected shape {shape} [queries, candidates], found {found}")
        if not len(self.queries) == len(self.tasks) == len(self.query_ids):
            raise UserError(
                f"RoutingData: expected {len(self.query_ids)} queries and tasks, "
                f"found {len(self.queries)} and {len(self.tasks)}"
            )

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def missing(self) -> np.ndarray:
        """bool [n, m]: no performance was measured."""
        return np.isnan(self.performance)

    def subset(self, rows: Sequence[int] | np.ndarray) -> "RoutingData":
        """The queries at `rows` (indices or a boolean mask), in that order."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            query_ids=[self.query_ids[i] for i in rows],
            queries=[self.queries[i] for i in rows],
            tasks=[self.tasks[i] for i in rows],
            performance=self.performance[rows],
            cost=self.cost[rows],
            judge=self.judge[rows],
        )

    def select(self, candidates: Sequence[str]) -> "RoutingData":
        """The same queries with only these candidates, in this order."""
        unknown = [c for c in candidates if c not in self.candidates]
        if unknown:
            raise UserError(f"unknown candidate {unknown[0]!r}: the log has {', '.join(self.candidates)}")
        columns = [self.candidates.index(c) for c in candidates]
        return replace(
            self,
            candidates=list(candidates),
            performance=self.performance[:, columns],
            cost=self.cost[:, columns],
            judge=self.judge[:, columns],
        )

    def of_task(self, task: str) -> "RoutingData":
        """Only the queries of one task."""
        return self.subset([i for i, t in enumerate(self.tasks) if t == task])

    def fingerprint(self) -> str:
        """Hash of everything in it; the order of queries and candidates does not matter."""
        digest = hashlib.blake2b(digest_size=16)
        rows = np.argsort(np.array(self.query_ids), kind="stable")
        for i in rows:
            digest.update(f"{self.query_ids[i]}\x1f{self.tasks[i]}\x1f{self.queries[i]}\x1e".encode("utf-8", "replace"))
        columns = np.argsort(np.array(self.candidates), kind="stable")
        digest.update("\x1f".join(self.candidates[c] for c in columns).encode("utf-8", "replace"))
        for name in ("performance", "cost", "judge"):
            values = getattr(self, name)[rows][:, columns]
            digest.update(np.where(np.isnan(values), -1.0, values).astype("<f8").tobytes())
        return digest.hexdigest()

    @classmethod
    def from_table(cls, table: pa.Table) -> "RoutingData":
        """Pivot a log table; needs the columns in `COLUMNS` (judge and cost may be absent).

        Queries keep the order of their first row; candidates are sorted, so that the order of rows never matters.
        Raises `UserError` for an empty log and for a log without any performance.
        """
        if table.num_rows == 0:
            raise UserError("the log is empty: expected at least one row with a performance, found none")
        ids, rows, names, columns = positions(table)
        first = np.empty(len(ids), np.int64)
        first[rows[::-1]] = np.arange(len(rows) - 1, -1, -1)
        arrays = {name: _fill(table, name, rows, columns, (len(ids), len(names))) for name in _MEASURED}
        if np.isnan(arrays["performance"]).all():
            judged = not np.isnan(arrays["judge"]).all()
            how = "routers cannot learn from judge scores alone" if judged else "grade it first (fusion-hf grade)"
            raise UserError(f"the log has no performance: {how}")
        take = pa.array(first)
        queries, tasks = (table[name].take(take).to_pylist() for name in ("query", "task"))
        return cls(ids, queries, tasks, names, **arrays)


def pivot(table: pa.Table, value: str = "performance") -> tuple[list[str], list[str], np.ndarray]:
    """(query ids, candidate ids, float64 [queries, candidates] of a column; NaN where there is no row or a null).

    Needs query_id, llm and the column; without ``mode`` every row counts as direct mode.
    """
    ids, rows, names, columns = positions(table)
    return ids, names, _fill(table, value, rows, columns, (len(ids), len(names)))


_MEASURED = ("performance", "cost", "judge")


def positions(table: pa.Table) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """(query ids in order of their first row, place of each row's query, sorted candidate ids, their place)."""
    ids, rows = encode(table["query_id"])
    names, columns = _candidates(table)
    return ids.tolist(), rows, names, columns


def _fill(table: pa.Table, name: str, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    array = np.full(shape, np.nan)
    if name in table.column_names:
        array[rows, columns] = pc.cast(table[name], pa.float64()).to_numpy()
    return array


def _candidates(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """Sorted candidate ids, and the column of each row."""
    llms, llm = encode(table["llm"])
    modes, mode = encode(table["mode"]) if "mode" in table.column_names else (["direct"], 0)
    code = llm * len(modes) + mode
    present = np.zeros(len(llms) * len(modes), bool)
    present[code] = True
    ids = {int(c): candidate_id(llms[c // len(modes)], modes[c % len(modes)]) for c in np.flatnonzero(present)}
    order = sorted(ids, key=ids.__getitem__)
    rank = np.zeros(len(present), np.int64)
    rank[order] = np.arange(len(order))
    return [ids[c] for c in order], rank[code]

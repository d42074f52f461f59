"""`RoutingData`: the log pivoted to arrays [queries x candidates], from which every router learns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from .schema import candidate_id

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

    def __post_init__(self):
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

    @classmethod
    def from_table(cls, table: pa.Table) -> "RoutingData":
        """Pivot a log table; needs the columns in `COLUMNS` (judge and cost may be absent).

        Queries keep the order of their first row; candidates are sorted, so that the order of rows never matters.
        Raises `UserError` for an empty log and for a log without any performance.
        """
        if table.num_rows == 0:
            raise UserError("the log is empty: expected at least one row with a performance, found none")
        query = table["query_id"].combine_chunks().dictionary_encode()
        rows = query.indices.to_numpy(zero_copy_only=False)
        ids = query.dictionary.to_pylist()
        first = np.zeros(len(ids), np.int64)
        first[rows[::-1]] = np.arange(len(rows) - 1, -1, -1)
        pairs = pa.StructArray.from_arrays(
            [table["llm"].combine_chunks(), table["mode"].combine_chunks()], ["llm", "mode"]
        )
        names, columns = _candidates(pairs)
        arrays = {}
        for name in ("performance", "cost", "judge"):
            arrays[name] = np.full((len(ids), len(names)), np.nan)
            if name in table.column_names:
                values = pc.cast(table[name], pa.float64()).to_numpy()
                arrays[name][rows, columns] = values
        if np.isnan(arrays["performance"]).all():
            raise UserError("the log has no performance: grade it first (fusion-hf grade)")
        take = pa.array(first)
        return cls(ids, table["query"].take(take).to_pylist(), table["task"].take(take).to_pylist(), names, **arrays)


def _candidates(pairs: pa.StructArray) -> tuple[list[str], np.ndarray]:
    """Sorted candidate ids, and the column of each row."""
    llm, mode = (pairs.field(i).dictionary_encode() for i in range(2))
    modes = mode.dictionary.to_pylist()
    code = llm.indices.to_numpy(zero_copy_only=False).astype(np.int64) * len(modes)
    code += mode.indices.to_numpy(zero_copy_only=False)
    used, inverse = np.unique(code, return_inverse=True)
    llms = llm.dictionary.to_pylist()
    ids = [candidate_id(llms[c // len(modes)], modes[c % len(modes)]) for c in used]
    order = np.argsort(ids)
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    return [ids[i] for i in order], rank[inverse]

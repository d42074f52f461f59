"""What an importer returns, and how a log table is made of columns."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import UserError
from ..schema import LOG_SCHEMA, encode, key_codes, query_id

DUPLICATES = ("first", "last", "rated", "mean", "error")


@dataclass
class ImportResult:
    """What was read.

    Attributes:
        tables: Log table of each split.
        llms: Rows of the ``llms`` config; empty where the format names no prices.
        read: Cells (query x LLM) that the source holds.
        kept: Rows of the tables; `read` = `kept` + the sum of `dropped`.
        dropped: Cells left out, by reason.
        notes: Other counts worth knowing, by description (cells without a score, queries with every score).
    """

    tables: dict[str, pa.Table]
    llms: list[dict] = field(default_factory=list)
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def table(self) -> pa.Table:
        """All splits together."""
        return pa.concat_tables(self.tables.values())

    def add(self, counts: dict[str, int], reason: str, n: int) -> None:
        """Raise a count of `dropped` or `notes`, if n is not zero."""
        if n:
            counts[reason] = counts.get(reason, 0) + n

    def keep(self, parts: Mapping[str, Sequence[pa.Table]], on_duplicate: str = "first") -> "ImportResult":
        """Take these tables of each split, one row of every key; the others are dropped and counted.

        Args:
            parts: Split -> its tables.
            on_duplicate: Of several rows of one (query, LLM, mode): the ``first``, the ``last``, the first that is
                ``rated`` (has a score), the first with the ``mean`` of all scores, costs and latencies, or an
                ``error``.
        """
        if on_duplicate not in DUPLICATES:
            raise UserError(f"on_duplicate: expected one of {', '.join(DUPLICATES)}, found {on_duplicate!r}")
        for split, tables in parts.items():
            table = pa.concat_tables(tables)
            kept = one_of_each_key(table, on_duplicate)
            reason = "the same query, LLM and mode came before"
            reason = reason if on_duplicate == "first" else f"further rows of one query, LLM and mode ({on_duplicate})"
            self.add(self.dropped, reason, table.num_rows - kept.num_rows)
            self.kept += kept.num_rows
            self.tables[split] = kept
        return self


@dataclass
class Query:
    """One query of a log in the making; see the log row for the fields."""

    task: str
    source_id: str
    text: str
    reference: list[str]
    metric: str


def check_score(value: Any, where: str) -> float:
    """A score as a float, NaN where there is none (null, NaN); refuses other types and numbers outside 0..1."""
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        value = float(value)
        if math.isnan(value) or 0.0 <= value <= 1.0:
            return value
    raise UserError(f"{where}: expected a score in 0..1, found {value!r:.60}")


def log_table(columns: Mapping[str, Any]) -> pa.Table:
    """A log table of columns (lists or Arrow arrays, named as in the log row); those that are absent become null.

    ``query_id`` is computed where it is absent, and ``mode`` is then ``direct`` unless it is given.
    """
    data = {name: _array(values, LOG_SCHEMA.field(name).type) for name, values in columns.items()}
    rows = len(data["query"])
    if "mode" not in data:
        data["mode"] = pa.array(["direct"], pa.string()).take(pa.array(np.zeros(rows, np.int64)))
    if "query_id" not in data:
        data["query_id"] = query_ids(data["task"], data["source_id"], data["query"])
    names = [data[f.name] if f.name in data else pa.nulls(rows, f.type) for f in LOG_SCHEMA]
    return pa.Table.from_arrays(names, schema=LOG_SCHEMA)


def _array(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values, kind, from_pandas=True)


def distinct(*columns: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """(first row of each distinct combination of these text columns, place of each row's among those)."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, codes = encode(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
        code = code * (len(values) + 1) + codes
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    return pa.array(first), pa.array(place)


def query_ids(task: pa.ChunkedArray, source_id: pa.ChunkedArray, query: pa.ChunkedArray) -> pa.Array:
    """`query_id` of every row; each query is hashed once, however many LLMs answered it."""
    first, place = distinct(task, source_id, query)
    rows = zip(*(column.take(first).to_pylist() for column in (task, source_id, query)), strict=True)
    return pa.array([query_id(*row) for row in rows], pa.string()).take(place)


def one_of_each_key(table: pa.Table, which: str) -> pa.Table:
    """One row of each key (query_id, llm, mode), in the order of the first ones; see `ImportResult.keep`."""
    codes = key_codes(table)
    _, first, place = np.unique(codes, return_index=True, return_inverse=True)
    if len(first) == table.num_rows:
        return table
    rows = np.arange(table.num_rows)
    if which == "error":
        second = rows[~np.isin(rows, first)][0]
        key = ", ".join(str(table[name][int(second)]) for name in ("query", "llm", "mode"))
        raise UserError(
            f"several rows of one query, LLM and mode: {key[:200]!r}: expected one, or another on_duplicate"
        )
    chosen = first.copy()
    if which == "last":
        chosen[place] = rows  # numpy keeps the last assignment
    elif which == "rated":
        rated = np.asarray(table["performance"].is_valid())
        best = np.full(len(first), table.num_rows)
        np.minimum.at(best, place[rated], rows[rated])
        chosen = np.where(best < table.num_rows, best, first)
    order = np.argsort(first, kind="stable")
    kept = table.take(pa.array(chosen[order]))
    return _with_means(kept, table, place, order) if which == "mean" else kept


def _with_means(kept: pa.Table, table: pa.Table, place: np.ndarray, order: np.ndarray) -> pa.Table:
    for name in ("performance", "judge", "cost", "latency_s"):
        values = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        seen = ~np.isnan(values)
        sums = np.bincount(place[seen], values[seen], len(order))
        counts = np.bincount(place[seen], minlength=len(order))
        means = np.divide(sums, counts, out=np.full(len(order), np.nan), where=counts > 0)[order]
        kind = LOG_SCHEMA.field(name).type
        column = pa.array(means, pa.float64(), from_pandas=True).cast(kind)
        kept = kept.set_column(kept.column_names.index(name), LOG_SCHEMA.field(name), column)
    return kept


def build_table(
    queries: Sequence[Query],
    llms: Sequence[str],
    scores: np.ndarray,
    grader: str,
    costs: np.ndarray | None = None,
    responses: Sequence[Sequence[str | None]] | None = None,
    present: np.ndarray | None = None,
) -> pa.Table:
    """Log rows of a grid.

    Args:
        queries: n queries.
        llms: m names.
        scores: float [n, m]; NaN becomes null.
        grader: Whose scores these are.
        costs: float [n, m] in USD; NaN becomes null.
        responses: m columns of n responses.
        present: bool [n, m]; cells that are in the source at all (all by default).
    """
    n, m = len(queries), len(llms)
    present = np.ones((n, m), bool) if present is None else present
    row, column = np.nonzero(present)
    texts: dict[str, Iterable] = {
        "query_id": [query_id(q.task, q.source_id, q.text) for q in queries],
        "task": [q.task for q in queries],
        "source_id": [q.source_id for q in queries],
        "query": [q.text for q in queries],
        "ground_truth": [q.reference for q in queries],
        "metric": [q.metric for q in queries],
    }
    data = {k: pa.array(v, LOG_SCHEMA.field(k).type).take(pa.array(row)) for k, v in texts.items()}
    data["llm"] = pa.array(list(llms), pa.string()).take(pa.array(column))
    score = scores[row, column]
    data["performance"] = score.astype(np.float32)
    data["grader"] = np.where(np.isnan(score), None, grader)
    if costs is not None:
        data["cost"] = costs[row, column]
    if responses is not None:
        data["response"] = [responses[c][r] for r, c in zip(row, column, strict=True)]
    return log_table(data)

"""Two logs into one by key (query_id, llm, mode): what is new is added, and nothing is lost without a word."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..results import Result
from .schema import KEY, LOG_SCHEMA, key_codes

EXAMPLES = 3


@dataclass
class Merged(Result):
    """What merging did with the new rows; ``added + same + filled + newer + older`` of them.

    Attributes:
        added: Rows whose key the log did not have.
        same: Rows that say nothing new (or only an error where there is an answer).
        filled: Rows that say what the log had as not measured, an answer in place of an error included.
        newer: Rows of another value that took the place of the old ones, because that was asked for.
        older: Rows of another value that were left out: the old ones stayed.
        columns: Column -> rows that differ in it.
        examples: Keys of the first rows that differ: (query_id, llm, mode).
    """

    added: int = 0
    same: int = 0
    filled: int = 0
    newer: int = 0
    older: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    def __add__(self, other: "Merged") -> "Merged":
        sums = {n: getattr(self, n) + getattr(other, n) for n in ("added", "same", "filled", "newer", "older")}
        names = [*self.columns, *(n for n in other.columns if n not in self.columns)]
        columns = {n: self.columns.get(n, 0) + other.columns.get(n, 0) for n in names}
        return Merged(**sums, columns=columns, examples=[*self.examples, *other.examples][:EXAMPLES])

    @property
    def conflicts(self) -> int:
        """Rows of one key with different values."""
        return self.newer + self.older

    @property
    def changed(self) -> bool:
        """Whether the log is another one afterwards."""
        return bool(self.added or self.filled or self.newer)

    def conflict_text(self) -> str:
        """How many rows differ, in which columns, and examples of them."""
        where = ", ".join(f"{name} ({n})" for name, n in sorted(self.columns.items(), key=lambda c: -c[1]))
        keys = "; ".join(", ".join(key) for key in self.examples)
        return f"{self.conflicts} rows differ from rows of the same query, LLM and mode, in {where}; such as {keys}"


def merge_tables(old: pa.Table, new: pa.Table, newer: bool = False) -> tuple[pa.Table, Merged]:
    """The rows of two log tables, one a key; both must have every column of the log row, and each key once.

    A value that only one of two rows has is kept. An answer stands before an error. Rows that differ in a value are a
    conflict: the old row stays as it is, or with `newer` the new one takes its place.
    """
    place = _places(old, new)
    fresh, known = np.flatnonzero(place < 0), np.flatnonzero(place >= 0)
    report = Merged(added=len(fresh))
    if not len(known):
        return pa.concat_tables([old, new]) if len(fresh) else old, report
    a, b = old.take(pa.array(place[known])), new.take(pa.array(known))
    answers = _both(pc.is_valid(a["error"]), pc.is_null(b["error"]))
    fails = _both(pc.is_null(a["error"]), pc.is_valid(b["error"]))
    differs = np.zeros(len(known), bool)
    fills = answers.copy()
    for name in _VALUES:
        x, y = _comparable(a[name]), _comparable(b[name])
        other = _numpy(pc.fill_null(pc.not_equal(x, y), False)) & ~answers & ~fails
        if other.any():
            report.columns[name] = int(other.sum())
        differs |= other
        fills |= _both(pc.is_null(x), pc.is_valid(y)) & ~fails
    keys = b.select(KEY).take(pa.array(np.flatnonzero(differs)[:EXAMPLES])).to_pylist()
    report.examples = [tuple(row.values()) for row in keys]
    setattr(report, "newer" if newer else "older", int(differs.sum()))
    fills &= ~differs
    report.filled = int(fills.sum())
    report.same = len(known) - report.filled - report.conflicts
    taken = answers | (differs & newer)
    if not taken.any() and not fills.any():
        return pa.concat_tables([old, new.take(pa.array(fresh))]), report
    return pa.concat_tables([_replaced(old, place[known], a, b, taken, fills), new.take(pa.array(fresh))]), report


_VALUES = [name for name in LOG_SCHEMA.names if name not in KEY]


def _places(old: pa.Table, new: pa.Table) -> np.ndarray:
    """Row of `old` with the key of each row of `new`; -1 where it has none."""
    codes = key_codes(pa.concat_tables([old.select(KEY), new.select(KEY)]))
    left, right = codes[: old.num_rows], codes[old.num_rows :]
    if not len(left):
        return np.full(len(right), -1)
    order = np.argsort(left, kind="stable")
    found = np.minimum(np.searchsorted(left, right, sorter=order), len(left) - 1)
    return np.where(left[order[found]] == right, order[found], -1)


def _replaced(old: pa.Table, rows: np.ndarray, a: pa.Table, b: pa.Table, taken: np.ndarray, fills: np.ndarray):
    """`old` with the rows of `b` where `taken`, and with what `b` fills in where `fills`, at the places `rows`."""
    columns = []
    for name in old.column_names:
        column = pa.chunked_array([*a[name].chunks, *b[name].chunks], a[name].type)
        fill = fills & _both(pc.is_null(a[name]), pc.is_valid(b[name]))
        columns.append(column.take(pa.array(np.arange(len(rows)) + len(rows) * (taken | fill))))
    both = pa.concat_tables([old, pa.Table.from_arrays(columns, schema=old.schema)])
    source = np.arange(old.num_rows)
    source[rows] = old.num_rows + np.arange(len(rows))
    return both.take(pa.array(source))


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join(column, "\x1f") if pa.types.is_list(column.type) else column


def _both(x: pa.ChunkedArray, y: pa.ChunkedArray) -> np.ndarray:
    return _numpy(pc.and_(x, y))


def _numpy(mask: pa.ChunkedArray) -> np.ndarray:
    return mask.to_numpy().astype(bool)

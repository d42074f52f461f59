"""A log without splits -> train and test, so that what is learned is measured on queries that it has not seen."""

import datetime
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from .near import NEAR, near_duplicates
from .schema import encode


def query_groups(table: pa.Table, near: float = NEAR) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [rows] the group of each row's query, int64 [queries] the group of each distinct query text).

    Equal texts are one group, and near-duplicates too (see `near_duplicates`), through any number of others.
    """
    texts, code = encode(table["query"])
    parent = np.arange(len(texts))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in near_duplicates(texts.tolist(), near) if near < 1 else ():
        parent[root(i)] = root(j)
    groups = np.array([root(i) for i in range(len(texts))], np.int64)
    _, groups = np.unique(groups, return_inverse=True)
    return groups[code], groups


def by_share(table: pa.Table, groups: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """bool [rows]: whether a row is of the test split; `share` (0..1) of the queries of each task, whole groups.

    The draw depends on the seed and the texts only: the same queries come out in whatever order the rows stand.
    """
    if not 0 < share < 1:
        raise UserError(f"test: expected a share of the queries above 0 and below 1, found {share}")
    least: dict[int, tuple[str, str]] = {}  # a group counts for the task of its first text in the alphabet
    for group, *names in zip(groups.tolist(), *(table[n].to_pylist() for n in ("query", "task")), strict=True):
        least[group] = min(least.get(group, tuple(names)), tuple(names))
    tasks = [least[group][1] for group in range(len(least))]
    drawn = sorted(least, key=lambda group: _draw(seed, least[group][0]))
    sizes = np.bincount(_queries_of(table, groups), minlength=len(least))
    total: dict[str, int] = {}
    for group, task in enumerate(tasks):
        total[task] = total.get(task, 0) + int(sizes[group])
    wanted = {task: min(max(1, round(share * n)), n - 1) for task, n in total.items()}
    taken = dict.fromkeys(total, 0)
    test = np.zeros(len(least), bool)
    for group in drawn:
        task = tasks[group]
        if taken[task] + sizes[group] <= wanted[task]:
            test[group] = True
            taken[task] += int(sizes[group])
    return test[groups]


def _queries_of(table: pa.Table, groups: np.ndarray) -> np.ndarray:
    """Group of each distinct query id."""
    _, code = encode(table["query_id"])
    return groups[np.unique(code, return_index=True)[1]]


def _draw(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def by_date(table: pa.Table, groups: np.ndarray, after: str) -> np.ndarray:
    """bool [rows]: whether a row is of the test split: of a group that was first asked at `after` or later.

    A query that was asked before stays in train with everything that is like it, whenever it was asked again.
    """
    start = _moment(after, "after")
    missing = table["served_at"].null_count
    if missing:
        raise UserError(
            f"{missing} of {table.num_rows} rows do not say when they were served (column served_at): expected a date "
            "of every row; import it with map served_at=KEY"
        )
    values, code = encode(table["served_at"])
    late = np.array([_moment(str(value), "served_at") >= start for value in values])[code]
    early = np.zeros(groups.max() + 1, bool)
    early[groups[~late]] = True
    return ~early[groups]


def _moment(text: str, where: str) -> datetime.datetime:
    """A date or time in ISO 8601; without a time zone it is UTC."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{where}: expected a date such as 2026-01-31 or 2026-01-31T12:00:00, found {text!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def parted(table: pa.Table, test: np.ndarray) -> dict[str, pa.Table]:
    """The two splits; `UserError` where one would be empty."""
    if test.all() or not test.any():
        raise UserError(
            f"no query would be left for {'train' if test.all() else 'test'}: expected several groups of different "
            f"queries in every task, found {pc.count_distinct(table['query']).as_py()} queries"
        )
    return {"train": table.filter(pa.array(~test)), "test": table.filter(pa.array(test))}

"""What retrieval must not return: the query itself and near-duplicates of it, which would give a test query away.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from ..encoders.beginnings import cutter
from ..logs.near import NEAR, shingles
from ..tasks.modes import THINK_SUFFIX
from .rows import value, values

COMMON = 0.02  # a shingle that stands in a larger share of the templates' queries is the form of the question
SAMPLE = 2_000  # queries that the form is learned from
NOTHING = np.empty(0, np.int64)


class Exclusion:
    """The templates that come from a query, or from nearly the same one.

    Args:
        table: Templates (`pyarrow.Table` or `Rows`) with the columns ``query_id`` and ``query``.
        beginnings: Of their queries, that do not count (see `fusion_hf.encoders.beginnings`).
    """

    def __init__(self, table: Any, beginnings: torch.Tensor | None = None):
        self._table, self._cut = table, cutter(beginnings)

    def same(self, query: str) -> np.ndarray:
        """Rows whose query is the same text; blanks, case and the think suffix do not count."""
        return _find(*self._texts, _digest(self._asked(query)))

    def of_ids(self, ids: str | Collection[str] | None) -> np.ndarray:
        """Rows that come from these query ids."""
        found = [_find(*self._ids, _digest(key)) for key in ([ids] if isinstance(ids, str) else ids or [])]
        return np.concatenate(found) if found else NOTHING

    def near(self, query: str, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` whose query is a near-duplicate of `query`: a Jaccard similarity of at least `NEAR`.

        As in `fusion_hf.logs.near`, three-word shingles are compared, and those that many queries share, such as
        instructions and worked examples before the question, do not count.
        """
        own = self._content(self._asked(query))
        return np.array([row for row in rows if self._alike(own, int(row))], np.int64)

    def _asked(self, query: str) -> str:
        return _plain(self._cut(query)[0])

    def _alike(self, own: frozenset[int], row: int) -> bool:
        other = self._content(self._asked(value(self._table, "query", row)))
        both = len(own & other)
        return both > 0 and both >= NEAR * (len(own) + len(other) - both)

    def _content(self, text: str) -> frozenset[int]:
        every = _shingles(text)
        return (every - self._form) or every

    @cached_property
    def _form(self) -> frozenset[int]:
        """Shingles that more than a share `COMMON` of the queries (and more than 20 of the sample) have."""
        n = self._table.num_rows
        rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))
        texts = [self._asked(value(self._table, "query", int(row))) for row in rows]
        every, counts = np.unique(np.concatenate(shingles(texts)), return_counts=True)
        return frozenset(every[counts > max(20, COMMON * len(texts))].tolist())

    @cached_property
    def _texts(self) -> tuple[np.ndarray, np.ndarray]:
        return _sorted_digests(self._table, "query", self._asked)

    @cached_property
    def _ids(self) -> tuple[np.ndarray, np.ndarray]:
        return _sorted_digests(self._table, "query_id", str)


@lru_cache(maxsize=16_384)
def _shingles(text: str) -> frozenset[int]:
    return frozenset(shingles([text])[0].tolist())


def _plain(text: str) -> str:
    return " ".join(text.removesuffix(THINK_SUFFIX).split()).casefold()


def _sorted_digests(table: Any, name: str, plain) -> tuple[np.ndarray, np.ndarray]:
    """Sorted digests of a column, and the row of each: 16 bytes a template, however long the texts."""
    digests = np.fromiter((_digest(plain(text)) for text in values(table, name)), np.uint64, table.num_rows)
    order = np.argsort(digests, kind="stable")
    return digests[order], order


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _find(digests: np.ndarray, rows: np.ndarray, digest: int) -> np.ndarray:
    left, right = (np.searchsorted(digests, np.uint64(digest), side=side) for side in ("left", "right"))
    return rows[left:right]


def merged(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """One array of rows for each query, from several lists of them."""
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

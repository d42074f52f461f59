"""Answers that say the same, and queries that stand nearly word for word in another split."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..logs.near import NEAR, near_duplicates, shingles
from ..logs.schema import encode


def answer_codes(texts: pa.ChunkedArray) -> np.ndarray:
    """int64 [rows], equal exactly where the responses are equal but for case and the blanks around them."""
    return encode(pc.utf8_lower(pc.utf8_trim_whitespace(texts)))[1]


def answer_groups(
    texts: pa.ChunkedArray, exact: np.ndarray, group: np.ndarray, rows: np.ndarray, near: float = NEAR
) -> np.ndarray:
    """Number the answers so that near-duplicates within a group have the same number.

    Near-duplicate: the sets of three-word shingles have a Jaccard similarity of at least `near`. It is taken as
    transitive, so that the order of rows plays no part.

    Args:
        texts: n responses, no nulls.
        exact: Their `answer_codes`.
        group: int [n]: answers are compared within a group only (a query in a mode).
        rows: bool [n]: rows to look at; the others keep the number of their exact text.
        near: 0..1.

    Returns:
        int64 [n].
    """
    result = exact.copy()
    looked = np.flatnonzero(rows)
    pairs, first = np.unique(np.stack([group[looked], exact[looked]]), axis=1, return_index=True)
    sets = dict(zip(looked[first], shingles(texts.take(pa.array(looked[first])).to_pylist()), strict=True))
    members = np.split(looked[first], np.flatnonzero(np.diff(pairs[0])) + 1)
    renamed = {}
    for part in members:
        if len(part) > 1:
            labels = _components(_similar([sets[i] for i in part], near))
            if len(set(labels)) < len(part):
                renamed |= {(group[i], exact[i]): exact[part[k]] for i, k in zip(part, labels, strict=True)}
    if renamed:
        for i in looked:
            result[i] = renamed.get((group[i], exact[i]), exact[i])
    return result


def _similar(sets: list[np.ndarray], near: float) -> np.ndarray:
    """bool [k, k]: pairs whose Jaccard similarity is at least `near`."""
    size = np.array([len(s) for s in sets])
    owner = np.repeat(np.arange(len(sets)), size)
    words, column = np.unique(np.concatenate(sets), return_inverse=True)
    holds = np.zeros((len(sets), len(words)), np.float32)
    holds[owner, column] = 1
    both = holds @ holds.T
    return both >= near * (size[:, None] + size[None, :] - both)


def _components(linked: np.ndarray) -> list[int]:
    """For each of k items the smallest item that it is linked to, directly or through others."""
    label = np.arange(len(linked))
    while True:
        new = np.where(linked, label[None, :], len(linked)).min(1)
        if (new == label).all():
            return label.tolist()
        label = new


def near_queries(queries: pa.ChunkedArray, others: pa.ChunkedArray, near: float = NEAR) -> pa.Array:
    """The distinct texts of `queries` that are near-duplicates of one of `others` (see `bench.near`)."""
    ours = pc.unique(queries).to_pylist()
    theirs = sorted(set(pc.unique(others).to_pylist()) - set(ours))
    texts = sorted(ours) + theirs
    found = {i for i, j, _ in near_duplicates(texts, near) if i < len(ours) <= j}
    return pa.array([texts[i] for i in sorted(found)], queries.type)

"""Cosine top-k: one matrix product in blocks, over vectors that may lie on disk. Exact, unless told otherwise.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

QUERY_BLOCK = 512
VECTOR_BLOCK = 8192
# So many extra candidates are re-scored one by one, so that blocks and batch sizes cannot change the order.
MARGIN = 4


def nearest(
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    forbidden: Sequence[np.ndarray] | None = None,
    allowed: tuple[np.ndarray, np.ndarray] | None = None,
    propose: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k vectors most similar to each query.

    Args:
        queries: float32 [n, d], unit length.
        vectors: float32 [N, d], unit length; a `numpy.memmap` is read block by block.
        k: How many.
        forbidden: For each query the row numbers of vectors that must not be returned.
        allowed: (group of each query [n], group of each vector [N]): only vectors of the query's group are returned;
            a negative group of a query allows all.
        propose: (queries, m) -> (m row numbers [n, m], -1 for none; about their similarities): candidates of an
            approximate index, in place of looking at every vector. Not asked where `allowed` is given: too few of its
            candidates might be left.

    Returns:
        Row numbers int64 [n, k] and similarities float32 [n, k], the most similar first, equal ones by row number;
        -1 and -inf where fewer than k are left. A query gets the same answer alone as in any batch.
    """
    rows = np.full((len(queries), k), -1, np.int64)
    similarity = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        part = slice(start, start + QUERY_BLOCK)
        never = None if forbidden is None else forbidden[part]
        if propose is not None and allowed is None:
            found = _proposed(propose, queries[part], k + MARGIN, never)
        else:
            group = None if allowed is None else (allowed[0][part], allowed[1])
            block = torch.from_numpy(np.ascontiguousarray(queries[part]))
            found = _candidates(block, vectors, k + MARGIN, never, group)
        r, s = _rescored(queries[part], vectors, *found, k)
        rows[part, : r.shape[1]], similarity[part, : s.shape[1]] = r, s
    return rows, similarity


def _candidates(queries, vectors, k, forbidden, allowed) -> tuple[np.ndarray, np.ndarray]:
    """(row numbers, scores) [n, <= k] of the best of all blocks, unordered."""
    best_scores, best_rows = [], []
    for start in range(0, len(vectors), VECTOR_BLOCK):
        block = torch.from_numpy(np.asarray(vectors[start : start + VECTOR_BLOCK]))
        scores = queries @ block.T
        if allowed is not None:
            _keep_group(scores, allowed[0], allowed[1][start : start + VECTOR_BLOCK])
        if forbidden is not None:
            _forbid(scores, forbidden, start)
        s, r = scores.topk(min(k, len(block)), dim=1, sorted=False)
        best_scores.append(s)
        best_rows.append(r + start)
    scores, rows = torch.cat(best_scores, 1), torch.cat(best_rows, 1)
    if len(best_scores) > 1:
        scores, places = scores.topk(min(k, scores.shape[1]), dim=1, sorted=False)
        rows = rows.gather(1, places)
    return rows.numpy(), scores.numpy()


def _proposed(propose, queries, k, forbidden) -> tuple[np.ndarray, np.ndarray]:
    most = max((len(rows) for rows in forbidden), default=0) if forbidden is not None else 0
    rows, scores = propose(queries, k + most)
    for i, never in enumerate(forbidden if most else ()):
        scores[i, np.isin(rows[i], never)] = -np.inf
    return rows, scores


def _keep_group(scores: torch.Tensor, wanted: np.ndarray, group: np.ndarray) -> None:
    wanted, group = torch.from_numpy(wanted), torch.from_numpy(group)
    for value in wanted.unique().tolist():
        if value >= 0:
            rows = (wanted == value).nonzero()[:, 0]
            scores[rows] = scores[rows].masked_fill_(group != value, -torch.inf)


def _forbid(scores: torch.Tensor, forbidden: Sequence[np.ndarray], start: int) -> None:
    counts = [len(f) for f in forbidden]
    if not any(counts):
        return
    query = np.repeat(np.arange(len(forbidden)), counts)
    column = np.concatenate(forbidden) - start
    here = (column >= 0) & (column < scores.shape[1])
    scores[torch.from_numpy(query[here]), torch.from_numpy(column[here].astype(np.int64))] = -torch.inf


def _rescored(queries, vectors, rows, scores, k) -> tuple[np.ndarray, np.ndarray]:
    left = np.isfinite(scores)
    picked = np.asarray(vectors)[np.maximum(rows, 0)]
    exact = (picked.astype(np.float64) * queries[:, None, :]).sum(2)
    exact = np.where(left, exact.astype(np.float32), -np.inf)
    order = np.lexsort((rows, -exact), axis=1)[:, :k]
    exact = np.take_along_axis(exact, order, 1)
    rows = np.where(np.isfinite(exact), np.take_along_axis(rows, order, 1), -1)
    return rows, exact

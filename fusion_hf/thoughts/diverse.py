"""Maximal marginal relevance (Carbonell and Goldstein 1998): not three copies of one template."""

import numpy as np

# Among how many of the most similar templates the choice is made, for each that is wanted.
CHOICES = 5


def diversify(
    rows: np.ndarray, similarity: np.ndarray, vectors: np.ndarray, k: int, diversity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Choose k of each query's candidates: similar to the query, but not to those that were chosen before.

    The next is the candidate with the largest ``(1 - diversity) * (cosine to the query) - diversity * (largest cosine
    to one that was chosen)``; equal ones by their place among the candidates.

    Args:
        rows: int64 [n, m] row numbers of the candidates, the most similar first; -1 where there are fewer.
        similarity: float32 [n, m] of them; -inf where there are fewer.
        vectors: float32 [N, d], unit length, in which `rows` count.
        k: How many to choose.
        diversity: From 0 (similarity alone) to 1.

    Returns:
        (row numbers [n, <= k], similarities), in the order of choice, so the most similar is first.
    """
    n, m = rows.shape
    picked = np.zeros((n, min(k, m)), np.int64)
    close = np.full((n, m), -1.0, np.float32)  # largest cosine to a chosen one
    free = np.isfinite(similarity)
    shown = np.asarray(vectors)[np.maximum(rows, 0)]
    for step in range(picked.shape[1]):
        penalty = diversity * close if step else 0.0
        score = np.where(free, (1 - diversity) * similarity - penalty, -np.inf)
        best = score.argmax(1)
        picked[:, step] = best
        free[np.arange(n), best] = False
        to_best = np.einsum("nmd,nd->nm", shown, shown[np.arange(n), best])
        close = np.maximum(close, to_best)
    return np.take_along_axis(rows, picked, 1), np.take_along_axis(similarity, picked, 1)

"""Which task a query belongs to, guessed from its embedding: a ridge classifier over the templates themselves."""

import numpy as np

BLOCK = 65_536
RIDGE = 0.3


class TaskGuess:
    """One-vs-rest ridge regression from the templates' embeddings to their tasks; closed form, read block by block.

    Args:
        vectors: float32 [N, d], unit length; may be a `numpy.memmap`.
        codes: int64 [N], the task of each.
        tasks: How many tasks there are.
    """

    def __init__(self, vectors: np.ndarray, codes: np.ndarray, tasks: int):
        d = vectors.shape[1]
        gram, target = np.zeros((d + 1, d + 1)), np.zeros((d + 1, tasks))
        for start in range(0, len(vectors), BLOCK):
            x = _with_one(np.asarray(vectors[start : start + BLOCK]))
            gram += x.T @ x
            target += x.T @ np.eye(tasks)[codes[start : start + BLOCK]]
        gram[np.arange(d), np.arange(d)] += RIDGE
        gram[d, d] += 1e-6  # the constant is not shrunk, but one row alone must not make the matrix singular
        self.weights = np.linalg.solve(gram, target)

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """int64 [n]: the likeliest task of each query, from embeddings [n, d]; equal ones go to the smaller number."""
        return (_with_one(embeddings) @ self.weights).argmax(1)


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x.astype(np.float64), np.ones((len(x), 1))], axis=1)

"""Approximate search for more than a million templates, by FAISS (extra `faiss`); below that, exact search is as quick.

FAISS only proposes candidates: they are scored exactly, and filtered, like those of the exact search.
"""

import importlib
import importlib.util
import logging
import math

import numpy as np

FROM = 1_000_000  # templates
LISTS_READ = 64
BLOCK = 65_536
TRAINED_ON = 64  # vectors a list

logger = logging.getLogger(__name__)


def wanted(templates: int) -> bool:
    """Whether FAISS should serve so many templates; says so where it is missing."""
    if templates <= FROM:
        return False
    if importlib.util.find_spec("faiss") is None:
        logger.warning("%d templates are searched exactly: pip install 'fusion_hf[faiss]' is quicker", templates)
        return False
    return True


class Approximate:
    """An inverted file of scalar-quantised vectors: a quarter of the memory of the vectors themselves.

    Args:
        vectors: float32 [N, d], unit length; a `numpy.memmap` is read block by block.
    """

    def __init__(self, vectors: np.ndarray):
        # Not as a statement: transformers would refuse to load this file as remote code where FAISS is missing.
        faiss = importlib.import_module("faiss")
        n, d = vectors.shape
        lists = max(1, int(math.sqrt(n)))
        self._index = faiss.index_factory(d, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        rows = np.unique(np.linspace(0, n - 1, min(n, TRAINED_ON * lists)).astype(np.int64))
        self._index.train(np.ascontiguousarray(vectors[rows]))
        for start in range(0, n, BLOCK):
            self._index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))
        self._index.nprobe = min(lists, LISTS_READ)

    def candidates(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(row numbers int64 [n, k], -1 where there are fewer; about the similarities) for queries [n, d]."""
        similarity, rows = self._index.search(np.ascontiguousarray(queries), k)
        return rows, np.where(rows >= 0, similarity, -np.inf).astype(np.float32)

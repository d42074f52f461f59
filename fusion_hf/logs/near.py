"""Near-duplicates among many short texts: MinHash (Broder 1997) with banded locality-sensitive hashing, on numpy."""

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_WORD = re.compile(r"\w+|[^\w\s]")
WORDS = 3  # words of a shingle
NEAR = 0.8  # Jaccard similarity of the shingles from which two texts are one
COMMON = 0.02  # share of the texts from which a shingle that they hold is left out
BANDS, ROWS = 20, 4  # a pair of Jaccard similarity 0.8 is missed once in 30,000 times: (1 - 0.8^4)^20
MAX_BUCKET = 200  # texts that share a band; beyond it only neighbours are compared, so that one form is not quadratic


def near_duplicates(texts: Sequence[str], threshold: float = NEAR) -> list[tuple[int, int, float]]:
    """Pairs of texts whose sets of three-word shingles have a Jaccard similarity of at least `threshold`.

    Case, blanks and the wording that many texts share do not count: a shingle that stands in more than a share
    `COMMON` of the texts (and in more than 20) is the form of the question and not its content. Texts that are equal
    are found too. Exact similarity is computed for every candidate pair, so nothing that is returned is a guess.

    Args:
        texts: n texts.
        threshold: Smallest Jaccard similarity, 0..1.

    Returns:
        (i, j, similarity) with i < j, the most similar first.
    """
    sets = _content(shingles(texts), max(20, COMMON * len(texts)))
    kept = [i for i, found in enumerate(sets) if len(found)]
    if len(kept) < 2:
        return []
    signatures = _minhash([sets[i] for i in kept])
    pairs = []
    for i, j in sorted(_candidates(signatures)):
        a, b = sets[kept[i]], sets[kept[j]]
        if min(len(a), len(b)) < threshold * max(len(a), len(b)):
            continue
        both = len(np.intersect1d(a, b, assume_unique=True))
        similarity = both / (len(a) + len(b) - both)
        if similarity >= threshold:
            pairs.append((kept[i], kept[j], similarity))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def shingles(texts: Sequence[str]) -> list[np.ndarray]:
    """Distinct 32-bit hashes of the shingles of each text; a text shorter than a shingle is one shingle."""
    result = []
    for text in texts:
        words = _WORD.findall(text.lower())
        last = max(1, len(words) - WORDS + 1)
        hashes = {zlib.crc32(" ".join(words[i : i + WORDS]).encode("utf-8", "surrogatepass")) for i in range(last)}
        result.append(np.fromiter(hashes if words else (), np.uint64))
    return result


def _content(sets: list[np.ndarray], most: float) -> list[np.ndarray]:
    """Without the shingles that stand in more than `most` texts; a text that has no other keeps them."""
    every, counts = np.unique(np.concatenate(sets) if sets else np.zeros(0, np.uint64), return_counts=True)
    form = every[counts > most]
    if not len(form):
        return [np.sort(found) for found in sets]
    reduced = [np.setdiff1d(found, form, assume_unique=True) for found in sets]
    return [np.sort(new if len(new) else old) for new, old in zip(reduced, sets, strict=True)]


def _minhash(sets: list[np.ndarray]) -> np.ndarray:
    """uint64 [texts, BANDS * ROWS]: the smallest value of each random hash function over the set."""
    rng = np.random.default_rng(0)
    odd = rng.integers(0, 1 << 63, (BANDS * ROWS, 2), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    starts = np.concatenate([[0], np.cumsum([len(s) for s in sets])[:-1]])
    values = np.concatenate(sets)
    result = np.empty((len(sets), len(odd)), np.uint64)
    for k, (first, second) in enumerate(odd):
        # Multiply, fold, multiply (modulo 2^64): without the fold the order of the values would hardly change.
        mixed = values * first
        mixed ^= mixed >> np.uint64(32)
        result[:, k] = np.minimum.reduceat(mixed * second, starts)
    return result


def _candidates(signatures: np.ndarray) -> set[tuple[int, int]]:
    """Pairs that agree in every row of at least one band."""
    pairs: set[tuple[int, int]] = set()
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
        _, inverse = np.unique(part, axis=0, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(inverse.ravel()[order])) + 1):
            if 1 < len(group) <= MAX_BUCKET:
                pairs.update((int(i), int(j)) for n, i in enumerate(group) for j in group[n + 1 :])
            elif len(group) > MAX_BUCKET:
                pairs.update((int(i), int(j)) for i, j in pairwise(group))
    return pairs

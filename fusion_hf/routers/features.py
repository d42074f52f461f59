"""What a router sees of a query besides its embedding: surface features and hashed TF-IDF, projected by an SVD.

This file is copied beside checkpoints (see `remote_code`), so it uses torch and numpy only. Everything is a pure
function of the text: no vocabulary is kept, only an IDF weight and an SVD row for every hash bucket.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from ..encoders.beginnings import parted, shared_beginnings

CHAR_BITS, WORD_BITS = 15, 14
CHAR_BUCKETS = 2**CHAR_BITS
BUCKETS = CHAR_BUCKETS + 2**WORD_BITS  # fits 16 bits, which numpy sorts fastest
HASHED_CHARACTERS = 1500  # enough to recognise a task; longer texts only cost time
READ_CHARACTERS = 4000  # surface features read this many from either end
SURFACE_WEIGHT = 0.05  # of a z-score, against embeddings and TF-IDF rows of unit length

CODE = re.compile(r"\bdef \w+\(|assert |import |return |function |```|console\.|\{\n")
OPTION = re.compile(r"(?m)^\s*\(?[A-E][\.\):]")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
QUESTIONS = (r"(?i)\s*(who|when|where)", r"(?i)\s*(what|which)", r"(?i)\s*(how|why)")
QUESTION = tuple(re.compile(q) for q in QUESTIONS)
SURFACE = 28

# Odd multipliers of a polynomial hash modulo 2^64, and the finaliser of MurmurHash3.
_BASE = np.uint64(0x9E3779B97F4A7C15)
_PAIR = np.uint64(0xD6E8FEB86659FD93)
_MIX1, _MIX2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)
_POWERS = np.concatenate([[np.uint64(1)], np.cumprod(np.full(2 * HASHED_CHARACTERS, _BASE))])
_WORD = np.array([chr(i).isalnum() or chr(i) == "_" for i in range(128)])
_SPACES = np.array([i for i in range(0x3001) if chr(i).isspace()], np.uint32)


def _points(text: str) -> np.ndarray:
    """Code points of `text`: uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def surface(text: str) -> list[float]:
    """The `SURFACE` shape features of a text: length, digits, code, options, language, how it asks and how it ends."""
    n = max(len(text), 1)
    if len(text) > 2 * READ_CHARACTERS:
        text = text[:READ_CHARACTERS] + "\n" + text[-READ_CHARACTERS:]
    points, read = _points(text), max(len(text), 1)
    words, numbers, stripped = text.split(), NUMBER.findall(text[:READ_CHARACTERS]), text.strip()
    largest = max((float(x) for x in numbers if len(x) < 12), default=0.0)
    ascii_mark = (points < 128) & (points > 32) & ~_WORD[np.minimum(points, 127)]
    return [
        np.log1p(n), np.log1p(len(words) * n / read), np.count_nonzero((points >= 48) & (points <= 57)) / read,
        np.log1p(len(numbers)), np.log1p(largest), np.count_nonzero((points >= 0x4E00) & (points <= 0x9FFF)) / read,
        np.count_nonzero(points > 127) / read, np.count_nonzero((points >= 65) & (points <= 90)) / read,
        np.count_nonzero(ascii_mark) / read, np.log1p(text.count("\n")), len(OPTION.findall(text)),
        bool(CODE.search(text)), text.count("?"), stripped.endswith("?"), "$" in text, "\\" in text,
        sum(map(len, words)) / max(len(words), 1), len(set(words)) / max(len(words), 1), "_" in text,
        "not " in text.lower(), *(bool(q.match(text)) for q in QUESTION), text[-1:].isalnum(),
        np.log1p(len(text) - text.rfind("\n") - 1), "%" in text, "=" in text, "^" in text,
    ]  # fmt: skip


def surfaces(texts: Sequence[str]) -> np.ndarray:
    """`surface` of every text: float32 [n, SURFACE]."""
    return np.array([surface(t) for t in texts], np.float32).reshape(len(texts), SURFACE)


def _bucket(code: np.ndarray, bits: int) -> np.ndarray:
    code = (code ^ (code >> _SHIFT)) * _MIX1
    code = (code ^ (code >> _SHIFT)) * _MIX2
    return (code >> np.uint64(64 - bits)).astype(np.uint16)


def hashed(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Hash buckets that a text hits and log(1 + count) of each: (int64 [k], float32 [k]).

    Character 2- to 4-grams that do not run over a space, words, and pairs of words, of `HASHED_CHARACTERS` characters
    in lower case: of a longer text the first and the last half of them.
    """
    if len(text) > HASHED_CHARACTERS:  # long few-shot prompts end with the question itself
        half = HASHED_CHARACTERS // 2
        text = text[:half] + " " + text[-half:]
    points = _points(text.lower())
    space = np.isin(points, _SPACES) if len(points) and points.max() > 127 else (points <= 32)
    keep = ~space
    keep[1:] |= ~space[:-1]  # of a run of spaces the first stays
    points = np.where(space, np.uint32(32), points)[keep]
    points = np.concatenate([[np.uint32(32)], points, [np.uint32(32)]]).astype(np.uint64)
    space = points == 32
    code, found = points + np.uint64(1), []
    inner = np.zeros(len(points), bool)
    for n in (2, 3, 4):
        code = code[:-1] * _BASE + points[n - 1 :] + np.uint64(1)
        if n > 2:
            inner = inner[: len(code)] | space[n - 2 : n - 2 + len(code)]
        good = code if n == 2 else code[~inner[: len(code)]]
        found.append(_bucket(good + np.uint64(n), CHAR_BITS))
    words = _words(points, space)
    pairs = words[:-1] * _PAIR + words[1:]
    found += [np.uint16(CHAR_BUCKETS) + _bucket(hashes, WORD_BITS) for hashes in (words, pairs)]
    every = np.sort(np.concatenate(found), kind="stable")
    first = np.flatnonzero(np.concatenate([[True], every[1:] != every[:-1]]))
    counts = np.diff(np.append(first, len(every)))
    return every[first].astype(np.int64), np.log1p(counts).astype(np.float32)


def _words(points: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Polynomial hash of every word and every punctuation mark, in order: uint64 [words]."""
    word = (points > 127) | _WORD[np.minimum(points, np.uint64(127)).astype(np.int64)]
    start = ~space
    start[1:] &= ~(word[1:] & word[:-1])
    starts = np.flatnonzero(start)
    if not len(starts):
        return np.zeros(0, np.uint64)
    place = np.arange(len(points)) - np.maximum.accumulate(np.where(start, np.arange(len(points)), 0))
    terms = np.where(space, np.uint64(0), (points + np.uint64(1)) * _POWERS[place])
    return np.add.reduceat(terms, starts)


class WordRows:
    """Sparse rows: `index` int64 [k] and `value` float32 [k], of which row i has `ends[i]:ends[i+1]`.

    Each text has one more word before it, or an empty one.
    """

    def __init__(self, texts: Sequence[str], words: Sequence[str]):
        parts = [hashed(f"{w} {t}" if w else t) for t, w in zip(texts, words, strict=True)]
        self.index = np.concatenate([p[0] for p in parts] or [np.zeros(0, np.int64)])
        self.value = np.concatenate([p[1] for p in parts] or [np.zeros(0, np.float32)])
        self.ends = np.concatenate([[0], np.cumsum([len(p[0]) for p in parts])]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def idf(self) -> np.ndarray:
        """Smoothed inverse document frequency of every bucket: float32 [BUCKETS]."""
        frequency = np.bincount(self.index, minlength=BUCKETS)
        return (np.log((1 + len(self)) / (1 + frequency)) + 1).astype(np.float32)

    def weighted(self, idf: np.ndarray) -> np.ndarray:
        """Values of the rows times `idf`, each row scaled to unit length: float32 [k]."""
        value = self.value * idf[self.index]
        row = np.repeat(np.arange(len(self)), np.diff(self.ends))
        norm = np.sqrt(np.bincount(row, value.astype(np.float64) ** 2, minlength=len(self)))
        return (value / norm[row]).astype(np.float32)

    def times(self, value: np.ndarray, table: torch.Tensor) -> torch.Tensor:
        """The rows, with these values, times a dense `table` [BUCKETS, d]: float32 [n, d]."""
        return _bag(self.index, value, self.ends, table)


def _bag(index: np.ndarray, value: np.ndarray, ends: np.ndarray, table: torch.Tensor) -> torch.Tensor:
    index, value, ends = (torch.from_numpy(a).to(table.device) for a in (index, value, ends))
    return embedding_bag(
        index, table, ends, mode="sum", per_sample_weights=value.to(table.dtype), include_last_offset=True
    ).float()


def fit_svd(rows: WordRows, value: np.ndarray, size: int, seed: int = 0) -> torch.Tensor:
    """Right singular vectors of the sparse rows: float16 [BUCKETS, size], by a randomised SVD with one power iteration.

    (Halko, Martinsson and Tropp, arXiv 0909.4061.) Half precision halves the checkpoint and changes no decision.
    """
    order = np.argsort(rows.index.astype(np.uint16), kind="stable")
    used = np.flatnonzero(np.bincount(rows.index, minlength=BUCKETS))
    place = np.searchsorted(used, np.arange(BUCKETS))[rows.index]
    row = np.repeat(np.arange(len(rows)), np.diff(rows.ends))[order]
    ends = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(used)))])
    width = min(size + 10, len(rows), len(used))
    start = torch.randn(len(used), width, generator=torch.Generator().manual_seed(seed))
    left = torch.linalg.qr(_bag(place, value, rows.ends, start))[0]
    right = _bag(row, value[order], ends, left)
    left = torch.linalg.qr(_bag(place, value, rows.ends, right))[0]
    right = _bag(row, value[order], ends, left)  # [used, width]
    # Singular vectors by the small Gram matrix: `right` is tall, so its own SVD would take most of the time.
    strength, mix = torch.linalg.eigh((right.T @ right).double())
    strength, mix = strength.flip(0)[:size].clamp(min=1e-10), mix.flip(1)[:, :size]
    vectors = right @ (mix / strength.sqrt()).float()
    table = torch.zeros(BUCKETS, size, dtype=torch.float16)
    table[torch.from_numpy(used), : vectors.shape[1]] = vectors.half()
    return table


def fit_features(texts: Sequence[str], size: int = 256, seed: int = 0) -> dict[str, torch.Tensor]:
    """State of the features, learned from training texts: buffers ``idf``, ``svd``, ``surface_mean``, ``surface_std``.

    Also ``beginnings`` where the texts share long ones (see `shared_beginnings`). `size` is cut to the number of texts.
    """
    beginnings = shared_beginnings(texts)
    texts, words = parted(texts, beginnings)
    rows, shape = WordRows(texts, words), surfaces(texts)
    idf = rows.idf()
    return ({"beginnings": beginnings} if len(beginnings) else {}) | {
        "idf": torch.from_numpy(idf),
        "svd": fit_svd(rows, rows.weighted(idf), max(1, min(size, len(texts))), seed),
        "surface_mean": torch.from_numpy(shape.mean(0)),
        "surface_std": torch.from_numpy(shape.std(0) + 1e-6),
    }


def text_features(state: dict[str, torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
    """Surface and TF-IDF features of texts: float32 [n, SURFACE + size]."""
    texts, words = parted(texts, state.get("beginnings"))
    rows, shape = WordRows(texts, words), torch.from_numpy(surfaces(texts))
    tfidf = rows.times(rows.weighted(state["idf"].cpu().numpy()), state["svd"])
    mean, std = state["surface_mean"].cpu(), state["surface_std"].cpu()
    shape = ((shape - mean) / std).clamp(-4, 4) * SURFACE_WEIGHT
    return torch.cat([shape.to(tfidf.device), tfidf], 1)


def block_weights(size: int, embedding: int) -> np.ndarray:
    """Weight of every feature where queries are clustered, float64 [size]; the first `embedding` are an embedding.

    Shape and words tell tasks apart better than meaning does.
    """
    weight = np.full(size, 1.5)
    weight[:embedding] = 0.5
    weight[embedding : embedding + SURFACE] = 0.08 / SURFACE_WEIGHT
    return weight

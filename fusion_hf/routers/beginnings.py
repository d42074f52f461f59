"""Long beginnings that many queries share, such as few-shot examples or instructions: not what a query asks.

Benchmarks log their prompts with examples before each question. An encoder that reads 256 tokens then sees the examples
and little of the question, and the same question without them, as traffic brings it, looks like nothing that was
trained on. So what many training queries begin with is taken off before a text is embedded; which beginning it was
stays, as one word of the text features.

This file is copied beside checkpoints (see `remote_code`).
"""

import hashlib
from collections.abc import Sequence

import torch

SHORTEST = 600  # characters; a shorter one hides little: an encoder of 256 tokens reads some 500 of either end
SHARED_BY = 20  # different training queries
MOST = 256  # beginnings, those of most queries


def shared_beginnings(texts: Sequence[str]) -> torch.Tensor:
    """Hashes of the beginnings of whole lines that many of these texts share: int64 [k, 3].

    Columns: hash of the first `SHORTEST` characters, length, hash of the whole. They tell a beginning again without
    keeping its text, which may be a private prompt.
    """
    texts, found = sorted(set(texts)), {}
    for first, last in zip(texts, texts[SHARED_BY - 1 :], strict=False):  # sorted: all between share it too
        if first[:SHORTEST] != last[:SHORTEST]:
            continue
        end = first.rfind("\n", SHORTEST - 1, _common(first, last)) + 1
        if SHORTEST <= end < len(first):  # nothing is left of a text that is its beginning
            beginning = first[:end]
            found[beginning] = found.get(beginning, 0) + 1
    most = sorted(found, key=lambda b: (-found[b], b))[:MOST]
    rows = [[_hash(b[:SHORTEST]), len(b), _hash(b)] for b in sorted(most, key=len, reverse=True)]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def parted(texts: Sequence[str], beginnings: torch.Tensor | None) -> tuple[list[str], list[str]]:
    """Texts without their shared beginning, and a word that names it for each; an empty one where there is none.

    Args:
        texts: n texts.
        beginnings: What `shared_beginnings` gave for the training texts; None for none. The longest one counts.
    """
    if beginnings is None or not len(beginnings):
        return list(texts), [""] * len(texts)
    known: dict[int, list[tuple[int, int]]] = {}
    for head, length, whole in beginnings.tolist():  # the longest first
        known.setdefault(head, []).append((length, whole))
    rest, words = [], []
    for text in texts:
        lengths = known.get(_hash(text[:SHORTEST]), ()) if len(text) > SHORTEST else ()
        end, word = next(
            ((n, f"beginning{h:x}") for n, h in lengths if n < len(text) and _hash(text[:n]) == h), (0, "")
        )
        rest.append(text[end:])
        words.append(word)
    return rest, words


def bare(texts: Sequence[str], beginnings: torch.Tensor | None) -> list[str]:
    """Texts without their shared beginning, as they are embedded."""
    return parted(texts, beginnings)[0]


def _common(a: str, b: str) -> int:
    """Length of what two texts begin with in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "little")

"""Long beginnings that many queries share, such as few-shot examples or instructions: not what a query asks.

Benchmarks log their prompts with examples before each question. An encoder then sees mostly the examples, and the same
question without them, as traffic brings it, looks like nothing that was trained on. So what many training queries begin
with is taken off before a text is embedded, for a router and for an index of templates; which beginning it was stays,
for a router, as one word of the text features.

This file is copied beside checkpoints (see `remote_code`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import torch

SHORTEST = 600  # characters; an encoder of 256 tokens reads some 500 of either end
SHARED_BY = 20  # different training queries
MOST = 256  # beginnings, those of most queries


def shared_beginnings(texts: Sequence[str]) -> torch.Tensor:
    """Hashes of the beginnings of whole lines that many of these texts share: int64 [k, 3].

    Columns: hash of the first `SHORTEST` characters, length, hash of the whole. They tell a beginning again without
    keeping its text, which may be a private prompt.
    """
    texts, found = sorted(set(texts)), Counter()
    for first, last in zip(texts, texts[SHARED_BY - 1 :], strict=False):  # sorted: all between share it too
        if first[:SHORTEST] != last[:SHORTEST]:
            continue
        end = first.rfind("\n", SHORTEST - 1, _common(first, last)) + 1
        if SHORTEST <= end < len(first):  # nothing is left of a text that is its beginning
            found[end, _hash(first[:SHORTEST]), _hash(first[:end])] += 1
    most = sorted(found, key=lambda b: (-found[b], b))[:MOST]
    rows = [(head, length, whole) for length, head, whole in sorted(most, reverse=True)]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def cutter(beginnings: torch.Tensor | None) -> Callable[[str], tuple[str, str]]:
    """A function from a text to the text without its shared beginning, and a word that names it (empty for none).

    Args:
        beginnings: What `shared_beginnings` gave for the training texts; None for none. The longest one counts.
    """
    known: dict[int, list[tuple[int, int]]] = {}
    for head, length, whole in [] if beginnings is None else beginnings.tolist():  # the longest first
        known.setdefault(head, []).append((length, whole))

    def cut(text: str) -> tuple[str, str]:
        lengths = known.get(_hash(text[:SHORTEST]), ()) if known and len(text) > SHORTEST else ()
        for length, whole in lengths:
            if length < len(text) and _hash(text[:length]) == whole:
                return text[length:], f"beginning{whole:x}"
        return text, ""

    return cut


def read_beginnings(found: object) -> torch.Tensor | None:
    """What `shared_beginnings` gave, from plain lists in a file; None where there is none.

    Raises:
        ValueError: Something else than at most `MOST` rows of three whole numbers.
    """
    if found is None:
        return None
    rows = found if isinstance(found, list) and len(found) <= MOST else [None]
    if not all(isinstance(r, list) and len(r) == 3 and all(type(n) is int and 0 <= n < 2**63 for n in r) for r in rows):
        raise ValueError(f"expected at most {MOST} rows of three whole numbers, found {found!r:.60}")
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def parted(texts: Sequence[str], beginnings: torch.Tensor | None) -> tuple[list[str], list[str]]:
    """`cutter` of n texts: n rests and n words."""
    found = list(map(cutter(beginnings), texts))
    return [rest for rest, _ in found], [word for _, word in found]


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

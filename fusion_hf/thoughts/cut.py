"""Long texts cut by tokens: the head and the tail are kept, at whole lines where there are lines."""

import re
from collections.abc import Callable
from typing import Any

Spans = Callable[[str], list[tuple[int, int]]]
MARK = "…"
_PIECE = re.compile(r"\w{1,6}|[^\w\s]")


def pieces(text: str) -> list[tuple[int, int]]:
    """(start, end) of about a token each, where there is no tokenizer: six letters or digits, or one other sign."""
    return [m.span() for m in _PIECE.finditer(text)]


def spans_of(tokenizer: Any) -> Spans:
    """A function from texts to the (start, end) of their tokens; `pieces` without a (fast) tokenizer."""
    if tokenizer is None or not tokenizer.is_fast:
        return pieces

    def spans(text: str) -> list[tuple[int, int]]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [span for span in encoded["offset_mapping"] if span[1] > span[0]]

    return spans


def cut_middle(text: str, tokens: int, spans: Spans = pieces) -> str:
    """`text` with at most `tokens` tokens: two thirds from its head, one third from its tail, ``…`` between them.

    The parts end and begin with whole lines, so that none of code is torn, unless that would lose half of a part.
    """
    found = spans(text)
    if len(found) <= tokens:
        return text
    tail = (tokens - 1) // 3
    head = max(1, tokens - 1 - tail)
    left = text[: found[head - 1][1]]
    right = text[found[-tail][0] :] if tail else ""
    line_end, line_start = left.rfind("\n"), right.find("\n")
    if line_end >= len(left) / 2:
        left = left[:line_end]
        if 0 <= line_start <= len(right) / 2:
            right = right[line_start + 1 :]
        return f"{left.rstrip()}\n{MARK}\n{right}".rstrip()
    return f"{left.rstrip()} {MARK} {right}".rstrip()

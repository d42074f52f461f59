"""Is a summariser's reply a template: 1 to 5 sentences that do not give the answer away."""

import re

from ..reasoning import split_reasoning
from .leak import leaks
from .solved import Solved

MAX_SENTENCES = 5
MAX_WORDS = 150
_MARKER = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+|^\s*#+\s*", re.M)
# A lower-case letter after the blank means that the full stop was an abbreviation's.
_END = re.compile(r"(?<=[.!?])[\"')\]*`]*\s+(?=[^\sa-z])|\n+")


def sentences(text: str) -> list[str]:
    """The sentences of a text; a line is at least one, and the marker of a list item is none."""
    return [s.strip() for s in _END.split(_MARKER.sub("", text)) if re.search(r"\w", s)]


def without_thinking(text: str) -> str:
    """The text without its reasoning: see `fusion_hf.reasoning`."""
    return split_reasoning(text)[0]


def check(reply: str, finish_reason: str | None, solved: Solved) -> tuple[str | None, str | None]:
    """(template, None) for a usable reply, else (None, reason).

    Reasons: ``empty``, ``cut off``, ``too long`` (words), ``too many sentences``, ``leaks the answer``.
    """
    text = without_thinking(reply).strip()
    if finish_reason == "length" and text and text[-1] not in ".!?":
        ends = [m.end() for m in re.finditer(r"[.!?](?=\s)", text)]
        if not ends:
            return None, "cut off"
        text = text[: ends[-1]]
    count = len(sentences(text))
    if not count:
        return None, "empty"
    if count > MAX_SENTENCES:
        return None, "too many sentences"
    if len(text.split()) > MAX_WORDS:
        return None, "too long"
    best = solved.answers[0] if solved.answers else ""
    if leaks(text, solved.ground_truth, solved.query, solved.metric, best):
        return None, "leaks the answer"
    return text, None

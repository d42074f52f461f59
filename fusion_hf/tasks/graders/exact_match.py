"""Exact match: the response is a reference answer, and nothing else."""

import re
import unicodedata
from collections.abc import Sequence

from ._final import answer_field, final_text
from ._grade import Grade

_BLANKS = re.compile(r"\s+")
_AROUND = "\"'`*_“”‘’«».,;:!?()[] \t\n"


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The response equals a reference answer letter by letter, but for blanks around it."""
    text = response.strip()
    for reference in ground_truth:
        if text == reference.strip():
            return Grade(1.0, reference, "is the reference answer")
    return Grade(0.0, text[:200] or None, "is no reference answer")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The same without reasoning, case, marks around the answer, and with any blanks for a blank.

    The answer of a tag or of a JSON object's field counts as the response.
    """
    text = final_text(response, query)
    field = answer_field(text) if "</" in text or "{" in text else None
    text = text if field is None else field[0]
    for reference in ground_truth:
        if _normal(text) == _normal(reference):
            return Grade(1.0, reference, "is the reference answer")
    return Grade(0.0, text.strip()[:200] or None, "is no reference answer")


def _normal(text: str) -> str:
    text = _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    return (text.strip(_AROUND) or text).casefold()

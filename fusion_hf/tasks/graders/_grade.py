"""What every grader returns, and the text helpers that several share."""

import re
import string
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Grade(NamedTuple):
    """Score in 0..1, the answer that was read from the response (None: nothing could be read), and why."""

    score: float
    extracted: str | None
    reason: str


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_BOXED = "\\boxed"
# Every repetition in the graders' patterns has a bound: a response of one endless line must not take minutes.
NUMBER = re.compile(
    r"(?<![\d.,/])-?\d{1,3}(?:,\d{3}){1,12}(?:\.\d{1,40})?(?!\d)|-?\d{1,60}(?:\.\d{1,40})?|-?\.\d{1,40}"
)
_CLEAN = re.compile(r"\\[$!,;: ]|\{,\}|[$£€]|(?<=\d)\s?%")


def paper_normal(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, single blanks: the published normal form."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


_ARTICLE_WORDS = frozenset(("a", "an", "the"))


def words_only(text: str) -> str:
    """Nearly the same form by words instead of a pattern, which is several times as fast."""
    words = text.lower().translate(_NO_PUNCTUATION).split()
    return " ".join([word for word in words if word not in _ARTICLE_WORDS])


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{…}`` with balanced braces (or ``\boxed x``), or None."""
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    rest = text[start + len(_BOXED) :].lstrip()
    if not rest.startswith("{"):
        return rest.split("$")[0].split()[0] if rest[:1].isalnum() else None
    depth = 0
    for i, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return rest[1:i]
    return None


def plain_money(text: str) -> str:
    r"""Without currency signs, percent signs and LaTeX spacing, so that ``\$1{,}000`` and ``-$5`` read as numbers."""
    return _CLEAN.sub("", text)


@lru_cache(maxsize=65536)
def as_number(text: str) -> Fraction | None:
    """Exact value of an integer, decimal or plain fraction, thousands commas or not; None for anything else."""
    text = text.strip().replace(",", "").rstrip(".")
    try:
        return Fraction(text.replace(" ", "")) if text and len(text) < 60 and "e" not in text.lower() else None
    except (ValueError, ZeroDivisionError):
        return None

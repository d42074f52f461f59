"""What every grader returns, and the text helpers that several share."""

import re
import string
from collections.abc import Iterator
from typing import NamedTuple


class Grade(NamedTuple):
    """Score in 0..1, the answer that was read from the response (None: nothing could be read), and why."""

    score: float
    extracted: str | None
    reason: str


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_BOXED = "\\boxed"
_BARE_BOX = re.compile(
    r"-?[\d.,]{1,40}(?<![.,])|[A-Za-z](?![A-Za-z])|\\[dt]?frac\s?(?:\d\s?\d"
    r"|\{[^{}]{1,40}\}\{[^{}]{1,40}\})|\\pi\b"
)
# Every repetition in the graders' patterns has a bound: a response of one endless line must not take minutes.
_CLEAN = re.compile(r"\\[$!,;: ]|\{,\}|[$£€]|(?<=\d)\s?%")


def paper_normal(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, single blanks: the published normal form."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


_ARTICLE_WORDS = frozenset(("a", "an", "the"))


def words_only(text: str) -> str:
    """Nearly the same form by words instead of a pattern, which is several times as fast."""
    words = text.lower().translate(_NO_PUNCTUATION).split()
    return " ".join([word for word in words if word not in _ARTICLE_WORDS])


# The backslash, or with it the b, is lost where a JSON string was written or read without care.
_BOX = re.compile(r"(?:\\|\x08)?f?b?oxed(?![a-zA-Z])|\\fbox(?![a-zA-Z])")
_PLACEHOLDER = re.compile(
    r"(?:[\s.?_…{}~-]|\\f?boxed|<[^<>]{0,30}>|\\[,;:! ]|\\(?:text|mathrm|phantom|hphantom|underline|quad"
    r"|hspace)(?![a-z])(?:\{[\s\d]{0,5}\})?)*|\\(?:ldots|dots|cdots)|(?:\\text\s?\{)?\s?(?:the |your |my |final "
    r"|correct ){0,3}"
    r"(?:answer|result|number|expression|letter|value)(?: here)?\s?\}?", re.I
)  # fmt: skip
_MENTION = re.compile(r"[`\"'($]?\\f?box(?:ed)?\s?\{[\s.?_…]{0,9}\}[`\"')$]?")
_BOXES, _BOX_LENGTH = 20, 20_000  # so many are looked at from the end, each no further than this


def boxes(text: str) -> Iterator[tuple[int, int, str]]:
    r"""(start, end, content) of ``\boxed{…}`` with balanced braces, or ``\boxed 5``, from the last to the first.

    A box that is empty, a placeholder ("your answer") or only mentioned ("in \boxed as asked") is none.
    """
    stop = len(text)
    for _ in range(_BOXES):
        start = max(text.rfind("\\boxed", 0, stop), text.rfind("\\fbox", 0, stop), text.rfind("oxed{", 0, stop))
        if start < 0:
            return
        if text[start] == "o":
            start -= text.startswith("b", start - 1) if start else 0
            start -= text[start - 1 : start] in ("\\", "\x08", "f")
            start -= text[start - 1 : start] == "\\"
        stop = start
        head = _BOX.match(text, start)
        if head is None:
            continue
        found = _box_content(text, head.end())
        if found is not None and not _PLACEHOLDER.fullmatch(found[1][:80]):
            yield start, *found


def without_placeholders(text: str) -> str:
    """Without boxes that are only mentioned."""
    return _MENTION.sub("", text)


def _box_content(text: str, place: int) -> tuple[int, str] | None:
    """(end, content) of what stands after the command of a box; None where it is no box."""
    begin = place
    while begin < len(text) and begin - place < 20 and text[begin].isspace():
        begin += 1
    if text[begin : begin + 1] != "{":
        bare = _BARE_BOX.match(text, begin)
        return (bare.end(), bare.group()) if bare else None
    depth = 0
    for i in range(begin, min(len(text), begin + _BOX_LENGTH)):
        char = text[i]
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return i + 1, text[begin + 1 : i]
    return None


def last_box(text: str) -> str | None:
    r"""Content of the last box that holds something (see `boxes`), or None."""
    return next((content for _, _, content in boxes(text)), None)


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{…}`` with balanced braces (or ``\boxed x``), or None: the published reading."""
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

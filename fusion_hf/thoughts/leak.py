"""Does a text give a reference answer away, and where: so that a template never hands the answer over."""

import json
import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\$?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)(?!\.\d)")
_OPTION = re.compile(r"^\(([A-J])\)\s*(.+?)\s*$", re.M)
_BOOL = {"true", "false", "yes", "no"}
# A list of all options, or an example of the format, says nothing about which one is right.
_NOT_AN_ANSWER = re.compile(
    r"\(?\bA\b\)?\s*(?:,|/|or|and)\s*\(?B\b\)?(?:\s*(?:,\s*or|,|/|or|and)\s*\(?[C-J]\b\)?)+"
    r"|\(?\bA\b\)?\s*(?:-|to|through)\s*\(?[C-J]\b\)?"
    r"|(?i:\b(?:true|yes)\b\W{0,3}(?:or|/)\W{0,3}\b(?:false|no)\b|\b(?:false|no)\b\W{0,3}(?:or|/)\W{0,3}\b(?:true|yes)\b)"
    r"|(?:such as|e\.g\.,?|for example,?)\s+\([A-J]\)"
)
_SAYS = (
    r"\b(?:answer|option|choice|result|letter|statement|total)\b"
    r"(?:\s+(?:is|are|was|will be|would be|must be|equals))?[\s:=]*[\"'*`(\[$\\{{]*{reference}(?!\w)"
)
_MARKED = (
    r"\({reference}\)",
    r"\*\*\(?{reference}\)?\*\*",
    r"####\s*\(?{reference}(?!\w)",
    r"boxed\s*\{{\s*\(?{reference}\)?\s*\}}",
    r"\b(?:so|thus|hence|therefore)\b,?\s+(?:it\s+is\s+|it's\s+)?\(?{reference}(?!\w)",
)
_MIN_CODE_LINE = 10


def reference_spans(
    text: str, references: Sequence[str], query: str = "", metric: str = "", answer: str = ""
) -> list[tuple[int, int]]:
    """Where `text` gives a reference answer away: (start, end) of every place, in order, merged where they touch.

    One of several letters or digits counts as a whole word or phrase, whatever its case; numbers count by value.
    A short one (an option's letter, True/False, one digit, a number that the query itself has) counts only where it is
    said as the answer: ``(B)``, ``answer is B``, ``= 7``, ``#### 7``, ``\\boxed{7}``. For a letter the text of its
    option counts too, unless the question has it. For code the reference is tests, so lines of `answer` count.

    Args:
        text: The text to look through.
        references: Every reference answer that counts as right.
        query: The query, for its options and its numbers.
        metric: The grader's name (``code_eval`` and ``em_mc`` are special).
        answer: The best answer, for code.
    """
    if metric == "code_eval" or any(_is_code(g) for g in references):
        return _merge(_code_lines(text, answer, query))
    blanked = _NOT_AN_ANSWER.sub(lambda m: " " * len(m.group()), text)
    spans: list[tuple[int, int]] = []
    for reference in references:
        spans += _one(text, blanked, reference.strip(), query, metric)
    return _merge(spans)


def leaks(text: str, references: Sequence[str], query: str = "", metric: str = "", answer: str = "") -> str | None:
    """The first piece of `text` that gives a reference answer away, or None; see `reference_spans`."""
    spans = reference_spans(text, references, query, metric, answer)
    return text[slice(*spans[0])] if spans else None


def mask(text: str, references: Sequence[str], query: str = "", metric: str = "", answer: str = "") -> str:
    """`text` with ? in every place that gives a reference answer away."""
    for start, end in reversed(reference_spans(text, references, query, metric, answer)):
        text = text[:start] + "?" + text[end:]
    return text


def _one(text: str, blanked: str, reference: str, query: str, metric: str) -> list[tuple[int, int]]:
    letter = reference.strip("()").upper() if re.fullmatch(r"\(?[A-Ja-j]\)?", reference) else None
    if letter and (metric == "em_mc" or reference.startswith("(") or _OPTION.search(query)):
        return _said(blanked, letter) + _option_text(text, letter, query)
    value = _value(reference)
    if value is not None:
        strong = len(re.sub(r"\D", "", reference)) > 1 and not any(_value(m.group()) == value for m in _numbers(query))
        if strong:
            return [m.span() for m in _numbers(text) if _value(m.group()) == value]
        spelt = rf"\$?{re.escape(reference.lstrip('$'))}(?!\.?\d)"
        return _said(blanked, spelt, escape=False) + _matches(blanked, rf"=\s*({spelt})")
    words = _WORD.findall(reference)
    if reference.lower() in _BOOL:
        is_bool = rf"\bis\s+({re.escape(reference)})(?!\w)"
        return _said(blanked, reference) + _matches(blanked, is_bool)
    if len("".join(words)) > 2:
        return _phrase(text, words)
    return _said(blanked, reference) + _matches(blanked, rf"=\s*({re.escape(reference)})(?!\w)") if reference else []


def _said(text: str, reference: str, escape: bool = True) -> list[tuple[int, int]]:
    reference = rf"({re.escape(reference) if escape else reference})"
    flags = 0 if re.fullmatch(r"\([A-J]\)", reference) else re.I
    found = [m.span(1) for p in _MARKED for m in re.finditer(p.format(reference=reference), text, flags)]
    says = _SAYS.format(reference=rf"(?-i:{reference})" if not flags else reference)
    return found + [m.span(1) for m in re.finditer(says, text, re.I)]


def _matches(text: str, pattern: str) -> list[tuple[int, int]]:
    return [m.span(1) for m in re.finditer(pattern, text, re.I)]


def _phrase(text: str, words: Iterable[str]) -> list[tuple[int, int]]:
    pattern = r"(?<!\w)" + r"[\W_]{1,4}".join(map(re.escape, words)) + r"(?!\w)"
    return [m.span() for m in re.finditer(pattern, text, re.I)]


def _option_text(text: str, letter: str, query: str) -> list[tuple[int, int]]:
    options = dict(_OPTION.findall(query))
    words = _WORD.findall(options.get(letter, ""))
    if len("".join(words)) < 3 or _phrase(_OPTION.sub("", query), words):
        return []
    return _phrase(text, words)


def _numbers(text: str) -> Iterable[re.Match]:
    return _NUMBER.finditer(text)


def _value(text: str) -> float | None:
    text = text.replace("$", "").replace(",", "").rstrip(".")
    return float(text) if re.fullmatch(r"[-+]?\d+(?:\.\d+)?", text) else None


def _is_code(reference: str) -> bool:
    if not reference.startswith("{"):
        return False
    try:
        return "tests" in json.loads(reference)
    except (json.JSONDecodeError, TypeError):
        return False  # a reference that merely begins with a brace, such as a set in LaTeX


def _code_lines(text: str, answer: str, query: str) -> list[tuple[int, int]]:
    spans = []
    known = {line.strip() for line in query.split("\n")}
    for line in {line.strip() for line in answer.split("\n")}:
        looks_like_code = re.search(r"[=()\[\]:]|\breturn\b", line) and not line.startswith("#")
        if len(line) >= _MIN_CODE_LINE and looks_like_code and line not in known:
            spans += [m.span() for m in re.finditer(re.escape(line), text)]
    return spans


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged

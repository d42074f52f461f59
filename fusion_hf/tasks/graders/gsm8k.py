"""GSM8K: the final number of a word problem (Cobbe et al., arXiv 2110.14168)."""

import re
from collections.abc import Sequence

from ._grade import NUMBER, Grade, as_number, last_boxed, plain_money

_PAPER = re.compile(r"-?[0-9.,]+")
_PAPER_DROP = str.maketrans("", "", ",$.")
_HASHES = re.compile(r"####[ \t]{0,5}([^\n]{0,200})")
_LABEL = re.compile(
    # "A: 5" is an answer, "A = 5" mostly a variable.
    r"^[ \t*#>]{0,12}(?:A(?=[ \t*]{0,8}:)|(?:final |the )?answer)[ \t]{0,3}\*{0,2}[ \t]{0,3}[:=][ \t]{0,3}\*{0,2}"
    r"([^\n]{1,300})",
    re.I | re.M,
)
_STATED = re.compile(
    r"\banswer\b(?:\s{1,3}to\s{1,3}[^.:\n]{1,80}?)?\s{0,3}(?:is|=|:|would be|should be)\s{0,3}:?([^\n]{1,300})", re.I
)
_LEADING = re.compile(r"[\s*]{0,12}(-?[\d.,]{0,40}\d)\*{0,2}(?:\s{1,3}[^\W\d]{1,30}){0,3}\s{0,3}(?:[.;!\n]|$)")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_FRACTION = re.compile(r"-?(?<!\d)\d{1,40}\s{0,3}/\s{0,3}\d{1,40}")
_MINUS = re.compile(r"(?<=[\d)])-(?=\d)|(?<=\d)\s{1,3}-\s{1,3}(?=\d)")
_DIGIT = re.compile(r"\d")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z*])")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last run of digits, points and commas, without points, commas and dollars, equals the gold answer."""
    runs = [run for run in _PAPER.findall(response) if run not in ("", ".")]
    if not runs:
        return Grade(0.0, None, "no number")
    found = runs[-1].translate(_PAPER_DROP)
    golds = {gold.split("####")[-1].strip().translate(_PAPER_DROP) for gold in ground_truth}
    return Grade(float(found in golds), found, "last run of digits")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The final number, compared by value."""
    text, how = read_number(response)
    if text is None:
        return Grade(0.0, None, "no number")
    value = as_number(text)
    golds = [as_number(plain_money(gold.split("####")[-1])) for gold in ground_truth]
    return Grade(float(value is not None and value in golds), text, how)


def read_number(response: str) -> tuple[str | None, str]:
    """(number as written, where it stood): after ####, in a box, after a stated answer, in front, in bold, or last."""
    hashes = _with_digits(_HASHES, response)
    if hashes:
        return _of_line(hashes[-1]), "after ####"
    boxed = last_boxed(response)
    if boxed is not None and any(c.isdigit() for c in boxed):
        return _of_line(boxed), "boxed"
    for pattern, how in ((_STATED, "stated answer"), (_LABEL, "labelled answer")):
        found = _with_digits(pattern, response)
        if found:
            return _of_line(_SENTENCE.split(found[-1])[0]), how
    text = plain_money(response)
    leading = _LEADING.match(text)
    if leading:
        return _of_line(leading.group(1)), "in front"
    lines = text.strip().splitlines()
    bold = _with_digits(_BOLD, lines[-1]) if lines else []
    if bold:
        return _of_line(bold[-1]), "bold in the last line"
    numbers = NUMBER.findall(_MINUS.sub(" ", text))
    return (numbers[-1], "last number") if numbers else (None, "")


def _with_digits(pattern: re.Pattern, text: str) -> list[str]:
    return [found for found in pattern.findall(text) if _DIGIT.search(found)]


def _of_line(line: str) -> str | None:
    r"""The number that a short answer comes down to: after its last "=", a fraction or the first number."""
    line = plain_money(line)
    line = re.sub(r"\\[dt]?frac\{(-?\d{1,40})\}\{(\d{1,40})\}", r"\1/\2", line)
    after = line.rsplit("=", 1)[-1]
    if any(c.isdigit() for c in after):
        line = after
    fraction = _FRACTION.search(line)
    number = NUMBER.search(line)
    if fraction and number and fraction.start() <= number.start():
        return fraction.group()
    return number.group() if number else None

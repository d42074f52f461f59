r"""MATH: one final expression (Hendrycks et al., arXiv 2103.03874), compared as mathematics by math-verify."""

import re
from collections.abc import Sequence

from . import _math_worker
from ._grade import Grade, last_boxed
from ._numbers import as_number

_STATED = re.compile(
    r"\banswer\b(?:\s{1,3}to\s{1,3}[^.:\n]{1,80}?)?\s{0,3}(?:is|=|:|would be|should be)\s{0,3}:?\s{0,3}"
    r"(.{1,300}?)\s{0,3}(?:\.\s|\.?$|\n)",
    re.I | re.M,
)
_DOLLARS = re.compile(r"\$([^$\n]+)\$")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textit)\s{0,3}\{([^{}]{0,300})\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z .'-]*")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|,)(?=\d{3}(?!\d))")
_FRAC = re.compile(r"(-?)\\frac\{?(\d{1,40})\}?\{?(\d{1,40})\}?")
_SPACING = re.compile(r"\\[!,;: ]|\\left|\\right|\\displaystyle|~")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    r"""The last ``\boxed{}`` equals the gold answer as strings, after the benchmark's own clean-up."""
    found = last_boxed(response)
    if found is None:
        return Grade(0.0, None, "no \\boxed{} answer")
    same = any(paper_form(found) == paper_form(gold) for gold in ground_truth)
    return Grade(float(same), found, "last \\boxed{} answer")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The final expression, boxed or not, equals the gold answer in value."""
    found, how = read_answer(response)
    if found is None:
        return Grade(0.0, None, "no final expression")
    for gold in ground_truth:
        quick = _quick(found, gold)
        if quick is None:
            quick = _math_worker.equal(gold, found)
        if quick:
            return Grade(1.0, found, how)
    return Grade(0.0, found, how)


def read_answer(response: str) -> tuple[str | None, str]:
    """(expression, where it stood): the last box, the last stated answer, the last formula or the last line's end."""
    boxed = last_boxed(response)
    if boxed is not None:
        return boxed.strip(), "boxed"
    if "####" in response:
        return response.rsplit("####", 1)[1].strip().partition("\n")[0].strip() or None, "after ####"
    stated = _STATED.findall(response)
    if stated:
        return _bare(stated[-1]), "stated answer"
    formulas = _DOLLARS.findall(response)
    if formulas:
        return _bare(formulas[-1]), "last formula"
    lines = response.strip().splitlines()
    return (_bare(lines[-1]), "last line") if lines and len(lines[-1]) <= 80 else (None, "")


def _bare(text: str) -> str:
    """Without the marks around an answer: dollars, asterisks, ``\\(…\\)``, a final full stop, ``x =``."""
    inner = _DOLLARS.search(text)
    text = inner.group(1) if inner and text.strip().startswith(("$", "**$")) else text
    text = text.strip().strip("*").strip().removesuffix(".")
    text = re.sub(r"^\\[(\[]|\\[)\]]$", "", text).strip().strip("$").strip()
    return text.rsplit("=", 1)[-1].strip() if re.match(r"^[A-Za-z]\w*\s*=", text) else text


def _plain(text: str) -> str:
    """The answer without spacing, thousands commas and text commands; what decides the easy cases."""
    text = _TEXT.sub(r"\1", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\$", "")
    text = _THOUSANDS.sub("", _SPACING.sub("", text))
    return "".join(text.split()).strip("$").rstrip(".")


def _quick(found: str, gold: str) -> bool | None:
    """The verdict where it needs no algebra: equal strings, two plain numbers, two words; None otherwise."""
    left, right = _plain(found), _plain(gold)
    if left == right and left:
        return True
    numbers = [as_number(_FRAC.sub(r"\1\2/\3", text)) if "," not in text else None for text in (left, right)]
    if None not in numbers:
        return numbers[0] == numbers[1]
    words = [_TEXT.sub(r"\1", text).strip().strip("().").lower() for text in (found, gold)]
    if all(len(w) > 1 and _WORDS.fullmatch(w) for w in words):
        return words[0] == words[1]
    return None


def paper_form(text: str) -> str:
    """The clean-up that the benchmark applies before it compares strings (its section on answer equivalence)."""
    for old, new in (
        ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", ""),
        ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = text.split("\\text{ ")[0]  # units stand at the right
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    left, equals, right = text.partition("=")
    if equals and len(left) <= 2 and "=" not in right:
        text = right
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{}])([^{}])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{}])(?=\{)", r"\\frac{\1}", text)
    text = "\\frac{1}{2}" if text == "0.5" else text
    return re.sub(r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}", text)

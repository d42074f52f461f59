"""The number that a short answer comes down to: a box, a field, or the line after "the answer is"."""

import re
from fractions import Fraction

from ._arithmetic import arithmetic
from ._numbers import Number, canonical, numbers, plain_tex, spelled

_SIMPLE = re.compile(r"\s*\$?\s?(-?\d{1,15})\s*\.?\s*")
_NOT = re.compile(
    r"\b(?:not|no longer|rather than|instead of|n['’]t(?: be)?)\s{1,3}[^,.;]{1,40}?(?:\bbut\b|[,;]|$)", re.I
)
_ASIDE = re.compile(r"(?<=[A-Za-z] )\([^()]{0,40}\d[^()]{0,40}\)")
PREPOSITION = re.compile(
    r"\b(?:after|in|for|over|within|per|every|each|from|during|since|at|on|with|before|until|between|by|out of|first"
    r"|last"
    r"|next|step|day|week|part|question|problem|if|(?:each|every|all|any|some|none|most|half|\d|,) of"
    r"|(?:after|before|by|from|for) \w{2,15}ing)\s{1,3}"
    r"(?:the\s{1,3}(?:remaining\s{1,3}|other\s{1,3}|first\s{1,3}|last\s{1,3}|next\s{1,3})?"
    r"|about\s{1,3}|only\s{1,3})?$", re.I
)  # fmt: skip
_RESULT = re.compile(r":\s{1,3}(\$?-?\d[\d.,]{0,40})\s{0,3}$")  # "between 3 and 5: 4"
_PARTED = re.compile(r"\s*\$?-?\d{1,3}(?:, \d{3}){1,5}\.?\s*")  # "12, 500"
_AT_LEAST = re.compile(r"\bat\s{1,3}(?:least|most)\s{1,3}$", re.I)
_OPERATOR = re.compile(
    r"\s{0,3}(?:[a-z]{1,15}\s{1,3}){0,2}?(?:[+*/x]|-(?=\s)|\\times|\\cdot|plus|minus|times|divided by|multiplied by"
    r"|(?:less|more) than)\s{0,3}\(?\$?$", re.I
)  # fmt: skip
_MENDED = re.compile(
    r"[,;.(–-]\s{0,3}(?:so|thus|hence|therefore|i\.e\.|that is|namely|meaning)\b,?\s{1,3}(?:it(?:['’]s| is)\s{1,3}"
    r"|she has\s{1,3}"
    r"|he has\s{1,3})?(?=\$?-?\d)"
    r"|\b(?:which|that)\s{1,3}(?:is|equals|makes|gives|comes to)\s{1,3}(?:equal to\s{1,3})?(?=\$?-?\d[^a-zA-Z]*$)"
    r"|\b(?:no|wait|sorry|correction|I mean|make that|actually)\b[,:.]?\s{1,3}(?:no[,:]?\s{1,3})?(?:it(?:['’]s"
    r"| is)\s{1,3})?"
    r"(?=\$?-?\d)", re.I
)  # fmt: skip


def of_line(line: str) -> Number | None:
    r"""The number that a short answer comes down to: after its last "=", a conclusion, or the first that counts."""
    simple = _SIMPLE.fullmatch(line)
    if simple:
        return Number(simple.group(1), Fraction(int(simple.group(1))))
    line = plain_tex(line[:400])
    if ", " in line and _PARTED.fullmatch(line):
        line = line.replace(", ", "")
    if line.startswith("that ") and ", so " in line:
        line = line.rpartition(", so ")[2]
    elif ": " in line and (result := _RESULT.search(line)) and any(c.isdigit() for c in line[: result.start()]):
        line = result.group(1)
    if not any(c.isdigit() for c in line):
        return spelled(line)
    kept = (
        _NOT.sub(" ", line)
        if "not" in line or "no longer" in line or "n't" in line or "than" in line or "instead" in line
        else line
    )
    line = kept if any(c.isdigit() for c in kept) else line
    if "(" in line and (kept := _ASIDE.sub(" ", line)) != line and any(c.isdigit() for c in kept):
        line = kept
    if "=" in line or "≈" in line:
        line = _after_equals(line.replace("≈", "="))
    value = arithmetic(line)
    if value is not None:
        return Number(canonical(value), value)
    mended = list(_MENDED.finditer(line))
    found = numbers(line[mended[-1].end() :] if mended else line)
    if not found:
        return spelled(line)
    if len(found) == 1 or mended:
        return found[0][2]
    line = line[mended[-1].end() :] if mended else line
    if _OPERATOR.match(line[found[0][1] : found[1][0]]):
        return found[-1][2]  # "3 + 4, which is 7"
    free = [n for start, _, n in found if not PREPOSITION.search(line[max(0, start - 40) : start]) or
            _AT_LEAST.search(line[max(0, start - 20) : start])]  # fmt: skip
    return free[0] if free else found[-1][2]


def _after_equals(line: str) -> str:
    """The side of an equation that is its result: the right one, or a lone number in front of what it is the sum of."""
    left, right = line.split("=", 1)[0], line.rsplit("=", 1)[1]
    if arithmetic(right) is not None and len(numbers(left)) == 1 and arithmetic(left) is None:
        return left
    return right if any(c.isdigit() for c in right) else line

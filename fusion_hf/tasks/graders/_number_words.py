"""Numbers in words and in Chinese numerals, and their exact values."""

import re
from fractions import Fraction

_CJK_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_CJK_UNITS = {"十": 10, "百": 100, "千": 1000}
_CJK_GROUPS = {"万": 10**4, "萬": 10**4, "만": 10**4, "亿": 10**8, "億": 10**8, "억": 10**8}
# Not the units of weight, length and power: "3千克" are three kilograms.
_CJK_MIXED = re.compile(
    r"\d[\d.]{0,20}[ ]?[百千万萬만亿億억](?![克米瓦卡分])(?:[\d.十百千万萬만亿億억]{0,20}[十百千万萬만亿億억\d])?"
)
_CJK = re.compile(f"(?:[负負]|マイナス)?[{''.join([*_CJK_DIGITS, *_CJK_UNITS, *_CJK_GROUPS])}]{{1,30}}")


def mixed_numerals(text: str) -> str:
    """The text with digits for numbers that mix digits and Chinese or Korean units, such as "3万5千"."""
    return _CJK_MIXED.sub(_in_digits, text)


def _in_digits(match: re.Match) -> str:
    value = _cjk_value(match.group())
    return str(value.numerator) if value.denominator == 1 else str(float(value))


def _cjk_value(text: str) -> Fraction:
    """The value of a number with Chinese numerals or units, such as "十二", "3万5千" or "二〇二〇"."""
    total = section = number = Fraction(0)
    for token in re.findall(r"\d+(?:\.\d+)?|[^\d. ]", text):
        if token in _CJK_UNITS:
            section, number = section + (number or 1) * _CJK_UNITS[token], Fraction(0)
        elif token in _CJK_GROUPS:
            group = section + number
            total = total + group * _CJK_GROUPS[token] if group else (total or 1) * _CJK_GROUPS[token]
            section = number = Fraction(0)
        elif token in _CJK_DIGITS:
            number = number * 10 + _CJK_DIGITS[token]
        else:
            number = Fraction(token)
    return total + section + number


_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4, "fifth": 5,
    "fifths": 5, "sixth": 6, "sixths": 6,
    "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_SCALES |= {f"{w}s": size for w, size in _SCALES.items()}
_WORD = re.compile(r"[a-z]{1,20}")


def word_value(text: str) -> Fraction | None:
    """The last number in words of a short text, such as "minus twenty-one", "two and a half" or "十二"; else None."""
    if not text.isascii() and (found := _CJK.findall(text[-2000:])):
        value = _cjk_value(found[-1].removeprefix("マイナス").lstrip("负負"))
        return -value if found[-1][0] in "负負マ" else value
    words = _WORD.findall(text[-2000:].lower())
    runs: list[list[str]] = []
    run: list[str] = []
    known = {*_ONES, *_TENS, *_SCALES, *_PARTS, "and", "a", "an", "minus", "negative"}
    for word in [*words, ""]:
        if word in known:
            run.append(word)
        else:
            runs.append(run)
            run = []
    for run in reversed(runs):
        value = _run_value(run)
        if value is not None:
            return value
    return None


def _run_value(run: list[str]) -> Fraction | None:
    while run and run[-1] in ("and", "a", "an", "minus", "negative"):
        run = run[:-1]
    while run and (run[0] == "and" or (run[0] in ("a", "an") and (len(run) == 1 or run[1] not in {*_SCALES, *_PARTS}))):
        run = run[1:]
    sign = -1 if run and run[0] in ("minus", "negative") else 1
    run = run[1:] if sign < 0 else run
    if not run or not any(w in _ONES or w in _TENS or w in _SCALES or w in _PARTS for w in run):
        return None
    total = part = Fraction(0)
    for word in run:
        if word in _ONES or word in _TENS:
            part += _ONES.get(word, _TENS.get(word, 0))
        elif word in ("hundred", "hundreds"):
            part = (part or 1) * 100
        elif word in _SCALES:
            total, part = total + (part or 1) * _SCALES[word], Fraction(0)
        elif word in _PARTS:
            share = Fraction(1, _PARTS[word])
            if "and" in run[: run.index(word)]:
                counted = run[run.index(word) - 1]
                times = _ONES.get(counted, 1)
                part += times * share - (times if counted in _ONES else 0)
            else:
                part = (part or 1) * share
    return sign * (total + part)

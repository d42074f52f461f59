"""Numbers as people and LLMs write them, and their exact values."""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from ._arithmetic import TEX_FRACTION
from ._number_words import mixed_numerals, word_value


class Number(NamedTuple):
    """A number that was read: its text (canonical where it is not plain), its value, and what else it may stand for."""

    text: str
    value: Fraction
    percent: bool = False
    unit: str = ""  # a word of magnitude that is part of the value, such as "million"
    mantissa: Fraction | None = None  # the value without that word


# Every repetition in these patterns has a bound: a response of one endless line must not take minutes.
_DIGITS = (
    r"\d{1,3}(?:,\d{3}){1,12}(?:\.\d{1,40})?(?!\d)"  # 1,234,567.89
    r"|\d{1,2}(?:,\d{2}){1,6},\d{3}(?!\d)"  # 12,34,567 as in India
    r"|\d{1,3}(?:[ ]\d{3}){1,8}(?:[.,]\d{1,40})?(?![\d-]|[ ]?[*/x^]|[ ]\d)"  # 1 234 567
    r"|\d{1,3}(?:'\d{3}){1,8}(?:\.\d{1,40})?(?!\d)"  # 1'234'567 as in Switzerland
    r"|\d{1,3}(?:\.\d{3}){2,8}(?:,\d{1,2})?(?!\d)"  # 1.234.567 as in Germany
    r"|\d{1,3}\.\d{3},\d{1,2}(?!\d|,)|\d{1,9},\d{1,2}(?![\d,.]|[ ]?[,)])"  # 1.234,56 and 1,5
    r"|\d{1,60}(?:\.\d{1,40})?|\.\d{1,40}"
)
_MAGNITUDES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "lakh": 10**5, "crore": 10**7, "k": 1000, "m": 10**6, "bn": 10**9, "mn": 10**6, "b": 10**9,
    "millionen": 10**6, "millones": 10**6, "millón": 10**6, "milhões": 10**6, "milhão": 10**6, "milioni": 10**6,
    "mio": 10**6, "milliarde": 10**9, "milliarden": 10**9, "milliard": 10**9, "mrd": 10**9, "tausend": 1000,
    "тысяч": 1000, "тысячи": 1000, "тыс": 1000, "миллион": 10**6, "миллиона": 10**6, "миллионов": 10**6, "млн": 10**6,
    "млрд": 10**9,
}  # fmt: skip
_LONG_UNITS = "|".join(sorted((word for word in _MAGNITUDES if len(word) > 2), key=len, reverse=True))
_VALUE = re.compile(
    rf"(?P<sign>(?<![\w.)])(?<![\d)]\s)-\s|(?<![\w.)])-|(?<![\d)]\s)(?<![\w)])\b(?:negative|minus)\s{{1,3}})?[$£€]?"
    rf"(?:(?P<whole>\d{{1,40}})[ ]?{TEX_FRACTION}|{TEX_FRACTION}"
    r"|(?P<mixed>\d{1,40})(?:[ ]|[ ]?(?:and|&)[ ])(?P<up>\d{1,40})/(?P<down>\d{1,40})(?![\d/])"
    r"|(?P<halved>\d{1,15})[ ](?:and[ ])a[ ]half\b"
    rf"|(?P<digits>{_DIGITS})(?P<clock>(?<![\d.,]\d\d):[0-5]\d(?![\d:]))?(?:[ ]?/[ ]?(?P<over>\d{{1,40}})(?![\d/.]))?)"
    r"(?P<power>[eE][+-]?\d{1,3}(?!\w)|[ ]?(?:\*|x|X|\\times|\\cdot)[ ]?10(?:\^|\*\*)\{?\(?[+-]?\d{1,3}\)?\}?"
    r"|(?:\^|\*\*)\{?\(?[+-]?\d{1,3}\)?\}?)?"
    rf"(?:[ ]?(?=[HTMBDLCKТМhtmbdlckтм])(?P<unit>(?i:{_LONG_UNITS})|k|K|M|bn|mn|m|b|B)s?\b(?![-'/]))?"
    r"(?P<percent>\s?\\?%|[ ]per[ ]?cent\b)?"
)
_COMMA_DECIMALS = re.compile(r",(?!\d{3}(?!\d))\d{1,40}$")
_PLAIN = re.compile(r"\s*-?\d{1,15}\s*")
_BELOW = re.compile(r"\s?(?:°|degrees?)?\s?(?:[CF]\b|celsius|fahrenheit)?\s?below (?:zero|0)\b", re.I)
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_VULGAR = re.compile("(?<=[0-9])(?=[¼½¾⅐-⅞])")
_MINUS = re.compile(r"[−‐‑‒–－﹣➖](?=\s?[\d.$£€½¼¾\\])|—(?=[\d.$£€½¼¾\\])|(?:负|負|マイナス|마이너스\s?)(?=[\d$£€¥])")
_CLEAN = re.compile(
    r"\\[$!,;: ]|\{,\}|(?<=\d)[~_](?=\d{3})|\\(?:text|mathrm|textbf|mathbf)\s?(?=\{)|[{}](?=\s?[a-zA-Z-])"
    r"|(?<=[a-zA-Z-])\}"
)


def ascii_numbers(text: str) -> str:
    """Unicode minus signs, blanks, fractions, superscripts and full-width digits as ASCII writes them."""
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m.group()).replace("−", "-"), text)
    text = unicodedata.normalize("NFKC", _VULGAR.sub(" ", _MINUS.sub("-", text)))
    text = mixed_numerals(text)
    return (
        text.replace("⁄", "/")
        .replace("×", "*")
        .replace("·", "*")
        .replace("⋅", "*")
        .replace("’", "'")
        .replace("٬", ",")
        .replace("٫", ".")
    )


def plain_tex(text: str) -> str:
    r"""Without LaTeX spacing and escaped dollars, so that ``\$1{,}000`` reads as a number."""
    return _CLEAN.sub("", text) if "\\" in text or "{" in text or "~" in text or "_" in text else text


def numbers(text: str) -> list[tuple[int, int, Number]]:
    """(start, end, number) of every number in a text; the text is one of `ascii_numbers`."""
    found = [(m.start(), m.end(), number) for m in _VALUE.finditer(text) if (number := _number(m)) is not None]
    if "below" not in text:
        return found
    return [
        (start, end, Number(canonical(-number.value), -number.value) if _BELOW.match(text, end) else number)
        for start, end, number in found
    ]


def _number(match: re.Match) -> Number | None:
    try:
        value, plain = _base(match)
    except (ValueError, ZeroDivisionError):
        return None
    written = match.group().strip()
    mantissa, unit = value, match["unit"] or ""
    # "$5m" are five million, but "5 m" are metres.
    unit = "" if unit in ("m", "b", "B") and not any(sign in written for sign in "$£€") else unit.lower()
    if unit:
        value *= _MAGNITUDES[unit]
    if match["sign"]:
        value, mantissa = -value, -mantissa
    if plain and not unit:
        written = written.removesuffix(":00")
        text = written.rstrip("%\\ ").removesuffix(" percent").removesuffix(" per cent")
        text = re.sub(r"[$£€]|(?<=\d)[ '](?=\d{3})", "", re.sub(r"^(?:negative|minus|-)\s*", "-", text))
    else:
        text = canonical(value)
    return Number(text, value, bool(match["percent"]), unit, mantissa if unit else None)


def _base(match: re.Match) -> tuple[Fraction, bool]:
    """Value of a match without sign and magnitude, and whether it is written plainly."""
    power = match["power"]
    groups = match.groups()
    if match["whole"]:
        whole, up, down = groups[1:4]
        return _powered(int(whole) + Fraction(int(up), int(down)), power), False
    if groups[4] is not None:
        return _powered(Fraction(int(groups[4]), int(groups[5])), power), False
    if match["mixed"]:
        return int(match["mixed"]) + Fraction(int(match["up"]), int(match["down"])), False
    if match["halved"]:
        return int(match["halved"]) + Fraction(1, 2), False
    value = Fraction(_in_english(match["digits"]))
    if match["clock"]:  # a time of day: ten past two is not two
        value += Fraction(int(match["clock"][1:]), 60)
    if match["over"]:
        value /= int(match["over"])
    return _powered(value, power), not power


def _in_english(digits: str) -> str:
    """Digits without what parts thousands, with a point before decimals."""
    if "," in digits and _COMMA_DECIMALS.search(digits):
        whole, _, decimals = digits.rpartition(",")
        return re.sub(r"[., ']", "", whole) + "." + decimals
    return re.sub(r"[, ']", "", digits.replace(".", "") if digits.count(".") > 1 else digits)


def _powered(value: Fraction, power: str | None) -> Fraction:
    if not power:
        return value
    exponent = int(re.search(r"[+-]?\d{1,3}(?=\D{0,3}$)", power).group())
    if power[0] in "eE" or re.search(r"10(?:\^|\*\*)", power):
        if abs(exponent) > 100:
            raise ValueError
        return value * Fraction(10) ** exponent
    if abs(exponent) > 100 or abs(value) > 10**9:
        raise ValueError
    return value**exponent


def canonical(value: Fraction) -> str:
    """An integer or a finite decimal as such, else a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 13):
        if (value * 10**places).denominator == 1:
            return f"{float(value):.{places}f}"
    return str(value)


@lru_cache(maxsize=65536)
def as_number(text: str) -> Fraction | None:
    """Exact value of an integer, decimal or plain fraction, thousands commas or not; None for anything else."""
    text = text.strip().replace(",", "").rstrip(".")
    try:
        return Fraction(text.replace(" ", "")) if text and len(text) < 60 and "e" not in text.lower() else None
    except (ValueError, ZeroDivisionError):
        return None


@lru_cache(maxsize=65536)
def read_reference(text: str) -> Number | None:
    """The number that a reference answer is."""
    plain = text.split("####")[-1].strip()
    value = as_number(plain)
    if value is not None and _PLAIN.fullmatch(plain):
        return Number(plain, value)
    found = numbers(plain_tex(ascii_numbers(plain)))
    return found[0][2] if found else spelled(plain)


def spelled(text: str) -> Number | None:
    """The last number in words of a short text; see `word_value`."""
    value = word_value(text)
    return None if value is None else Number(canonical(value), value)

r"""One form for the many ways in which the same LaTeX expression is written, before algebra compares two of them."""

import re
import unicodedata
from fractions import Fraction

from ._numbers import as_number

_SIGNS = {
    "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "－": "-", "×": "\\times ", "·": "\\cdot ",
    "⋅": "\\cdot ",
    "∙": "\\cdot ", "÷": "/", "⁄": "/", "∞": "\\infty ", "π": "\\pi ", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ",
    "φ": "\\phi ", "λ": "\\lambda ", "ω": "\\omega ", "γ": "\\gamma ", "≤": "\\leq ", "⩽": "\\leq ", "≥": "\\geq ",
    "⩾": "\\geq ", "≠": "\\neq ", "±": "\\pm ", "∓": "\\mp ", "°": "^\\circ ", "∪": "\\cup ", "∩": "\\cap ",
    "∈": "\\in ", "∶": ":", "∠": "\\angle ", "△": "\\triangle ", "√": "\\sqrt ",
    "∅": "\\emptyset ", "→": "\\to ", "≈": "\\approx ", "′": "'", "½": "\\frac{1}{2}", "⅓": "\\frac{1}{3}",
    "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅕": "\\frac{1}{5}", "⅖": "\\frac{2}{5}",
    "⅗": "\\frac{3}{5}", "⅘": "\\frac{4}{5}", "⅙": "\\frac{1}{6}", "⅚": "\\frac{5}{6}", "⅛": "\\frac{1}{8}",
    "⅜": "\\frac{3}{8}", "⅝": "\\frac{5}{8}", "⅞": "\\frac{7}{8}", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}",
}  # fmt: skip
_TABLE = str.maketrans(_SIGNS)
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ROOT = re.compile(r"(√|∛|∜)\s?(?:\(([^()]{1,100})\)|\{([^{}]{1,100})\}|(\d{1,40}(?:\.\d{1,40})?|[a-zA-Z]))")
_ORDER = {"√": "", "∛": "[3]", "∜": "[4]"}
_SPACING = re.compile(
    r"\\[!,;:]|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle|\\limits|\\(?:big|Big|bigg"
    r"|Bigg)[lr]?(?![a-z])|~"
)
_BLANK = re.compile(r"(?<!\\)\\[ ]")
_FRACTIONS = re.compile(r"\\[dtc]frac")
_PLAIN_ROOT = re.compile(r"\\?sqrt\s?(\[\d\])?\(([^()]{1,200})\)|(?<![\\a-zA-Z])sqrt\s?\{?(\d{1,40}|[a-z])\}?")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,|[ ])(?=\d{3}(?!\d))")
_GROUPED = re.compile(r"-?\$?\d{1,3}(?:(?:\{,\}|,|[ ])\d{3}){1,8}(?:\.\d{1,40})?")
_LAKHS = re.compile(r"-?\d{1,2}(?:,\d{2}){1,6},\d{3}")
_SCIENTIFIC = re.compile(r"(-?\d{1,9}(?:\.\d{1,20})?)[eE]\+?(-?\d{1,3})")
_REPEATING = re.compile(
    r"(\d{0,30})\.(\d{0,30})(?:\\overline|\\bar|\\dot)\s?\{?(\d{1,30})\}?(?!\s?\\dot)|(\d{0,30})\.(\d{0,30})\((\d{1,30})\)"
    r"|(\d{0,30})\.(\d{0,20}?)(\d{1,10}?)\9{2,20}(?:\.\.\.|\\ldots|\\dots|…)"
)
_DOTTED = re.compile(r"(?<=[\d.])\\dot\s?\{?\d\}?\d{0,20}\\dot\s?\{?\d\}?")  # from dot to dot it repeats
_TRIG = re.compile(
    r"(\\?(?:sin|cos|tan|cot|sec"
    r"|csc)\s?(?:\^\{?-?\d\}?\s?)?)([({]?)\s?(-?\d{1,10}(?:\.\d{1,10})?)\s?(?:\^\s?\{\s?\\circ\s?\}|\^\s?\\circ(?![a-z])|\\degree"
    r"|degrees?\b)\s?([)}]?)"
)
_ANGLE = re.compile(r"(-?\d{1,10}(?:\.\d{1,10})?)\s?(?:\^\{?\s?\\circ\s?\}?|\\degree|degrees?\b)")
_DEGREES = re.compile(
    r"\^\s?\{?\s?\\circ\s?\}?(?:\s?(?:\\text\{\s?)?[CF]\}?$)?|\\degree|\s?\\?(?:text\{)?\s?degrees?\b\}?"
)
_UNIT_WORDS = (
    "cm|mm|km|m|ft|in|yd|mi|kg|mg|g|lbs?|oz|s|sec|min|hrs?|h|ml|l|mph|km/h|m/s|inch(?:es)?|feet|foot|yards?|miles?"
    "|met(?:er|re)s?"
    "|centimet(?:er|re)s?|kilomet(?:er|re)s?|grams?|kilograms?|pounds?|ounces?|seconds?|minutes?|hours?|days?|weeks?"
    "|months?|years?"
    "|dollars?|cents?|euros?|units?|square|sq|cubic|cu|liters?|litres?|gallons?|people|ways|students?|sides?|points?"
    "|degrees?|per|radians?|rad|celsius|fahrenheit|usd|USD|eur|EUR|percent"
)
_UNITS = re.compile(
    rf"(?:(?<=[\d}})])|(?<=\\pi))(?:\s{{1,3}}|\\ )(?:(?:{_UNIT_WORDS})\.?(?:\s?\^\s?\{{?\d\}}?)?(?:[\s/]{{1,3}}"
    rf"|$)){{1,4}}$"
)
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textit|textrm|operatorname)\s{0,3}\{([^{}]{0,300})\}")
_NUMBER_AND_UNIT = re.compile(r"(-?\d[\d.,]{0,40})\s[a-zA-Z]{2,20}(?:\s[a-zA-Z]{2,20})?\.?")
_TEXT_UNIT = re.compile(
    r"(?<=[\d})])\s{0,3}(?:\\(?:text|mbox|mathrm|textrm)\s{0,3}\{[^{}]{0,100}\}(?:\s?\^\s?\{?\d\}?)?"
    r"|\\frac\s?\{\\(?:text|mathrm)\s?\{[^{}]{1,50}\}\}\s?\{\\(?:text|mathrm)\s?\{[^{}]{1,50}\}\}(?:\^\{?\d\}?)?)\s*$"
)
_MIXED = re.compile(r"(?<![\w.}^_\\/])(-?)(\d{1,20})\s?\\frac\s?\{?(\d{1,20}?)\}?\s?\{?(\d{1,20})\}?(?![\d^])")
_MIXED_PLAIN = re.compile(r"(?<![\w.}^_\\/])(-?)(\d{1,20})\s{1,3}(\d{1,20})/(\d{1,20})(?![\d/^])")
_AND = re.compile(r"(?<=\d)\s?(?:\\text\s?\{\s?and\s?\}|\band\b)\s?(?=\\frac|\d{1,20}/\d)")
_BASE = re.compile(
    r"\(?(?P<digits>-?[0-9A-Fa-f]{1,60})\)?\s?(?:_\s?\{?\s?(?:\\text\s?\{)?\s?(?:base\s?)?(?P<base>\d{1,2}"
    r"|[a-z]{3,8})\s?\}?\}?|(?:\\text\s?\{)?\s{0,3}\(?(?:in )?base[ -]{0,3}(?P<word>\d{1,2}|[a-z]{3,8})\)?\s?\}?)"
)
_HEXADECIMAL = re.compile(r"^0x([0-9A-Fa-f]{1,60})$")
_BINARY = re.compile(r"^0b([01]{1,60})$")
_NAMES = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "sixteen": 16,
}
_MEMBER = re.compile(
    r"^(?:[a-zA-Z]|\\(?:theta|alpha|beta|lambda|phi))(?:_\d)?\s?(?:\\in(?![a-z])|\\isin)\s{0,3}(?=[\[({\\])"
)
_LESS, _LESS_EQUAL = r"(?:<|\\lt(?![a-z]))", r"(?:\\leq?(?:slant)?(?![a-z])|<=)"
_MORE, _MORE_EQUAL = r"(?:>|\\gt(?![a-z]))", r"(?:\\geq?(?:slant)?(?![a-z])|>=)"
_RELATION = re.compile(rf"{_LESS_EQUAL}|{_MORE_EQUAL}|{_LESS}|{_MORE}")
_NAME = re.compile(r"[a-zA-Z]")
_UNKNOWN = re.compile(r"[a-zA-Z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|varphi|omega|epsilon)")
_COMMAND = re.compile(r"\\[a-zA-Z]{1,20}")
_SET_OF = re.compile(
    r"\\\{\s?[a-zA-Z]\s?(?:\\in\s?(?:\\mathbb\{R\}|\\R)\s?)?(?::|\||\\mid(?![a-z])|\\vert(?![a-z])|,)\s?(.{1,300})\\\}"
)
_SIZE = re.compile(r"^\|([a-z])\|\s?(?=(?:<|\\leq?)\s?(\d{1,9})$)(<|\\leq?)\s?\d{1,9}$")
_OUTSIDE = re.compile(r"^\|([a-z])\|\s?(?:>|\\gt)\s?(\d{1,9})$")
_UNLIKE = re.compile(r"^([a-z])\s?(?:\\neq?(?![a-z])|\\not=)\s?(-?[^=<>,]{1,40})$")
_ANY = re.compile(r"\s?(?:\\text\{\s?or\s?\}|\bor\b|\\cup|\\vee|\\lor)\s?")
_ALL = re.compile(r"\s?(?:\\text\{\s?and\s?\}|\band\b|\\cap|\\wedge|\\land|[,;])\s?")
_AND_WORD = re.compile(r"and|\\cap|wedge|\\land")
_ABSOLUTE = re.compile(r"\s?\|[a-z]\|")
_JOINT = re.compile(rf"{_ANY.pattern}|{_ALL.pattern}")
_COMMANDS = re.compile(
    r"\\(?:cup|cap|vee|wedge|lor|land|infty|leq?(?:slant)?|geq?(?:slant)?|lt|gt|frac|sqrt|pi)(?![a-z])|\b(?:or|and)\b"
)
_OUTWARD = re.compile(r"([\[\]])([^\[\](),;]{1,100}[,;][^\[\](),;]{1,100})([\[\]])")


def normal(text: str, other: str = "") -> str:
    """The expression in one form; units are kept where the `other` side has letters of its own in their place."""
    text = _ascii(text) if not text.isascii() else text
    text = text.strip().strip("$").strip()
    text = text if text.endswith("..") else text.rstrip(".").strip()
    text = _BLANK.sub(" ", text).strip("€£¥ ")
    text = (
        _FRACTIONS.sub(r"\\frac", _SPACING.sub("", text))
        .replace("\\$", "")
        .replace("\\lbrace", "\\{")
        .replace("\\rbrace", "\\}")
    )
    text = text.replace("\\%", "%").strip()
    text = _PLAIN_ROOT.sub(lambda m: f"\\sqrt{m[1] or ''}{{{m[2] or m[3]}}}", text)
    text = _DOTTED.sub(lambda m: "\\overline{" + re.sub(r"\\dot|[{}\s]", "", m.group()) + "}", text)
    text = _REPEATING.sub(_repeated, text)
    text = _TRIG.sub(_in_radians, text)
    if "\\pi" in other and "\\pi" not in text:
        text = _ANGLE.sub(r"\\frac{\1\\pi}{180}", text)
    text = _DEGREES.sub("", text)
    text = _TEXT_UNIT.sub("", text).strip()
    if not _NAME.search(_COMMAND.sub("", _TEXT.sub("", other))) or "^" in other or _UNITS.search(other):
        text = _UNITS.sub("", text).strip()
    number_in_text = _TEXT.fullmatch(text) and _NUMBER_AND_UNIT.fullmatch(_TEXT.fullmatch(text)[1].strip())
    if number_in_text and not _NAME.search(other):
        text = number_in_text[1]
    if _TEXT.fullmatch(text) is None:
        text = _TEXT.sub(r"\1", text) if not re.search(r"\\text\{\s?(?:and|or)\s?\}", text) else text
    text = _MEMBER.sub("", text)
    if _SCIENTIFIC.fullmatch(text):
        text = _SCIENTIFIC.sub(r"\1 \\cdot 10^{\2}", text)
    if _LAKHS.fullmatch(text) and "," not in other:
        text = text.replace(",", "")
    if _GROUPED.fullmatch(text):
        text = _THOUSANDS.sub("", text).lstrip("$")
    text = _MIXED.sub(_mixed, _AND.sub(" ", text) if "and" in text else text)
    text = _MIXED_PLAIN.sub(_mixed, text)
    if text.endswith("%"):
        text = text if share_only(other) else text[:-1].rstrip()
    return text


def share_only(other: str) -> bool:
    """Whether the other side is a plain share (0.5, 1/2), to which a percentage is compared by value."""
    value = other.strip().strip("$")
    return bool(re.fullmatch(r"-?0?\.\d+|-?\\[dt]?frac\{?\d+\}?\{?\d+\}?|-?\d+/\d+", value))


def share(text: str) -> str | None:
    """A percentage as a share; other text as it is."""
    if not text.endswith("%"):
        return text
    return f"\\frac{{{text[:-1].strip()}}}{{100}}"


def _ascii(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda m: "^{" + unicodedata.normalize("NFKC", m.group()).replace("−", "-") + "}", text)
    text = _SUBSCRIPT.sub(lambda m: "_{" + unicodedata.normalize("NFKC", m.group()) + "}", text)
    text = _ROOT.sub(lambda m: f"\\sqrt{_ORDER[m[1]]}{{{m[2] or m[3] or m[4]}}}", text)
    text = text.translate(_TABLE)
    return unicodedata.normalize("NFKC", text).translate(_TABLE).replace("\u200b", "").replace("\ufeff", "")


def _in_radians(match: re.Match) -> str:
    name, opened, degrees, closed = match.groups()
    after = closed if not opened else ""  # a bracket that closes something around it
    return f"{name}{opened or '('}\\frac{{{degrees}\\pi}}{{180}}{(closed or ')') if opened else ')'}{after}"


def _repeated(match: re.Match) -> str:
    groups = [g for g in match.groups() if g is not None]
    whole, first, period = groups[:3]
    value = Fraction(int(whole + first or 0) if whole + first else 0, 10 ** len(first))
    value += Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(first))
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _mixed(match: re.Match) -> str:
    sign, whole, up, down = match.groups()
    if int(up) >= int(down):
        return match.group()
    return f"{sign}\\frac{{{int(whole) * int(down) + int(up)}}}{{{int(down)}}}"


def in_base(left: str, right: str) -> bool | None:
    """The verdict where a side is a number in a stated base: equal digits, and equal bases if both are named."""
    left, right = (_BINARY.sub(r"\1_2", _HEXADECIMAL.sub(r"\1_{16}", _TEXT.sub(r"\1", text))) for text in (left, right))
    left, right = (re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text) for text in (left, right))
    if "_" in left and left.count("=") == 1:  # "110_2 = 6" says both, where both are the same number
        parts = [part.strip() for part in left.split("=")]
        values = [_based_value(part) for part in parts]
        return None if None in values or values[0] != values[1] else any(in_base(p, right) or p == right for p in parts)
    sides = [_BASE.fullmatch(text.strip()) for text in (left, right)]
    if not any(sides):
        return None
    digits, bases = [], []
    for text, side in zip((left, right), sides, strict=True):
        digits.append((side["digits"] if side else "".join(text.split())).lower())
        named = (side["base"] or side["word"]) if side else None
        bases.append(_NAMES.get(named, named and int(named) if named and named.isdigit() else _NAMES.get(named)))
    if not all(re.fullmatch(r"-?[0-9a-f]{1,60}", d) for d in digits):
        return None
    return digits[0] == digits[1] and (None in bases or bases[0] == bases[1])


def _based_value(text: str) -> int | None:
    """The value of an integer in a stated base, or in base 10."""
    based = _BASE.fullmatch(text)
    name = (based["base"] or based["word"]) if based else "10"
    base = _NAMES.get(name) or (int(name) if name.isdigit() else 0)
    try:
        return int(based["digits"] if based else text, base) if 2 <= base <= 36 else None
    except ValueError:
        return None


def as_interval(text: str, other: str) -> str:
    """An inequality in one unknown as the interval that it says, where the other side is an interval; else as it is."""
    inside = _SET_OF.fullmatch(text)
    if inside and _RELATION.search(other):
        return inside[1].strip()
    both = (
        any(_JOINT.search(t) or _ABSOLUTE.match(t) for t in (text, other))
        and _RELATION.search(text)
        and _RELATION.search(other)
    )
    if both and set(_UNKNOWN.findall(_plain_names(text))) != set(_UNKNOWN.findall(_plain_names(other))):
        return text
    if not both and (not re.match(r"\s?[(\[\]]", other) or "," not in other):
        return text
    if text in ("\\mathbb{R}", "\\R"):
        return "(-\\infty,\\infty)"
    outward = _OUTWARD.fullmatch(text)
    if outward:  # ]0,1[ as in France
        return f"{'(' if outward[1] == ']' else '['}{outward[2]}{')' if outward[3] == '[' else ']'}"
    text = _SIZE.sub(r"-\2\3\1\3\2", inside[1].strip() if inside else text)
    text = _OUTSIDE.sub(r"\1<-\2\\cup \1>\2", text) if "|" in text else text
    text = _UNLIKE.sub(r"\1<\2\\cup \1>\2", text)
    if not _RELATION.search(text):
        return text
    found = [
        _intersection([_one_interval(p.strip()) for p in _ALL.split(part)], _AND_WORD.search(part) is None)
        for part in _ANY.split(text)
    ]
    return "\\cup".join(found) if all(found) else text


def _plain_names(text: str) -> str:
    return _COMMANDS.sub(" ", _TEXT.sub(" ", text))


def _intersection(parts: list[str | None], listed: bool) -> str | None:
    """The interval that all of these share: one, or a half-line to the right and one to the left.

    Two half-lines that are only listed and share nothing ("x<2, x>5") are meant as their union.
    """
    if len(parts) == 1 or None in parts:
        return parts[0] if len(parts) == 1 else None
    right = [p for p in parts if p.endswith(",\\infty)")]
    left = [p for p in parts if p.startswith("(-\\infty,")]
    if len(parts) != 2 or len(right) != 1 or len(left) != 1 or right == left:
        return None
    low, high = right[0].removesuffix("\\infty)"), left[0].removeprefix("(-\\infty,")
    ends = as_number(low[1:-1]), as_number(high[:-1])
    if None in ends or ends[0] <= ends[1]:
        return low + high
    return f"{left[0]}\\cup{right[0]}" if listed else None


def _one_interval(text: str) -> str | None:
    signs = [
        ("=" in m.group() or "e" in m.group(), m.group()[:2] in (">", ">=") or "g" in m.group())
        for m in _RELATION.finditer(text)
    ]
    sides = [side.strip() for side in _RELATION.split(text)]
    if len(signs) == 1:
        (closed, more), (left, right) = signs[0], sides
        if not _UNKNOWN.fullmatch(left):
            left, right, more = right, left, not more
        if not _UNKNOWN.fullmatch(left):
            return None
        return f"{'[' if closed else '('}{right},\\infty)" if more else f"(-\\infty,{right}{']' if closed else ')'}"
    if len(signs) == 2 and signs[0][1] == signs[1][1] and _UNKNOWN.fullmatch(sides[1]):
        low, high = (0, 2) if not signs[0][1] else (2, 0)
        first, last = (signs[0], signs[1]) if low == 0 else (signs[1], signs[0])
        return f"{'[' if first[0] else '('}{sides[low]},{sides[high]}{']' if last[0] else ')'}"
    return None

"""Whether a text stands in another as whole words, whatever the case, accents, marks, articles and scripts."""

import html
import re
import string
import unicodedata
from functools import lru_cache
from typing import NamedTuple

_ARTICLES = frozenset(("a", "an", "the"))
# Each begins with the character that it looks for, so that the search can jump there.
_DECIMAL = re.compile(r"\.(?<=\d\.)(?=\d)")
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}\b)")
_SIGN = re.compile(r"[-−–](?<![\w)].)(?=[$£€]?\.?\d)", re.S)
# These stand for a decimal point and a minus sign, and are no marks: 19.81 never becomes 1981.
_POINT, _MINUS = "\x01", "\x02"
_MINUS_WORD = re.compile(r"\b(?:minus|negative) (?=\d)")
# "C++" and "C#" are not "C"; "rock 'n' roll" and "Tom + Jerry" are joined as by "and".
_PLUS = re.compile(r"\+\+(?<=[a-z]\+\+)(?<![a-z0-9][a-z]\+\+)(?![\w+#])")
_SHARP = re.compile(r"#(?<=[a-z]#)(?<![a-z0-9][a-z]#)(?![\w+#])")
_AND = re.compile(
    r"['’]n(?<=[a-z ]['’]n)(?:['’] ?| )(?=[a-z])"
    r"|n (?<=[a-z] n )(?=[a-z])|n['’] (?<=[a-z] n['’] )(?=[a-z])|\+ (?<=[a-z] \+ )(?=[a-z])"
)
_ASCII_MARKS = string.punctuation.encode()
_ASCII_BLANKS = bytes.maketrans(_ASCII_MARKS, b" " * len(_ASCII_MARKS))
_UNITS = (
    "km|cm|mm|nm|m|kg|mg|g|lbs?|oz|ft|mph|kph|kmh|hz|khz|mhz|ghz|kw|mw|gw|w|v|kb|mb|gb|tb|ml|l|k|c|f|bn|mn|million"
    "|billion"
    "|percent|degrees?|hours?|minutes?|days?|years?|dollars?|euros?|pounds?|miles?|feet|meters?|metres?|inch(?:es)?"
)
_GLUED = re.compile(rf"([0-9])(?=(?:{_UNITS})\b)")
# Letters that are no letter with an accent to Unicode, but are written as one where they are lacking.
_STROKES = str.maketrans({
    "ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ŋ": "n",
    "ƶ": "z", "ɨ": "i", "ɓ": "b", "ɗ": "d", "ƙ": "k", "ⱥ": "a", "ɇ": "e", "ŀ": "l", "ĸ": "k", "ǥ": "g",
    "ɉ": "j", "ɍ": "r", "ɏ": "y", "ƀ": "b",
    "’": "'", "‘": "'", "ʻ": "'", "ʼ": "'",
})  # fmt: skip
_PAIRS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "đ": "dj", "ø": "oe"}
_TWO_LETTERS = re.compile("[äöüåđøÄÖÜÅĐØ]")
# Accents of Latin, Greek and Cyrillic, Hebrew points and Arabic vowels; marks of other scripts are letters of theirs.
_ACCENT = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670]")
# Scripts that are written without blanks between words, or (Korean) with endings glued to them: each sign is a word.
_UNSPACED = re.compile(
    "([\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\u0e00-\u0e7f\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff])"
)


class Forms(NamedTuple):
    """A response as it was, and its words without marks, and with a blank for each mark; blanks around."""

    text: str
    joined: str
    parted: str


def response_forms(text: str) -> Forms:
    """The forms in which reference answers are looked for."""
    return Forms(text, *_forms(text.replace("%", " percent") if "%" in text else text))


def reference_stands(reference: str, forms: Forms) -> bool:
    """Whether a reference answer stands in a response as whole words.

    Articles do not count, but the letter A does ("Hepatitis A"); "U.S." is both "us" and "u s"; "&" is "and", and
    "5km" is "5 km"; the sign of a number counts.
    """
    wanted = _reference(reference)
    if wanted.letter is not None:
        text = forms.text if forms.text.isascii() else _folded(forms.text, lower=False)
        return wanted.letter.search(text.replace("&", " and ")) is not None
    if wanted.joined == "  ":
        return reference.strip().lower() == forms.text.strip().rstrip(".").lower()
    if wanted.joined in forms.joined or (wanted.parted != "  " and wanted.parted in forms.parted):
        return True
    if wanted.number and _GLUED.search(forms.parted) and wanted.parted in _GLUED.sub(r"\1 ", forms.parted):
        return True
    if wanted.spelled is not None and wanted.spelled in forms.joined:
        return True
    return (
        not forms.text.isascii()
        and _TWO_LETTERS.search(forms.text) is not None
        and reference_stands(reference, response_forms(_spelled(forms.text)))
    )


class _Reference(NamedTuple):
    joined: str
    parted: str
    letter: re.Pattern | None  # how it is looked for where the letter A is part of it
    number: bool
    spelled: str | None  # with two letters for one ("Mueller"), where it has such letters


@lru_cache(maxsize=65536)
def _reference(reference: str) -> _Reference:
    joined, parted = _forms(reference)
    number = any(c.isdigit() for c in reference)
    if number:
        parted = _GLUED.sub(r"\1 ", parted)
    spelled = _forms(_spelled(reference))[0] if _TWO_LETTERS.search(reference) else None
    return _Reference(joined, parted, _letter_pattern(reference), number, spelled)


def _spelled(text: str) -> str:
    """With the two letters that are written for one where it is lacking: "ue" for "ü", "dj" for "đ"."""
    return _TWO_LETTERS.sub(lambda m: _PAIRS[m.group().lower()], unicodedata.normalize("NFC", text))


def _letter_pattern(reference: str) -> re.Pattern | None:
    """A pattern for a reference answer with the letter "A": alone, at its end, a capital within it, before a key."""
    words = re.findall(r"\w+", _folded(reference, lower=False).replace("&", " and "))
    if not words or len(words) > 12 or "+" in reference or "a" not in [w.lower() for w in words]:
        return None
    last = len(words) - 1
    names = [i for i, w in enumerate(words) if _is_letter(words, i, last)]
    if not names:
        return None
    parts = []
    for i, word in enumerate(words):
        if i in names:
            # A small one must end its phrase, or else it is an article.
            small = r"|a(?=\W*$|[\s\"'*)\]]{0,4}[.,;:!?)\n])" if i == last else "|a"
            capital = r"A(?![\s]+(?!is\b|was\b|and\b|or\b|are\b)[a-z])" if last == 0 else "A"
            parts.append(f"(?:{capital}{small})")
        elif word.lower() not in _ARTICLES:
            parts.append(f"(?i:{re.escape(word)})")
    return re.compile(
        r"(?<![^\W\u2e80-\uffff])" + r"(?:\W{1,3}(?:(?i:the|an)\W{1,3})?)".join(parts) + r"(?![^\W\u2e80-\uffff]|[+#])"
    )


def _is_letter(words: list[str], i: int, last: int) -> bool:
    word = words[i]
    if word not in ("A", "a"):
        return False
    if i == last:
        return True
    if i == 0:
        return word == "A" and words[1].lower() in (
            "minor",
            "major",
            "flat",
            "sharp",
            "levels",
            "level",
            "team",
            "side",
        )
    return word == "A" and any(w[:1].islower() for w in words[1:] if w != "A" and w.lower() not in _ARTICLES)


def _forms(text: str) -> tuple[str, str]:
    """The words of a text without its marks, and with a blank for each mark; single blanks, also around."""
    if "&" in text and ";" in text:
        text = html.unescape(text)
    if text.isascii():
        text = _numbers(_signs(text.lower()))
        plain = text.encode()
        return _words(plain.translate(None, _ASCII_MARKS).decode()), _words(plain.translate(_ASCII_BLANKS).decode())
    text = _numbers(_signs(_folded(text)))
    joined = "".join(c for c in text if not _is_mark(c))
    parted = "".join(" " if _is_mark(c) else c for c in text)
    return _words(_UNSPACED.sub(r" \1 ", joined)), _words(_UNSPACED.sub(r" \1 ", parted))


def _signs(text: str) -> str:
    """Signs that stand for words, and words that stand for a sign; the text is in lower case."""
    if "&" in text:
        text = text.replace("&", " and ")
    if "++" in text:
        text = _PLUS.sub("plusplus", text)
    if "#" in text:
        text = _SHARP.sub("sharp", text)
    if "'n" in text or " + " in text or " n" in text:
        text = _AND.sub(" and ", text)
    return _MINUS_WORD.sub("-", text) if "minus" in text or "negative" in text else text


def _folded(text: str, lower: bool = True) -> str:
    """Without accents and strokes, in compatible characters, and in lower case."""
    parts = _ACCENT.sub("", unicodedata.normalize("NFKD", text))
    parts = unicodedata.normalize("NFC", parts)
    return parts.casefold().translate(_STROKES) if lower else parts.translate(_STROKES).translate(_CAPITALS)


_CAPITALS = str.maketrans({"Ł": "L", "Ø": "O", "Đ": "D", "Ħ": "H", "Æ": "AE", "Œ": "OE", "Þ": "TH", "Ð": "D"})


def _is_mark(char: str) -> bool:
    if char in (_POINT, _MINUS) or char.isalnum() or char.isspace():
        return False
    return unicodedata.category(char)[0] in "PSC"


def _numbers(text: str) -> str:
    """Without thousands commas, and with decimal points and signs as word characters."""
    if "," in text:
        text = _THOUSANDS.sub("", text)
    if "-" in text or not text.isascii():
        text = _SIGN.sub(_MINUS, text)
    return _DECIMAL.sub(_POINT, text) if "." in text else text


def _words(text: str) -> str:
    text = f" {' '.join(text.split())} "
    for article in (" the ", " a ", " an "):
        while article in text:
            text = text.replace(article, " ")
    return text if text != " " else "  "

"""Cover exact match: a gold answer stands in the response (SQuAD's normal form, Rajpurkar et al., 2016)."""

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from ._grade import Grade, last_boxed, paper_normal

_ARTICLES = frozenset(("a", "an", "the"))
_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_POINT = "\ue000"  # stands for a decimal point: a word character here, so that 19.81 never becomes 1981
_MARKS = re.compile(rf"[^\w\s{_POINT}]|_")
_ASCII_MARKS = {ord(mark): None for mark in string.punctuation}
_ASCII_BLANKS = {ord(mark): " " for mark in string.punctuation}

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_WORD = r"(true|false|yes|no)\b"
_ECHO = re.compile(r"\b(?:true|yes)\s{0,3}(?:or|/)\s{0,3}(?:false|no)\b", re.I)
_STATED = re.compile(
    rf"\banswer\b(?:\s{{1,3}}to\s{{1,3}}[^.:\n]{{1,80}}?)?\s{{0,3}}(?:is|was|would be|should be|[:=])?"
    rf"[\s:*\"'`(\[]{{0,12}}(not\s{{1,3}})?{_WORD}",
    re.I,
)
_START = re.compile(rf"[\s*\"'`(\[]{{0,12}}{_WORD}", re.I)
_LINE = re.compile(rf"^[ \t*\"'`(\[#]{{0,12}}{_WORD}[ \t*\"'`)\].!]{{0,12}}$", re.I | re.M)
_ANY = re.compile(r"((?:\bnot|n['’]t)\s{1,3}(?:(?:necessarily|actually|quite)\s{1,3})?)?\b(true|false)\b", re.I)


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """A normalised gold answer is a substring of the normalised response, word boundaries or not."""
    text = paper_normal(response)
    for gold in ground_truth:
        if paper_normal(gold) in text:
            return Grade(1.0, gold, "stands in the response")
    return Grade(0.0, None, "no gold answer stands in the response")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """A gold answer stands in the response as whole words; True/False questions are read for their verdict."""
    truths = {_TRUTH.get(g.strip().lower()) for g in ground_truth}
    if None not in truths:
        verdict = read_truth(response)
        if verdict is None:
            return Grade(0.0, None, "neither true nor false could be read")
        return Grade(float(verdict in truths), str(verdict), "read as " + str(verdict))
    forms = _forms(response)
    for gold in ground_truth:
        wanted = _gold_forms(gold)
        if wanted == _NOTHING:
            if gold.strip().lower() == response.strip().rstrip(".").lower():
                return Grade(1.0, gold, "is the response")
        elif (wanted[0] != "  " and wanted[0] in forms[0]) or (wanted[1] != "  " and wanted[1] in forms[1]):
            return Grade(1.0, gold, "stands in the response as whole words")
    return Grade(0.0, None, "no gold answer stands in the response as whole words")


_NOTHING = ("  ", "  ")


def _forms(text: str) -> tuple[str, str]:
    """The text without punctuation, and with a blank for each mark ("U.S." is both "us" and "u s"); blanks around."""
    if text.isascii():
        text = _numbers(text.lower())
        return _words(text.translate(_ASCII_MARKS)), _words(text.translate(_ASCII_BLANKS))
    parts = unicodedata.normalize("NFKD", text)
    text = _numbers("".join(c for c in parts if not unicodedata.combining(c)).casefold())
    return _words(_MARKS.sub("", text)), _words(_MARKS.sub(" ", text))


def _numbers(text: str) -> str:
    """Without thousands commas, and with decimal points as word characters."""
    if "," in text:
        text = _THOUSANDS.sub("", text)
    return _DECIMAL.sub(_POINT, text) if "." in text else text


def _words(text: str) -> str:
    return f" {' '.join([word for word in text.split() if word not in _ARTICLES])} "


@lru_cache(maxsize=65536)
def _gold_forms(gold: str) -> tuple[str, str]:
    return _forms(gold)


def read_truth(response: str) -> bool | None:
    """The verdict of a True/False answer: the last stated one, else a lone or leading word, else the last mention."""
    boxed = last_boxed(response)
    text = _ECHO.sub(" ", response if boxed is None else boxed)
    stated = _STATED.findall(text)
    if stated:
        negated, word = stated[-1]
        return _TRUTH[word.lower()] != bool(negated)
    lines = _LINE.findall(text)
    if lines:
        return _TRUTH[lines[-1].lower()]
    start = _START.match(text)
    if start:
        return _TRUTH[start.group(1).lower()]
    mentions = _ANY.findall(text)
    if mentions:
        negated, word = mentions[-1]
        return _TRUTH[word.lower()] != bool(negated)
    return None

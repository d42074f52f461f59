"""Multiple choice: the letter of the chosen option."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ._grade import Grade, last_boxed, words_only

LETTERS = "ABCDEFGHIJ"
_PAPER = re.compile(r"\(([A-Za-z])\)")
_LAYOUTS = (re.compile(r"^\(([A-J])\)[ \t]*(.*)$", re.M), re.compile(r"^[ \t]*([A-J])[.):][ \t]+(.*)$", re.M))
_NEGATED_BEFORE = re.compile(
    r"(?:\bnot|n['’]t(?: be)?|\brather than|\binstead of|\bexcept|\bneither|\bnor|\bunlike)\s{1,3}"
    r"(?:option\s{1,3}|choice\s{1,3})?[*\"']{0,6}$",
    re.I,
)
_NEGATED_AFTER = re.compile(
    r"[*\"']{0,6}\s{1,3}(?:(?:is|are|was|would be)\s{1,3})?(?:not\b|wrong|incorrect|false\b|isn['’]t|can(?:not|['’]t))",
    re.I,
)
_TOKEN = r"[*_$\s\"'`{]{0,12}(?:\\(?:text|mathrm|mathbf|textbf)\{)?[(\[]?([A-Ja-j1-9])(?![A-Za-z0-9'’])[)\].:]?"
_STATED = re.compile(
    r"(?:answer|choice|option|choose|pick|select)(?:s|ed)?\b(?:\s{1,3}to\s{1,3}[^.:\n]{1,80}?)?"
    r"\s{0,3}(?:(?:is|was|would be|should be|must be)\b\s{0,3}"
    r"(?:therefore|thus|clearly|option|choice|letter)?|:|=)?\s{0,3}:?" + _TOKEN,
    re.I,
)
_SETTLED = re.compile(
    r"(?:\b(?i:it['’]s|it is|is|be|go with|thus|so|therefore|hence|say)\s{0,3}[:,]?|→|=>)"
    r"\s{1,3}[*\"']{0,6}\(?([A-J])(?![\w'’])(?! [a-z])"
)
_KEYWORDS = ("answer", "choice", "option", "choose", "pick", "select")
# The bracket is matched before it is looked behind, so that the search can jump from bracket to bracket.
_PAREN = re.compile(r"\((?<![\w)\]]\()([A-J])\)")
_PAREN_LOW = re.compile(r"\((?<![\w)\]]\()([a-j])\)")
_PAREN_DIGIT = re.compile(r"\((?<![\w)\]]\()([1-9])\)")
_RIGHT = re.compile(
    r"\(([A-J])\)[*\"']{0,6}\s{1,3}(?:is|must be|would be|seems)\s{1,3}(?:clearly\s{1,3}|therefore\s{1,3})?"
    r"(?:the\s{1,3})?(?:most\s{1,3}likely\s{1,3})?(?:right|correct|best|true|answer)\b"
)
_BOLD = re.compile(r"\*\*\s{0,3}\(?([A-J])(?:\s{0,3}\*\*|[).:][^*\n]{0,200}\*\*)")
_ALONE = re.compile(r"^[\s*_\"'`]{0,12}\(?([A-Ja-j1-9])[)\].:]?[\s*_\"'`.]{0,12}$")
_FIRST = re.compile(r"^[\s*_\"'`]{0,12}\(?([A-J])(?:[).:]|\s{0,3}[-–—]\s|$|\n)")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s{0,3}")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last letter in parentheses, whatever it is, equals the gold letter."""
    found = _PAPER.findall(response)
    if not found:
        return Grade(0.0, None, "no letter in parentheses")
    letter = found[-1].upper()
    golds = {gold.strip("() \n").upper() for gold in ground_truth}
    return Grade(float(letter in golds), letter, "last letter in parentheses")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The option that the response settles on, by label or by text."""
    options = parse_options(query)
    letter, how = read_letter(response, options)
    if letter is None:
        return Grade(0.0, None, how)
    return Grade(float(letter in {_gold_letter(gold) for gold in ground_truth}), letter, how)


def _gold_letter(gold: str) -> str:
    label = gold.strip("() .\n\t").upper()[:1]
    return LETTERS[int(label) - 1] if label.isdigit() and label != "0" else label


@lru_cache(maxsize=4096)
def parse_options(query: str) -> tuple[tuple[str, str], ...]:
    """(label, text) of the options that a query shows, the last list of them; empty when it shows none."""
    for layout in _LAYOUTS:
        found = layout.findall(query)
        if len(found) >= 2:
            start = max((i for i, (label, _) in enumerate(found) if label == "A"), default=0)
            run = found[start:]
            if [label for label, _ in run] == list(LETTERS[: len(run)]):
                return tuple((label, text.strip()) for label, text in run)
    return ()


def read_letter(response: str, options: tuple[tuple[str, str], ...]) -> tuple[str | None, str]:
    """(label, how it was read), only of labels that the question has; (None, why) when none can be read."""
    known = {label for label, _ in options} or set(LETTERS)
    text = response.strip()
    boxed = last_boxed(text)
    if boxed is not None:
        letter = _label(_LATEX_TEXT.sub("", boxed).strip("{}() .*$"), known, options)
        if letter is None:
            letter = _by_text(_LATEX_TEXT.sub("", boxed), options)
        if letter is not None:
            return letter, "boxed"
    for pattern, how in _PATTERNS:
        letter = _last(pattern, text, known, options)
        if letter is not None:
            return letter, how
    lines = text.splitlines()
    edges = ((lines[-1:], _ALONE, "last line"), ([text], _FIRST, "in front"), (lines[:1], _ALONE, "in front"))
    for line, pattern, how in edges:
        match = pattern.match(line[0]) if line else None
        letter = _label(match.group(1), known, options) if match else None
        if letter is not None:
            return letter, how
    letter = _by_text(text, options)
    return (letter, "text of the option") if letter else (None, "no option could be read")


_PATTERNS = (
    (_STATED, "stated answer"),
    (_RIGHT, "called right"),
    (_PAREN, "last label in parentheses"),
    (_BOLD, "bold"),
    (_SETTLED, "named"),
    (_PAREN_LOW, "last label in parentheses"),
    (_PAREN_DIGIT, "last number in parentheses"),
)


def _last(pattern: re.Pattern, text: str, known: set[str], options) -> str | None:
    """Label of the last match that is a label of this question and that is not denied ("not (A)", "(A) is wrong")."""
    for match in _stated(text) if pattern is _STATED else reversed(list(pattern.finditer(text))):
        token = match.group(1)
        if pattern is _STATED and token.islower() and not _bracketed(text, match):
            continue  # "the answer is a …" is an article
        letter = _label(token, known, options)
        denied = _NEGATED_BEFORE.search(text[max(0, match.start() - 40) : match.start()])
        if letter and not denied and (pattern is _RIGHT or not _NEGATED_AFTER.match(text, match.end())):
            return letter
    return None


def _stated(text: str) -> Iterator[re.Match]:
    """Matches of `_STATED` from the last; looking for its few words first is ten times as fast as searching with it."""
    lower = text.lower()
    places = []
    for word in _KEYWORDS:
        place = lower.find(word)
        while place >= 0:
            places.append(place)
            place = lower.find(word, place + 1)
    for place in sorted(places, reverse=True):
        match = _STATED.match(text, place)
        if match:
            yield match


def _bracketed(text: str, match: re.Match) -> bool:
    start = match.start(1)
    return text[start - 1 : start] in tuple("([*{") or text[match.end(1) : match.end(1) + 1] in (")", "]")


def _label(token: str, known: set[str], options) -> str | None:
    """The label that a token names: a letter, or a number that is no option's text, by its place."""
    token = token.strip()
    if len(token) > 1 and token[1] in ").:":
        token = token[0]
    if len(token) != 1:
        return None
    if token.isdigit():
        by_text = [label for label, text in options if text == token]
        if by_text:
            return by_text[0]
        token = LETTERS[int(token) - 1] if token != "0" else ""
    return token.upper() if token.upper() in known else None


def _by_text(text: str, options) -> str | None:
    """The only option whose text stands in the response (whole words); an option inside a longer one does not count."""
    padded = f" {words_only(text)} "
    found = [(label, normal) for label, option in options if (normal := words_only(option)) and f" {normal} " in padded]
    rest = padded
    best = []
    for label, normal in sorted(found, key=lambda pair: -len(pair[1])):
        if f" {normal} " in rest:
            best.append(label)
            rest = rest.replace(f" {normal} ", " | ")
    return best[0] if len(best) == 1 else None

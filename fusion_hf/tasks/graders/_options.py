"""The options of a multiple-choice question, found by their labels and by their texts."""

import re
from functools import lru_cache

from . import _choice_patterns as patterns
from ._grade import words_only

LETTERS = "ABCDEFGHIJ"
_LAYOUTS = (re.compile(r"^\(([A-J])\)[ \t]*(.*)$", re.M), re.compile(r"^[ \t]*([A-J])[.):][ \t]+(.*)$", re.M))
Options = tuple[tuple[str, str], ...]


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


def label_of(token: str, known: set[str], options: Options) -> str | None:
    """The label that a token names: a letter, or a number that is no option's text, by its place."""
    token = token.strip()
    if len(token) > 1 and token[1] in ").:":
        token = token[0]
    if len(token) != 1:
        return None
    if token.isdigit():
        same = [label for label, text in options if text == token]
        if same:
            return same[0]
        token = LETTERS[int(token) - 1] if token != "0" else ""
    return token.upper() if token.upper() in known else None


def text_of(text: str, options: Options) -> str | None:
    """The only option whose text stands in the response (whole words); an option inside a longer one does not count.

    An option that is denied, or whose text a refusal or doubt names, does not count either.
    """
    if not options or patterns.REFUSAL.search(text[:2000]):
        return None
    padded = f" {words_only(text)} "
    found = [(label, normal) for label, option in options if (normal := words_only(option)) and f" {normal} " in padded]
    rest = padded
    best = []
    for label, normal in sorted(found, key=lambda pair: -len(pair[1])):
        places = [m.start() for m in re.finditer(re.escape(f" {normal} "), rest)][:50]
        if any(not patterns.DENIED_WORDS.search(rest[max(0, place - 40) : place + 1]) for place in places):
            best.append(label)
        if places:
            rest = rest.replace(f" {normal} ", " | ")
    return best[0] if len(best) == 1 else None

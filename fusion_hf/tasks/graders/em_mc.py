"""Multiple choice: the letter of the chosen option."""

import re
from collections.abc import Iterator, Sequence

from . import _choice_patterns as patterns
from ._cues import may_be_other
from ._final import answer_field, final_text, plain_characters
from ._grade import Grade, boxes
from ._options import LETTERS, Options, label_of, parse_options, text_of

_PAPER = re.compile(r"\(([A-Za-z])\)")
_KEYWORDS = ("answer", "ans:", "ans.", "ans =", "ans -", "choice", "option", "choose", "pick", "select")
_LATEX_TEXT = re.compile(r"\\(?:textbf|textrm|textit|text|mathrm|mathbf|mathsf|mbox)\s{0,3}")
_WRAPPED = str.maketrans("", "", "{}$“”‘’«»『』「」【】<>[]`*_\\\"'")
_TAGGED = re.compile(r"</?[a-zA-Z_]{2,20}(?:\s[^<>\n]{0,60})?>|\A[a-z]{2,12}>")
_SENTENCE_END = re.compile(r"[.!?\n]")
_SEVERAL = "several labels, so no choice"


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last letter in parentheses, whatever it is, equals the reference letter."""
    found = _PAPER.findall(response)
    if not found:
        return Grade(0.0, None, "no letter in parentheses")
    letter = found[-1].upper()
    references = {reference.strip("() \n").upper() for reference in ground_truth}
    return Grade(float(letter in references), letter, "last letter in parentheses")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The option that the response settles on, by label or by text."""
    options = parse_options(query)
    letter, how = read_letter(response, options, query)
    if letter is None:
        return Grade(0.0, None, how)
    return Grade(float(letter in {_reference_letter(reference) for reference in ground_truth}), letter, how)


def _reference_letter(reference: str) -> str:
    label = reference.strip("() .\n\t").upper()[:1]
    return LETTERS[int(label) - 1] if label.isdigit() and label != "0" else label


def read_letter(response: str, options: Options, query: str = "") -> tuple[str | None, str]:
    """(label, how it was read), only of labels that the question has; (None, why) when none can be read.

    The stated answer counts, whatever other labels are named after it; two labels at once are no choice.
    """
    known = {label for label, _ in options} or set(LETTERS)
    text = response.strip()
    if not text.isascii():
        text = plain_characters(text).strip()
    if len(text) > 2:
        text = final_text(text, query).strip()
        last = patterns.LAST_LINE.match(text, text.rfind("\n") + 1)
        if last and last.group(1) in known:
            return last.group(1), "stated answer"
        field = answer_field(text)
        if field is not None and (read := _short(field[0], known, options)) is not None:
            return (
                _stated(text[field[1] :], known, options, firmly=True) if "nswer" in text[field[1] :] else None
            ) or read
        if "boxed" in text or "fbox" in text:
            read = _boxed(text, known, options)
            if read is not None:
                return read
    read = _stated(text, known, options) or _by_place(text, known, options)
    if read is not None:
        return read
    letter = text_of(text, options)
    return (letter, "text of the option") if letter else (None, "no option could be read")


def _short(text: str, known: set[str], options: Options) -> tuple[str | None, str] | None:
    """What a field or a box holds: a label, an option's text, or several labels; None where it is none of these."""
    bare = _LATEX_TEXT.sub("", text).replace("{", "").replace("}", "").strip("() .*$\n\t\"'")
    letter = label_of(bare, known, options) or text_of(bare, options)
    if letter is not None:
        return letter, "answer field"
    labels = [part for part in re.split(r"\s*(?:,|/|&|\bor\b|\band\b)\s*", bare) if part]
    if len(labels) > 1 and all(label_of(part.strip("() "), known, options) for part in labels):
        return None, _SEVERAL
    match = patterns.STATED_LABEL.match(f" {bare}")
    letter = label_of(match.group(1), known, options) if match else None
    if letter is not None and not (match.group(1).islower() and len(bare) > 2):
        return letter, "answer field"
    return None


def _boxed(text: str, known: set[str], options: Options) -> tuple[str | None, str] | None:
    """The last box with a choice in it, unless the text takes it back."""
    for _, end, content in boxes(text):
        if patterns.TAKEN_BACK.match(text, end):
            continue
        read = _short(content, known, options)
        if read is not None:
            later = _stated(text[end:], known, options, firmly=True) if "nswer" in text[end:] else None
            return later or (read[0], read[1].replace("answer field", "boxed"))
    return None


def _stated(text: str, known: set[str], options: Options, firmly: bool = False) -> tuple[str | None, str] | None:
    """What stands after a cue ("the answer is", "I choose") or is called right; the last that is not taken back."""
    for match in _cues(text):
        if _asked(text, match.start()) or patterns.supposed(text, match.start()):
            continue
        label = patterns.STATED_LABEL.match(text, match.end())
        token = label.group(1) if label else ""
        if token in ("a", "i") and not patterns.ENDS.match(text, label.end(1)):
            label = None  # "the answer is a …" is an article
        elif token.islower() and token not in ("a", "i") and patterns.WORD_AFTER.match(text, label.end(1)):
            label = None
        letter = label_of(token, known, options) if label else None
        denied = patterns.denied_before(text, match.start())
        if letter is None:
            words = match["link"] and (label is None or token.islower()) and not denied
            if words and (by_text := _cue_text(text, match.end(), options)):
                return by_text, "text of the stated option"
            continue
        if _several(text, label.start(1), label.end(), known):
            return None, _SEVERAL
        if not denied and not patterns.denied_after(text, label.end()):
            return letter, "stated answer"
    if firmly:
        return None
    for match in reversed(list(patterns.RIGHT.finditer(text))) if len(text) > 4 else ():
        place = match.start(match.lastindex)
        token = match.group(match.lastindex)
        letter = label_of(token, known, options) if token not in ("a", "i") else None
        denied = patterns.denied_before(text, match.start())
        # "Of B and C, B is better": a comma alone joins nothing here.
        joined = _joined_before(text, place, known) and text[:place].rstrip("(*\"' ")[-1:] != ","
        if letter and not denied and not _asked(text, place) and not joined:
            return letter, "called right"
    if may_be_other(text):
        for match in patterns.OTHER.finditer(text):
            letter = label_of(match.group(match.lastindex), known, options)
            if letter:
                several = _several(text, match.start(match.lastindex), match.end(), known)
                return (None, _SEVERAL) if several else (letter, "stated answer")
    return None


def _cues(text: str) -> Iterator[re.Match]:
    """Matches of `CUE` from the last; looking for its few words first is ten times as fast as searching with it."""
    lower = text.lower()
    places = []
    for word in _KEYWORDS:
        place = lower.find(word)
        while place >= 0 and len(places) < 2000:
            places.append(place)
            place = lower.find(word, place + 1)
    for place in sorted(places, reverse=True):
        match = patterns.CUE.match(text, place)
        if match and patterns.is_cue(text, match):
            yield match


def _asked(text: str, place: int) -> bool:
    """Whether the sentence that goes on at `place` is a question."""
    end = _SENTENCE_END.search(text, place, place + 200)
    return end is not None and end.group() == "?"


def _cue_text(text: str, place: int, options: Options) -> str | None:
    """The option whose label in parentheses, or whose text, follows a cue within its sentence."""
    end = _SENTENCE_END.search(text, place + 3, place + 300)
    said = text[place : end.start() if end else place + 300]
    if patterns.DENIES.match(said):
        return None
    labels = {label for label in _PAPER.findall(said) if any(label == known for known, _ in options)}
    return labels.pop() if len(labels) == 1 else text_of(said, options)


def _several(text: str, start: int, end: int, known: set[str]) -> bool:
    """Whether other labels are joined to the one at `start` ("A or B", "A, C", "both (A) and (B)")."""
    match = patterns.ALSO.match(text, end)
    if match is None and len(text) - end < 20 and text[start : start + 1].isalpha():
        match = patterns.ALSO_END.match(text, end)  # "A B"; but "4 (C)" is a value and its label
    return bool(match and match.group(1).upper() in known and match.group(1) != text[start : start + 1])


def _list_end(text: str, end: int) -> int:
    """Where a list of labels ends, of which the first one ends at `end`."""
    for _ in range(9):
        match = patterns.ALSO.match(text, end) or patterns.ALSO_LAST.match(text, end)
        if match is None:
            break
        end = match.end()
    return end


def _joined_before(text: str, place: int, known: set[str]) -> bool:
    """Whether another label is joined in front of the one at `place`."""
    match = patterns.ALSO_BEFORE.search(text[max(0, place - 25) : place])
    return bool(match and match.group(1) in known)


def _by_place(text: str, known: set[str], options: Options) -> tuple[str | None, str] | None:
    """A label in front, alone at the end, or the last one that the text settles on."""
    if len(text) > 2:
        if "<" in text or ">" in text[:15]:
            text = _TAGGED.sub(" ", text).strip() or text
        if (letter := patterns.marked(text)) and letter in known:
            return letter, "marked as right"
    front = patterns.FRONT.match(text)
    if front and (letter := label_of(front.group(1), known, options)) and not _lists(text, front, options):
        if _several(text, front.start(1), front.end(), known):
            end = _list_end(text, front.end())
            if text[end : end + 2].lstrip(")*")[:1] != "?" and not patterns.denied_after(text, end):
                return None, _SEVERAL
        elif not patterns.denied_after(text, front.end(1) + len(front.group(2))):
            return letter, "in front"
    first, _, rest = text.partition("\n")
    lines = ((rest.rpartition("\n")[2].strip() if rest else "", "last line"), (first.strip(), "in front"))
    for line, how in lines:
        if 1 < len(line) < 40:
            line = " ".join(_LATEX_TEXT.sub("", line).translate(_WRAPPED).split()).replace("( ", "(").replace(" )", ")")
        match = patterns.ALONE.match(line) if line else None
        letter = label_of(match.group(1), known, options) if match else None
        if letter is not None:
            return letter, how
    if patterns.PAIR.search(text[-400:]) and not patterns.SETTLED.search(text):
        return None, _SEVERAL
    for pattern, how in patterns.LAST:
        read = _last(pattern, text, known, options)
        if read is not None:
            return (read, how) if read else (None, _SEVERAL)
    return None


def _lists(text: str, front: re.Match, options: Options) -> bool:
    """Whether the label in front begins a list of the options rather than being the answer."""
    label = front.group(1).upper()
    after = chr(ord(label) + 1)
    again = re.search(
        rf"(?:[\n.;]\s{{0,5}}|\s{{2}})[*(]{{0,3}}{after}(?:[).:]"
        rf"|\s[-–—]\s)",
        text[front.end() : front.end() + 2000],
    )
    return label == "A" and again is not None


def _last(pattern: re.Pattern, text: str, known: set[str], options: Options) -> str | None:
    """Label of the last match that is a label of this question and is not denied; "" for several at once."""
    for match in reversed(list(pattern.finditer(text))[-200:]):
        letter = label_of(match.group(match.lastindex), known, options)
        if (
            not letter
            or patterns.denied_before(text, match.start())
            or patterns.denied_before(text, match.start(match.lastindex))
        ):
            continue
        if patterns.denied_after(text, match.end()) or _in_denied_list(text, match.start(match.lastindex)):
            continue
        if patterns.supposed(text, match.start()) or _asked(text, match.end()):
            continue
        if _several(text, match.start(match.lastindex), match.end(), known):
            return ""
        return (
            "" if _joined_before(text, match.start(match.lastindex), known) and _asked_for_one(text, match) else letter
        )
    return None


def _in_denied_list(text: str, place: int) -> bool:
    """Whether the label is one of a list that is denied as a whole ("not (A), (B) or (C)")."""
    start = patterns.LIST_BEFORE.search(text[max(0, place - 80) : place])
    return bool(start and patterns.denied_before(text, place - len(start.group())))


def _asked_for_one(text: str, match: re.Match) -> bool:
    """Whether labels that are joined are given as the answer, not compared in passing."""
    return len(text) - match.end() < 40 or "oth" in text[max(0, match.start() - 20) : match.start()]

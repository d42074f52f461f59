"""GSM8K: the final number of a word problem (Cobbe et al., arXiv 2110.14168)."""

import re
from collections.abc import Iterator, Sequence

from ._cues import other_cue
from ._final import answer_field, final_text
from ._grade import Grade, boxes
from ._numbers import Number, ascii_numbers, canonical, numbers, plain_tex, read_reference, spelled
from ._short_number import PREPOSITION, of_line

_PAPER = re.compile(r"-?[0-9.,]+")
_PAPER_DROP = str.maketrans("", "", ",$.")
_ASKED = re.compile(r"[^.!?\n]{0,80}\?")
_LABEL = re.compile(
    # "A: 5" is an answer, "A = 5" mostly a variable.
    r"[ \t*#>]{0,12}(?:A(?=[ \t*]{0,8}:)|(?:final |the "
    r"|correct )?answer)[ \t]{0,3}\*{0,2}[ \t]{0,3}[:=][ \t]{0,3}\*{0,2}"
    r"([^\n]{1,300})",
    re.I,
)
_STATED = re.compile(
    r"\banswer\b(?:\s{1,3}to\s{1,3}[^.:\n]{1,80}?)?\s{0,3}(?:is\b|=|:|would be|should be"
    r"|must be|\*{1,2}:?[ \t]{0,3}\n{1,2})\s{0,3}:?(?=([^\n]{1,300}))",
    re.I,
)
_REVERSED = re.compile(
    r"(?:\A|[.!?,:\n])([^.!?,:\n]{1,60})\bis\s{1,3}(?:the|my)\s{1,3}(?:final\s"
    r"|correct\s)?answer\b",
    re.I,
)
_LEADING = re.compile(r"[\s*]{0,12}(-?[\d.,]{0,40}\d)\*{0,2}(?:\s{1,3}[^\W\d]{1,30}){0,3}\s{0,3}(?:[.;!\n]|$)")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z*])")
_CONCLUSION = re.compile(
    r"(?:\A|[.!?]\s{1,3}|\n)(?:So|Thus|Hence"
    r"|Therefore)\b,?([^\n.!?]{1,300}(?:\.\d[^\n.!?]{0,100}){0,5})[.!]?\Z"
)
_ATTRIBUTE = re.compile(r"-[A-Za-z]")
_DENIED = re.compile(r"[\s$*.,)}]{0,8}(?:(?:was|is|would be|seems|looks)\s{1,3}(?:\w{1,12}\s{1,3}){0,2}?(?:wrong"
    r"|incorrect|not)\b"
                     r"|isn['’]t|wasn['’]t|\?)", re.I)  # fmt: skip
_DENIES_ALL = re.compile(r"\s{0,3}(?:not|no longer)\s{1,3}\$?-?[\d.,]{1,20}[.!]?\s{0,3}$")
_CORRECTED = re.compile(r"(?:Correction|Sorry|Wait|Oops|Actually)\b[^.!?]{0,60}\d")
_GIVES = re.compile(r"\n\s{0,9}(?:Input|Task|Context|Prompt)\b[^\n]{0,400}")
_RECONSIDERS = re.compile(
    r"\b(?:wait|hmm|mistake|correct|wrong|sorry|actually|oops|check|re-?read|re-?consider|verify)", re.I
)
_STEP = re.compile(r"\s{0,3}(?:Step|First|Let|We)\b")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last run of digits, points and commas, without points, commas and dollars, equals the reference answer."""
    runs = [run for run in _PAPER.findall(response) if run not in ("", ".")]
    if not runs:
        return Grade(0.0, None, "no number")
    found = runs[-1].translate(_PAPER_DROP)
    references = {reference.split("####")[-1].strip().translate(_PAPER_DROP) for reference in ground_truth}
    return Grade(float(found in references), found, "last run of digits")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The final number by value; a percentage also as a share, "5 dozen" also as 5 where dozens are asked for."""
    found, how = _read(response, query)
    if found is None:
        return Grade(0.0, None, "no number")
    right = any(
        _same(found, reference, query) for reference in map(read_reference, ground_truth) if reference is not None
    )
    return Grade(float(right), found.text, how)


def _same(found: Number, reference: Number, query: str) -> bool:
    if found.value == reference.value:
        return True
    if found.percent != reference.percent:
        return found.value / 100 == reference.value if found.percent else found.value == reference.value / 100
    return found.mantissa == reference.value and found.unit in query.lower()


def read_number(response: str, query: str = "") -> tuple[str | None, str]:
    """(number, where it stood): in an answer field, after ####, in a box, after a cue, in front, in bold, or last.

    Of several cues the last counts. The number is as it was written if it is a plain one.
    """
    found, how = _read(response, query)
    return (None, "") if found is None else (found.text, how)


def _read(response: str, query: str) -> tuple[Number | None, str]:
    text = ascii_numbers(final_text(response, query))
    field = answer_field(text)
    if field is not None and _of_answer(field[0]) and (number := of_line(field[0])):
        after = text[field[1] :]
        later = (of_line(_SENTENCE.split(line)[0]) for _, line, _ in _stated(after, False)) if "nswer" in after else ()
        mended = next((n for n in later if n is not None), None)
        return (number, "answer field") if mended is None else (mended, "stated answer")
    found, how, place = None, "", -1
    if text.count("####") > 1:
        text = _first_solution(text)
    hashes = text.rfind("####")
    if hashes >= 0:
        found, how, place = (
            of_line(text[hashes + 4 : hashes + 204].lstrip("# \t").partition("\n")[0]),
            "after ####",
            hashes,
        )
        if found is None:  # "####" alone, or as a heading
            found, how, place = _earlier_hashes(text, hashes), "after ####", hashes
    for start, end, boxed in boxes(text):
        number = None if _DENIED.match(text, end) or start < place else of_line(boxed)
        if number is not None:
            found, how, place = number, "boxed", start
            break
    rest = text[max(place, 0) :]
    if found is None or "nswer" in rest or "NSWER" in rest:
        for _, line, said in _stated(rest, found is None):
            number = of_line(_answering(line))
            if number is None and found is None:
                number = of_line(line)
            if number is not None:
                return number, said
    if found is None and (other := other_cue(text)) and (number := of_line(text[other.end() :][:200])):
        return number, "stated answer"
    return (found, how) if found is not None else _uncued(text, query)


def _of_answer(field: str) -> bool:
    """Whether a field holds an answer: words without a digit are one only if they are few."""
    return any(c.isdigit() for c in field) or len(field.split()) < 7


def _first_solution(text: str) -> str:
    """Up to the first "####" that a new question follows, which leads to a "####" of its own."""
    place = text.find("####")
    for _ in range(20):
        end, after = text.find("\n", place), text.find("####", place + 4)
        if after < 0 or end < 0:
            break
        between = text[end:after]
        asks = "?" in between[:2000] or _GIVES.match(between)
        if asks and of_line(text[place + 4 : end]) is not None and not _RECONSIDERS.search(between):
            return text[:end]
        place = after
    return text


def _answering(line: str) -> str:
    """The sentence of a line after a cue that gives the answer: the first, unless it denies or begins to reckon."""
    sentences = _SENTENCE.split(line)
    if len(sentences) > 1 and (_DENIES_ALL.match(sentences[0]) or _CORRECTED.match(sentences[1])):
        return sentences[1]
    return sentences[-1] if len(sentences) > 1 and _STEP.match(line) and "=" in sentences[-1] else sentences[0]


def _earlier_hashes(text: str, before: int) -> Number | None:
    for _ in range(5):
        before = text.rfind("####", 0, before)
        if before < 0:
            return None
        number = of_line(text[before + 4 : before + 204].lstrip("# \t").partition("\n")[0])
        if number is not None:
            return number
    return None


def _stated(text: str, labels: bool) -> Iterator[tuple[int, str, str]]:
    """Lines after a cue, from the last; a cue within a question is none."""
    found = []
    if "nswer" in text or "NSWER" in text:
        found = [(m.start(), m.group(1), "stated answer") for m in _STATED.finditer(text)]
        found += [(m.start(), m.group(1), "stated answer") for m in _REVERSED.finditer(text)]
    if labels:
        found += _last_label(text)
    for start, line, how in sorted(found, key=lambda one: -one[0])[:20]:
        if "?" not in line or not _ASKED.match(line):
            yield start, line, how


def _last_label(text: str) -> list[tuple[int, str, str]]:
    """The last line that begins with "Answer:" or "A:" and has a digit; looking from the end finds it at once."""
    end = len(text)
    for _ in range(1000):
        start = text.rfind("\n", 0, end) + 1
        match = _LABEL.match(text, start, end)
        if match and any(c.isdigit() for c in match.group(1)):
            return [(start, match.group(1), "labelled answer")]
        if start == 0:
            return []
        end = start - 1
    return []


def _uncued(text: str, query: str) -> tuple[Number | None, str]:
    text = plain_tex(text)
    if "=" in text and len(text) < 80 and "\n" not in text.strip() and (number := of_line(text.strip())):
        return number, "the one equation"
    leading = _LEADING.match(text)
    if leading and (number := of_line(leading.group(0))):
        return number, "in front"
    lines = text.strip().split("\n")
    for bold in reversed(_BOLD.findall(lines[-1][-2000:])):
        if number := of_line(bold):
            return number, "bold in the last line"
    last = _CONCLUSION.search(text[-600:].rstrip())
    if last and (number := _concluded(last.group(1), query)):
        return number, "concluding sentence"
    found = numbers(text[-4000:])
    if not found:
        number = spelled(text[-400:])
        return (number, "last number") if number else (None, "")
    number = found[-1][2]
    start = found[-1][0]
    # In "10-5" the last number is 5.
    if number.value < 0 and re.search(r"[\d)]\s{0,3}$", text[-4000:][:start]):
        number = Number(canonical(-number.value), -number.value)
    return number, "last number"


def _concluded(sentence: str, query: str) -> Number | None:
    """The number that a concluding sentence states: the first that the question does not name."""
    if "=" in sentence:
        return of_line(sentence)
    asked = {n.value for _, _, n in numbers(ascii_numbers(query[-4000:]))}
    found = numbers(sentence)
    new = [n for start, end, n in found if n.value not in asked and not _ATTRIBUTE.match(sentence, end)]
    free = [n for start, end, n in found if n in new and not PREPOSITION.search(sentence[max(0, start - 40) : start])]
    return (free or new)[0] if new and asked else of_line(sentence)

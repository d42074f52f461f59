r"""MATH: one final expression (Hendrycks et al., arXiv 2103.03874), compared as mathematics by math-verify."""

import re
from collections.abc import Sequence

from . import _math_worker
from ._cues import other_cue
from ._final import answer_field, final_text
from ._grade import Grade, boxes, last_boxed, without_placeholders
from ._math_text import as_interval, in_base, normal, share
from ._numbers import as_number

_CUE = re.compile(
    r"\b(?:answers?|solution set)\b(?:\s{1,3}to\s{1,3}[^.:\n]{1,80}?)?[\s*_]{0,3}(?:is|are|=|:|would be|should be"
    r"|must be)\s{0,3}"
    r"(?:therefore|thus|simply|clearly|then|equal to|given by)?[\s:*_]{0,5}", re.I
)  # fmt: skip
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|then|that|it|we (?:get|have|find|obtain)|this|the|final|correct|required|desired"
    r"|value|number|result"
    r"|sum|total|area|solution|[a-z]|of [^=:$\\\d]{1,30}?)\b[\s,:]{0,3}){0,8}(?:is|are|equals|was"
    r"|:)\s{1,3}(?:equal to\s{1,3})?"
    r"|(?:(?:so|thus|hence|therefore|then)\b[\s,:]{1,3}|we (?:get|have|find|obtain)\s"
    r"|the (?:number|value|integer|sum|total|result)\s){1,3}"
    r"(?=[-\\$\d(])", re.I
)  # fmt: skip
_TAIL = re.compile(
    r"(?:[,;]|\s)\s{0,3}(?:which|because|since|as (?:asked|required|desired|told|shown)|where|so that|I (?:hope|put"
    r"|mark"
    r"|have)|after|for all|for any"
    r"|when|not|rather|put|placed|written|boxed|in (?:the |a )?\\?boxed)\b.*$", re.I | re.S
)  # fmt: skip
_DISPLAY = re.compile(
    r"\$\$(?P<dollars>[^$]{1,2000})\$\$|\\\[(?P<square>.{1,2000}?)\\\]|\\begin\{(?P<name>align|aligned|equation"
    r"|gather|gathered|multline|eqnarray|split)\*?\}(?P<block>.{1,2000}?)"
    r"\\end\{(?P=name)\*?\}|\\\((?P<round>.{1,1000}?)\\\)|\$(?P<dollar>[^$\n]{1,1000})\$", re.S
)  # fmt: skip
_THEN = re.compile(
    r"\s{0,3}(?:is|are|equals|was)(?: equal to)?\s{1,3}([^.\n]{1,60})\.?\s*$"
)  # "the value of $n$ is 17"
_ROWS = re.compile(r"\\begin\{(?:[a-zA-Z]{0,2}matrix|array|cases)")
_SENTENCE = re.compile(r"\.(?:\s{1,3}(?=[A-Z(])|\s*$)|\n")
_TAKEN_BACK = re.compile(
    r"[\s$*.,)}\]\\]{0,8}(?:(?:was|is|seems|looks)\s{1,3}(?:\w{1,12}\s{1,3}){0,2}?(?:wrong|incorrect|not)\b|isn['’]t"
    r"|wasn['’]t|\?)", re.I
)  # fmt: skip
_ANNOUNCED = re.compile(r"\A\\text\s?\{[^{}]{0,100}\b(?:is|are|equals|answer)\s?[:=]?\s{0,3}\}[\s:]{0,3}(?=\S)", re.I)
_MATH_FENCE = re.compile(r"```(?:math|latex|tex)?[ \t]*\n([^`]{1,2000}?)\n?```")
_WORDS = re.compile(r"[A-Za-z][A-Za-z .'-]*")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textit)\s{0,3}\{([^{}]{0,300})\}")
_FRAC = re.compile(r"(-?)\\frac\{?(\d{1,40})\}?\{?(\d{1,40})\}?")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    r"""The last ``\boxed{}`` equals the reference answer as strings, after the benchmark's own clean-up."""
    found = last_boxed(response)
    if found is None:
        return Grade(0.0, None, "no \\boxed{} answer")
    same = any(paper_form(found) == paper_form(reference) for reference in ground_truth)
    return Grade(float(same), found, "last \\boxed{} answer")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The final expression, boxed or not, equals the reference answer in value."""
    found, how = read_answer(response, query)
    if found is None:
        return Grade(0.0, None, "no final expression")
    right = any(same(found, reference) for reference in ground_truth)
    return Grade(float(right), found, how)


def read_answer(response: str, query: str = "") -> tuple[str | None, str]:
    """(expression, where it stood): a field, the last box, a stated answer, the last formula or the last line's end."""
    text = final_text(response, query)
    if "```" in text:
        text = _MATH_FENCE.sub(r"$$\1$$", text)
    if "box" in text:
        text = without_placeholders(text)
    field = answer_field(text)
    box = _box(text if field is None else field[0])
    if box is not None:
        return box, "boxed"
    if field is not None:
        return _bare(field[0]), "answer field"
    if "####" in text:
        return _bare(text.rsplit("####", 1)[1].strip().partition("\n")[0]) or None, "after ####"
    for cue in reversed(list(_CUE.finditer(text))[-20:]):
        stated = _stated(text[cue.end() : cue.end() + 2500])
        if stated:
            return stated, "stated answer"
    other = other_cue(text)
    if other and (stated := _stated(text[other.end() : other.end() + 2500])):
        return stated, "stated answer"
    formulas = list(_DISPLAY.finditer(text[-6000:]))
    if formulas:
        return _bare(_inside(formulas[-1])) or None, "last formula"
    lines = text.strip().split("\n")
    return (_bare(lines[-1]) or None, "last line") if lines and len(lines[-1]) <= 80 else (None, "")


def _box(text: str) -> str | None:
    """The last box that the text does not take back, unless an answer is stated after one that it does."""
    taken = False
    for _, end, content in boxes(text) if "box" in text else ():
        if not _TAKEN_BACK.match(text, end):
            return None if taken and _CUE.search(text, end) else _ANNOUNCED.sub("", content.strip())
        taken = True
    return None


def _stated(text: str) -> str | None:
    """What a cue announces: a formula, over several lines or not, or the rest of its sentence."""
    start = _DISPLAY.match(text.lstrip())
    if start:
        return _bare(_inside(start)) or None
    text = text.lstrip("\n ")
    end = _SENTENCE.search(text)
    sentence = text[: end.start()] if end else text[:400]
    return _bare(sentence[:400]) or None


def _inside(match: re.Match) -> str:
    parts = match.groupdict()
    parts.pop("name")
    text = next(part for part in parts.values() if part is not None).strip()
    if (parts["block"] is not None or "\\\\" in text) and not _ROWS.search(text):
        text = text.rsplit("\\\\", 1)[-1].replace("&", "").strip() or text.replace("&", "")
    return text.rstrip(".,").strip()


def _bare(text: str) -> str:
    r"""Without the words and marks around an answer: "the value is", dollars, ``\(…\)``, a full stop, ``x =``."""
    text = text.strip().strip('*"').strip()
    formulas = list(_DISPLAY.finditer(text))
    after = _THEN.match(text, formulas[-1].end()) if len(formulas) == 1 else None
    if after:
        text = after[1]
    elif formulas:
        text = _inside(formulas[0] if text.startswith(("$", "\\", "**$")) else formulas[-1])
    else:
        lead = _LEAD.match(text)
        text = text[lead.end() :] if lead and len(text) > lead.end() else text
        tail = _TAIL.search(text)
        text = text[: tail.start()] if tail and tail.start() else text
    text = text.strip().strip("*").rstrip(" ,;\n").strip().removesuffix(".")
    text = re.sub(r"^\\[(\[]|\\[)\]]$", "", text).strip().strip("$").strip()
    named = re.match(r"(?:[A-Za-z]\w{0,30}(?:\([^()]{0,30}\))?|\\[a-z]{1,20})\s{0,3}=", text)
    return text.rsplit("=", 1)[-1].strip() if named else text


def same(found: str, reference: str) -> bool:
    """Whether two answers mean the same: as strings, numbers or words, in a base, as sets, or by algebra."""
    left, right = normal(found, reference), normal(reference, found)
    based = in_base(left, right)
    quick = _quick(left, right) if based is None else based
    if quick is not None:
        return quick
    left, right = as_interval(left, right), as_interval(right, left)
    if left == right:
        return True
    if _math_worker.equal(right, left):
        return True
    whole = share(left), share(right)
    return None not in whole and (whole[0] != left or whole[1] != right) and _math_worker.equal(whole[1], whole[0])


def _quick(left: str, right: str) -> bool | None:
    """The verdict where it needs no algebra: equal strings, two plain numbers, two words; None otherwise."""
    left, right = ("".join(text.split()) for text in (left, right))
    if left == right and left:
        return True
    numbers = [as_number(_FRAC.sub(r"\1\2/\3", text)) if "," not in text else None for text in (left, right)]
    if None not in numbers:
        return numbers[0] == numbers[1]
    words = [_TEXT.sub(r"\1", text).strip().strip("().").lower() for text in (left, right)]
    if all(len(w) > 1 and _WORDS.fullmatch(w) for w in words):
        return words[0] == words[1]
    # "July 4" with \text and without
    return True if "\\text" in left + right and words[0] == words[1] and any(map(str.isalpha, words[0])) else None


def paper_form(text: str) -> str:
    """The clean-up that the benchmark applies before it compares strings (its section on answer equivalence)."""
    for old, new in (
        ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", ""),
        ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = text.split("\\text{ ")[0]  # units stand at the right
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    left, equals, right = text.partition("=")
    if equals and len(left) <= 2 and "=" not in right:
        text = right
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{}])([^{}])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{}])(?=\{)", r"\\frac{\1}", text)
    text = "\\frac{1}{2}" if text == "0.5" else text
    return re.sub(r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}", text)

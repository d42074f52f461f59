"""What of a response may be graded: no reasoning, no invented next turn, no special tokens; and answers in fields."""

import json
import re
import unicodedata
from itertools import islice

from ...reasoning import split_reasoning

# A response without any of these is plain.
_MARKS = frozenset("\n<[{◁&")
_TURN = re.compile(
    r"<[|｜](?:eot_id|eom_id|im_end|im_start|end[_▁]?of[_▁]?[a-z]{4,10}|EOT"
    r"|eos|end"
    r"|return|start_header_id|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|user|User|system|assistant|Assistant|start"
    r"|begin_of_text|end▁of▁sentence|file_separator|fim_[a-z]{1,10})[|｜]>"
    r"|<(?:end_of_turn|start_of_turn|turn\||\|turn|eos|bos|eos_token|EOT|pad)>"
    r"|\[(?:EOS|BOS|PAD|EOT)\]|\[\|(?:endofturn|user|assistant)\|\]"
    r"|\[/?INST\]|</?s>",
)
_TURN_MARK = re.compile(r"[<\[](?=[|｜/setbEI])")
_HEAD = re.compile(
    r"[\s:]{0,9}(?:(?:assistant|model|Assistant)\b(?=\s|<)|<\|(?:end_header_id|message|im_sep)\|>"
    r"|[\s:])*"
)
_ROLE = r"(?:User|Human|Assistant|Student|Teacher|Customer|USER|HUMAN|ASSISTANT)"
_NEXT = re.compile(
    r"\n[ \t>]{0,4}(?:#{1,4}[ \t]{0,3})?\*{0,2}(?=[A-Z])(?:"
    r"(?:(?:Next|New|Another|Follow-?up|Here(?:['’]s|[ ]is)[ ]another)[ ](?:[Qq]uestion|[Pp]roblem|[Ee]xercise|[Tt]ask)"
    r"|Example(?=[ ]?\d)"
    r"|QUESTION|Question|PROBLEM|Problem|Exercise|EXERCISE|Instruction|Q)"
    r"(?:(?:[ ]?\#?\d{1,3})?[ ]?\*{0,2}[:.](?!\d)|[ ]\#?\d{1,3}\*{0,2}[ \t]{0,3}\n)"
    rf"|{_ROLE}[ ]?\*{{0,2}}:|(?:Passage|Context|Paragraph):[^\n]{{1,2000}}\b[Qq]uestion:)"
    r"|\n[ \t]{0,4}[\[【](?:Question|Problem|Instruction|User|Human|Input)(?:[ ]?\d{1,3})?[\]】]"
    r"|\n[ \t]{0,3}#{1,4}[ \t]{0,3}(?:Instruction|Input|Question|User|Human|Problem|Your task"
    r"|Exercise)s?\b[^\n]{0,20}\n"
    r"|\n[ \t]{0,9}\n(?=[A-Z])[^\n]{5,600}\?[ \t]{0,9}\n{1,2}[ \t]{0,9}[(\[]?A[).\]][ \t]",
)
# What every match begins with: looking for it first is several times as fast.
_NEXT_LINE = re.compile(
    r"\n[ \t>#*]{0,12}(?:[\[【][QPIUH]|[(\[]?A[).\]][ \t]|Pas|Par|Conte|Q|[PEIU][rxns]|P[Rr]|E[Xx]|[NFA][eons]"
    r"|Here|Hu|HU"
    r"|AS|US|QU|St|Te|Cu|Yo)"
)
_LEAD_IN = re.compile(r"\n[ \t]{0,4}\*{0,2}(?:Passage|Context|Text|Article|Paragraph|Options|Choices)\*{0,2}:")
_INTRO = re.compile(
    r"(?:\A|\n)[ \t]{0,4}(?:sure|okay|ok|certainly|of course|let['’]?s|let me"
    r"|here)\b[^\n]{0,200}\Z",
    re.I,
)
_BLANKS = re.compile(r"\W+")
_TAGS = (
    "answer", "final_answer", "finalanswer", "final", "ans", "choice", "option", "output", "result", "solution",
    "conclusion",
)  # fmt: skip
_HELD = r"(\"(?:[^\"\\]|\\.){0,4000}\"|'(?:[^'\\\n]|\\.){0,4000}'|\[[^\[\]]{0,500}\]|[-+]?[\w.,/%]{1,60})"
_FIELD = re.compile(
    r"[\"'](?:(?:the[ _]?)?(?:final|correct|right|best)?[ _-]?(?:answer|choice|option)(?:[ _]?(?:letter|label|value))?"
    r"|result|prediction)[\"']\s{0,9}:\s{0,9}" + _HELD,
    re.I,
)
_OTHER_FIELD = re.compile(
    r"[\"'](?:letter|label|response|selected|selection|final|pick)[\"']\s{0,9}:\s{0,9}" + _HELD, re.I
)
_BOX_TOKENS = re.compile(r"<\|begin_of_box\|>([^<]{0,2000})<\|end_of_box\|>")
_ASKED = re.compile(r"\s{0,9}\*{0,2}(?:User|Human|Student|Customer|USER|HUMAN)[ ]?\*{0,2}:")
_ANSWERS = re.compile(r"\s{0,9}\*{0,2}(?:Assistant|Teacher|ASSISTANT)\b")
_CONTROL = {"\x08": "\\b", "\x0c": "\\f", "\t": "\\t", "\r": "\\r"}
_CONTROLLED = re.compile("[\x08\x0c\t\r](?=[a-z])")
_ENCIRCLED = {first + i: 65 + i for first in (0x1F150, 0x1F170) for i in range(26)}  # white on black: 🅑, 🅱
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")


def final_text(response: str, query: str = "") -> str:
    """The response without its reasoning and without what follows the answer: an invented question, turn or token.

    A question that only repeats the query, or that comes after no more than an introduction, is not invented.
    The time is linear in the length.
    """
    if _MARKS.isdisjoint(response) and not any(
        words in response for words in ("analysis", "thought process", "reasoning steps")
    ):
        return response
    text = split_reasoning(response)[0]
    if "_of_box|>" in text:  # as GLM marks its answer
        text = _BOX_TOKENS.sub(r"\\boxed{\1}", text)
    if _TURN_MARK.search(text):
        text = _cut_turn(text)
    return _cut_next(text, query) if "\n" in text and _NEXT_LINE.search(text) else text


def _cut_turn(text: str) -> str:
    """Up to the first token that ends a turn; those in front of the answer are left out."""
    start = 0
    for tag in _TURN.finditer(text):
        if tag.group() in ("<s>", "</s>") and _strikes(text, start, tag):
            continue
        if text[start : tag.start()].strip():
            before = text[tag.start() - 1 : tag.start()]
            if before and before in "\"'`" and before == text[tag.end() : tag.end() + 1]:
                continue
            return text[start : tag.start()]
        head = _HEAD.match(text, tag.end())
        start = head.end() if head and head.group().strip() else tag.end()
    return text[start:]


def _strikes(text: str, start: int, tag: re.Match) -> bool:
    """Whether ``<s>`` or ``</s>`` strikes words out, as in HTML, rather than beginning or ending a sequence."""
    if not text[tag.end() : tag.end() + 10].partition("\n")[0].strip(" \t") or text.startswith("<s>", tag.end()):
        return False
    return "<s>" in text[start : tag.start()] if tag.group() == "</s>" else bool(text[start : tag.start()].strip())


def _cut_next(text: str, query: str) -> str:
    """Up to the first line that puts another question, if an answer stands before it."""
    asked = _letters(query)[:60] if query else ""
    for found in islice(_NEXT.finditer(text), 50):
        before = text[: found.start()]
        if before.count("```") % 2 or not before.strip():
            continue
        if _ANSWERS.match(found.group()) and _ASKED.match(before):
            continue  # the answer to a turn that the response repeats
        last = before.rstrip()[-300:]
        repeats = len(asked) > 10 and asked in _letters(text[found.end() : found.end() + 2000])
        if repeats or last[-1] in ":" or _INTRO.search(last):
            return text
        lead = _LEAD_IN.search(before)
        return before[: lead.start()] if lead and before[: lead.start()].strip() else before
    return text


def _letters(text: str) -> str:
    return _BLANKS.sub("", text[:3000]).lower()


def answer_field(text: str) -> tuple[str, int] | None:
    """(what a response puts into an answer tag or into the answer of a JSON object, where that ends), or None."""
    if "</" in text:
        lower = text.lower()
        for tag in _TAGS:
            end = lower.rfind(f"</{tag}>")
            start = lower.rfind(f"<{tag}>", 0, end) if end >= 0 else -1
            if start >= 0 and (inside := text[start + len(tag) + 2 : end].strip()):
                return inside, end
    if "{" in text and ('":' in text or "':" in text or '" :' in text):
        cut = max(0, len(text) - 20000)
        fields = list(_FIELD.finditer(text, cut)) or list(_OTHER_FIELD.finditer(text, cut))
        if fields:
            found = fields[-1]
            return _value(found[1]), found.end()
    return None


def _value(written: str) -> str:
    """The text that a JSON value stands for; LaTeX whose backslashes were not doubled stays LaTeX."""
    try:
        value = json.loads(written, strict=False)
    except ValueError:
        return written.strip("\"'")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if not isinstance(value, str):
        return written
    return _CONTROLLED.sub(lambda found: _CONTROL[found.group()], value).strip()


def plain_characters(text: str) -> str:
    """Full-width letters and marks, Unicode blanks and invisible characters as ASCII has them (NFKC)."""
    return text if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_ENCIRCLED)

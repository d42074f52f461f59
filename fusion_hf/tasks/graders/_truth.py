"""The verdict of an answer to a True/False question."""

import re

from ._final import answer_field, final_text
from ._grade import last_box

TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_SAID = TRUTH | {
    "yep": True, "yeah": True, "yup": True, "nope": False, "nah": False, "correct": True, "incorrect": False,
    "right": True, "wrong": False, "mistaken": False, "accurate": True, "inaccurate": False, "untrue": False,
}  # fmt: skip
_MARKS = r"[\s:*\"'`(\[“”]"
_ECHO = re.compile(r"\b(?:true|yes)\s{0,3}(?:or|/)\s{0,3}(?:false|no)\b(?!\s{0,3}:\s{0,3}\n?\s{0,3}$)", re.I)
_NOT = r"(?:\bnot|\bno longer|\bnever|n['’]t|\bcannot|\bhardly|\bfar from)"
_ADVERBS = (
    r"(?:(?:necessarily|actually|quite|entirely|strictly|be|really|always|considered|thus|therefore|simply"
    r"|clearly|definitely|just|most likely|probably|likely|indeed|absolutely|of course|hence|a|an|the|clear|emphatic"
    r"|resounding|also)\s{1,3}){0,3}"
)
# "no" is a verdict only where no noun follows it ("no doubt", "no evidence").
_VERDICT = (
    r"(?:(?:true|yes|false|yep|yeah|yup|nope|nah)\b(?![-–]\w)"
    r"|no\b(?!-\w)(?=[\s*\"'`)\]”]{0,4}(?:[.,;:!)–—-]|\n|$)|\s{1,3}(?:it|this|that|they|he|she|there|you|we|because|since|as"
    r"|according|based|not|i)\b))"
)
_STATED = re.compile(
    rf"\b(?:answer|verdict|conclusion)\b(?:\s{{1,3}}to\s{{1,3}}[^.:\n]{{1,80}}?)?[\s*_]{{0,5}}(?:is|was|would be"
    rf"|should be|must be|[:=])?"
    rf"(?:{_MARKS}|,){{0,12}}(?P<soft>(?:(?:therefore|thus|of course|then|simply|clearly|definitely|indeed|hence"
    rf"|most likely|probably|likely|obviously|certainly|just|a|an|the|clear|definite|resounding"
    rf"|firm)\b[\s,]{{0,4}}){{0,4}})"
    rf"{_MARKS}{{0,6}}(?P<not>not\s{{1,3}})?(?P<said>{_VERDICT})",
    re.I,
)
_START = re.compile(
    rf"{_MARKS}{{0,12}}(?P<said>{_VERDICT})"
    r"(?=[\s*\"'`)\]”]{0,6}(?:[.,;:!)–—-]|\n|$)|\s{1,3}(?:it|this|that|the|they|he|she|there|you|we|because|since|as"
    r"|according|based|in|per|given|for|and|but|not|i)\b)",
    re.I,
)
_LINE = re.compile(
    r"^[ \t*\"'`(\[#>-]{0,12}(?P<said>true|false|yes|no|correct|incorrect)\b[ \t*\"'`)\].!]{0,12}$", re.I | re.M
)
_ANY = re.compile(rf"(?P<not>{_NOT}\s{{1,3}}{_ADVERBS})?(?<![\w-])(?P<said>{_VERDICT})", re.I)
_CALLED = re.compile(
    r"\b(?:that|this|it|which|statement|claim|assertion|premise|assumption|question|sentence|proposition|you)(?:['’](?:s|re)"
    r"|\s{1,3}(?:are|is|was|would be|seems|appears(?: to be)?))\s{1,3}"
    r"(?P<not>(?:not|never)\s{1,3}|n['’]t\s{1,3})?" + _ADVERBS +
    r"(?P<said>correct|incorrect|right|wrong|accurate|inaccurate|untrue|true|false|mistaken)\b"
    r"|\b(?:isn['’]t|wasn['’]t)\s{1,3}" + _ADVERBS + r"(?P<denied>correct|right|accurate|true|false|wrong|incorrect)\b",
    re.I,
)  # fmt: skip
_NOT_THE_CASE = re.compile(
    r"\b(?:do not|don['’]t|cannot|can['’]t) (?:think|believe|agree|say)\b[^.,;]{0,30}$|\bnot (?:the case|so"
    r"|correct to say|right to say|accurate to say) that\b[^.,;]{0,30}$",
    re.I,
)
_QUESTION = re.compile(r"[^.!?\n]{0,400}\?")
# One without its mark is a question where nothing else is said.
_UNMARKED = re.compile(
    r"\s{0,9}(?:is|are|was|were|does|do|did|can|has|have)\s"
    r"(?:it|this|that|the|there)\b[^.!?\n]{0,400}\Z",
    re.I,
)
_HEDGE = re.compile(
    r"\b(?:yes and no|(?:partially|partly|half|sometimes|not always|neither) (?:true|false|correct|right)|unclear"
    r"|uncertain|unknown|undetermined|not clear|not certain|not sure|unsure|(?:whether"
    r"|if)\s{1,3}(?:or not\s{1,3})?(?:it|this|that|the|he|she|they|true|false)\b"
    r"|not\s{1,3}(?:saying|claiming|suggesting)"
    r"|(?:cannot|can['’]t|could not|couldn['’]t|impossible to|hard to|difficult to|unable to"
    r"|not possible to)\s{1,3}(?:be\s{1,3})?(?:say|said|tell|told|determine|determined|know|known|answer|answered"
    r"|verify|verified|decide|decided|confirm|confirmed)"
    r"|(?:do not|don['’]t)\s{1,3}know|not enough information|insufficient information|might be|may be|could be"
    r"|possibly|perhaps|maybe"
    r"|neither true nor false|both true and false)\b",
    re.I,
)
_TURN = re.compile(r"[,;]\s{0,3}(?:but|then|however|yet|still|so|nevertheless)\b|\bbut\b|[;:–—]", re.I)
_END = re.compile(r"[\s*]{0,3}(?:[.!]|$)")
# The whole answer, where it is none of the words above.
_ALONE = re.compile(
    r"(?P<yes>absolutely|affirmative|definitely|certainly|of course|indeed|y|t|sure|exactly|right|i think so"
    r"|是的?|对|對|正确|正確|はい|예|네|oui|sí|si|ja|да|sim|evet|tak|ano|igen|kyllä|نعم|हाँ|हां)"
    r"|(?P<no>never|i (?:think not|(?:do not|don['’]t) think so)|(?:absolutely|definitely|certainly"
    r"|of course|surely|indeed) not|negative|n|f|no way|not at all|by no means|untrue|not true|wrong|not correct"
    r"|not right|not (?:really|exactly|quite)|hardly|否|不|不是的?|不对|不對|错误|錯誤|いいえ|아니요|아니오|non|nein"
    r"|nee|nej|não"
    r"|нет|hayır|nie|ne|nem|ei|لا|नहीं)",
    re.I,
)
_NO_VERDICT = re.compile(r"[\s*\"'(]{0,6}(?:yes,? and no\b|no\.\s?\d)", re.I)
_WORDS = ("true", "false", "yes", "yep", "yeah", "yup", "no", "nah", "correct", "right", "wrong", "accurate",
          "mistaken")  # fmt: skip
_SENTENCE = re.compile(r"(?<=[.!?\n])")
_IDIOM = re.compile(
    r"\b(?:no\.\s?\d|no\s{1,3}(?:doubt|wonder|problem|matter|one|more|less|fewer|need|idea|way|other|such|single|evidence"
    r"|mention|information|reason|question)"
    r"|(?:come|comes|came|hold|holds|held|ring|rings|stay|stays)\s{1,3}true|true\s{1,3}(?:to|north|love|colou?rs"
    r"|believers?|crime|self)|false\s{1,3}(?:alarm|teeth|start|friends?|positives?|negatives?|hope)"
    r"|(?:saying|says?)\s{1,3}(?:yes|no)\s{1,3}to\b|(?:some|many|most"
    r"|others)\s{1,3}(?:people\s{1,3})?says?\s{1,3}(?:yes|no|true|false)\b|yes[- ]m[ae]n|if\s{1,3}(?:yes|no|so|not"
    r"|true|false)\b|(?:a"
    r"|the)\s{1,3}(?:yes|no|true|false)\s{1,3}(?!from\b)(?=\w))",
    re.I,
)
# One of these stands in every idiom, in single blanks; looking for them first is several times as fast.
_IDIOM_HINTS = ("no", "true", "false", "say", "if yes", "if so", "a yes", "the yes", "yes-m", "yes m")
_LONGEST_IDIOM = 40  # characters of one before the word that is its last
_TAIL = 4000  # the verdict is looked for in the beginning and in this much of the end


def read_truth(response: str, query: str = "") -> bool | None:
    """The verdict of a True/False answer: the last stated one, else a lone or leading word, else the last mention.

    Questions, idioms ("no doubt") and doubt ("it is unclear whether this is true") are no verdicts.
    """
    text = response
    if len(text) > 5:
        text = final_text(text, query)
        if len(text) > 2 * _TAIL:
            text = text[:_TAIL] + "\n" + text[-_TAIL:]
        field = answer_field(text) if "</" in text or "{" in text else None
        boxed = last_box(text) if "box" in text else None
        inside = boxed if boxed is not None else field[0] if field is not None else None
        if inside is not None and (said := _ANY.search(inside[:200])):
            return _verdict(said)
        start = _first(text, ("true", "yes"))
        if start is not None:
            text = text[:start] + _ECHO.sub(" ", text[start:])
        if "?" in text:
            text = _QUESTION.sub(" ", text)
        start = _first(text, ("answer", "verdict", "conclusion"))
        if start is not None:
            for stated in reversed(list(_STATED.finditer(text, start))):
                return _verdict(stated)
    lines = list(_LINE.finditer(text)) if len(text) < 13 or "\n" in text else []
    if lines:
        return _verdict(lines[-1])
    alone = _ALONE.fullmatch(text.strip(" \n\t*\"'`.!()[]。！")) if len(text) < 40 else None
    if alone:
        return alone["yes"] is not None
    if _UNMARKED.match(text):
        return None
    if _NO_VERDICT.match(text):
        return _mentioned(text)
    start = _START.match(text)
    if start:
        # "Is it false? No, it is true.": the whole sentence says more than its first word.
        called = _CALLED.match(text, start.end() + 2) if text[start.end() : start.end() + 1] == "," else None
        return _verdict(called if called and _END.match(text, called.end()) else start)
    return _mentioned(text)


def _mentioned(text: str) -> bool | None:
    """The last verdict that a sentence mentions, without idioms and doubt."""
    first = _first(text, _WORDS)
    if first is None:
        return None
    # Most of a long answer mentions none. A little more before its sentence: an idiom may be broken by a line's end.
    start = max(text.rfind(end, 0, first) for end in ".!?\n") + 1
    rest = text[max(0, start - _LONGEST_IDIOM) :]
    flat = " ".join(rest.lower().split())
    if any(hint in flat for hint in _IDIOM_HINTS):
        rest = _IDIOM.sub(" ", rest)
    for sentence in reversed(_SENTENCE.split(rest)):
        lower = sentence.lower()
        if not any(word in lower for word in _WORDS):
            continue
        hedge = _HEDGE.search(sentence)
        if hedge:
            turn = _TURN.search(sentence, hedge.end())
            sentence = sentence[turn.end() :] if turn else ""
        found = [*_ANY.finditer(sentence), *_CALLED.finditer(sentence)]
        if found:
            return _verdict(max(found, key=lambda match: match.end()))
    return None


def _first(text: str, words: tuple[str, ...]) -> int | None:
    """A place just before the first of these words; None without any."""
    lower = text.lower()
    found = [place for word in words if (place := lower.find(word)) >= 0]
    if not found:
        return None
    return max(0, min(found) - 1) if len(lower) == len(text) else 0


def _verdict(match: re.Match) -> bool:
    groups = match.groupdict()
    if _NOT_THE_CASE.search(match.string, max(0, match.start() - 60), match.start()):
        return _SAID[(groups["said"] or groups["denied"]).lower()] == bool(groups.get("not") or groups.get("denied"))
    if groups.get("denied"):
        return not _SAID[groups["denied"].lower()]
    return _SAID[groups["said"].lower()] != bool(groups.get("not"))

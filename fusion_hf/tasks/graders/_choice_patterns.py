"""Patterns of how responses name, settle on and deny the options of a multiple-choice question."""

import re

from ._cues import WORDS

# Labels: (B), B), B., **B**, [B], \text{B}, "B".
_OPEN = r"[*_$\s\"'`“”‘’{<「『【]{0,12}(?:\\(?:textbf|text|mathrm|mathbf)\s?\{)?[(\[{【「]{0,2}[\"']?\s?"
_TOKEN = r"([A-Ja-j1-9])(?![A-Za-z0-9]|['’][A-Za-z])"
_SHUT = r"\s?[)\]}】」]{0,2}[*_\"'`”’]{0,3}"
STATED_LABEL = re.compile(
    rf"(?:\s{{0,3}}(?:option|choice|letter|number|label)\b)?{_OPEN}{_TOKEN}{_SHUT}(?:\.{{1,3}}|…|:)?", re.I
)
CUE = re.compile(
    r"(?:answers?|ans(?=\.?[:=. ])|choice|options?|choose|chose|picks?|picked|selects?|selected"
    r"|selection)\b(?:(?<=ans)\.)?(?:\s{1,3}(?:to|for"
    r"|here)\b(?!\s(?:is|be)\b)[^.:\n]{0,80}?|\s{1,3}here(?=\s{1,3}is\b))?"
    r"\s{0,3}[*_\"']{0,4}(?P<link>\s{0,3}(?:(?:is|was|would be|should be|must be|has to be|can only be|will be"
    r"|remains|being)\b|:|=|→|\||-{1,2}>|[-–—](?=\s))"
    r"(?:\s{0,3}(?:therefore|thus|clearly|definitely|obviously|probably|likely|most likely|simply|hence|indeed"
    r"|of course|then|,|:)){0,3}"
    r"(?:\s{0,3}(?:the\s)?(?:option|choice|letter|label|answer)\b)?[\s*_]{0,3}:?)?"
    r"(?:\s{0,3}(?:option|choice|letter|answer)\b)?",
    re.I,
)
# The plain closing line of most responses, which nothing can follow or take back.
LAST_LINE = re.compile(
    r"(?:(?:So|Therefore|Thus|Hence),? )?(?:[Tt]he |[Mm]y )?(?:[Ff]inal |[Cc]orrect )?[Aa]nswer(?: is"
    r"|:)? \(?([A-J])\)?\.?\Z"
)
_VERBS = ("choose", "chose", "pick", "select")
_RIGHTLY = re.compile(r"(?:correct|right|best|final|my|true|proper|the)[\s*_]{1,4}$", re.I)


_WRONGLY = re.compile(r"\b(?:wrong|incorrect|false)[\s*_]{1,4}$", re.I)


def is_cue(text: str, match: re.Match) -> bool:
    """Whether the words announce the answer: "the answer is", "I choose"; not an option that is only named."""
    word = match.group()[:6].lower()
    if word.startswith("select") and match.group()[:9].lower() == "selection":
        return match["link"] is not None
    if word.startswith(_VERBS):
        return True
    before = text[max(0, match.start() - 12) : match.start()]
    if _WRONGLY.search(before):
        return False
    if word.startswith("ans") and not word.startswith("answe") and before[-1:].isalnum():
        return False
    if word.startswith(("option", "choice")):
        # "Option A: cows moo" names an option; "the right option is A", "my choice: A" choose one.
        if _RIGHTLY.search(before):
            return match["link"] is not None or word.startswith("choice")
        return not before.strip() and len(text) - match.end() < 12
    return True


# What may follow a lower-case label that ends its phrase: no word (an article has one).
ENDS = re.compile(r"[)\]}*_\"'`]{0,4}\s{0,3}(?:[.,;:!)]|$|\n|because\b|since\b|as\b|\()")
WORD_AFTER = re.compile(r"\s(?!because\b|since\b|as\b|for\b|and\b|or\b|is\b|\()[a-z]{2,}")
_SUPPOSED = re.compile(
    r"(?:\b[Ii]f\b[^.!?\n]{0,55}|\bwhether\b[^.!?\n]{0,50}|\bwould have been\b[^.!?\n]{0,40}"
    r"|\bfirst (?:guess|thought)[^.!?\n]{0,30})$"
)
DENIES = re.compile(r"\s{0,3}(?:not|neither|never)\b|n['’]t\b", re.I)

_NO = (
    r"(?:\bnot|\bnever|\bcannot|\bcan ?not|n['’]t|\bneither|\bnor|\bwithout|\bnone of (?:the above|these|them)"
    r"|\bexcept(?: for)?|\bexcluding|\bbesides"
    r"|\bother than|\brather than"
    r"|\binstead of|\bunlike|\brul(?:e|es|ed|ing) out|\beliminat(?:e|es|ed|ing)|\bexclud(?:e|es|ed)|\breject(?:s|ed"
    r"|ing)?|\bdiscard(?:s|ed)?"
    r"|\bnot even|\bavoid|\bagainst|\bover|\bthan|\bversus|\bvs\.?|\b(?:everything|anything|all|any|every \w{1,12}"
    r"|all of them"
    r"|any of them|(?:any|all|every)(?: other)? (?:option|choice|answer|one)s?)\s{1,3}but|\bno to|\bdismiss(?:es|ed)?)"
)
# "I do not think it is (A)", "I doubt that the answer is (A)"
_DOUBTED = (
    r"(?:\b(?:do not|don['’]t|does not|doesn['’]t|cannot|can['’]t|would not|wouldn['’]t)\s{1,3}(?:think|believe|see|say"
    r"|choose|pick|select)|(?<!no )(?<!without )(?<!without a )\bdoubt)\b[^.,;:!?\n]{0,40}"
)
# "the only wrong one is (A)", "I refuse to pick (A)"
_NAMED_WRONG = (
    r"\b(?:refuse|declin|hesitat)(?:e|es|ed|ing)?\s{1,3}to|\b(?:(?:only|clearly|the)\s{1,3}(?:wrong|incorrect|false)"
    r"(?:\s{1,3}(?:one|option|choice|answer|label))?|(?:wrong|incorrect|false)\s{1,3}(?:one|option|choice|answer|label)s?)"
    r"\s{1,3}(?:is|are|being)"
)
_DENIED_BEFORE = re.compile(
    rf"(?:{_DOUBTED}|(?:{_NO}|{_NAMED_WRONG})[:,]?\s{{1,3}}(?:be\s{{1,3}}|choose\s{{1,3}}|pick\s{{1,3}}|select\s{{1,3}}"
    r"|have been\s{1,3})?(?:the\s{1,3}|to be\s{1,3})?"
    r"(?:(?:answer|correct answer|right answer)\s{1,3})?(?:(?:option|choice|answer|label"
    r"|letter)s?\s{1,3})?)[(*\"'\[]{0,6}$",
    re.I,
)
_DENIED_AFTER = re.compile(
    r"[)\]*\"'_,]{0,6}(?:[:,]?\s{1,3}[–—-]?\s{0,2})(?:(?:is|are|was|would be|would|seems|looks|appears|can be"
    r"|could be|must be|should be|may be|has been|to be)\s{1,3})?"
    r"(?:(?:clearly|definitely|obviously|also|simply|just|therefore|thus|both|all|certainly|quickly|easily"
    r"|immediately)\s{1,3}){0,2}"
    r"(?:not\b|never\b|wrong\b|incorrect\b|false\b|ruled out|eliminated|excluded|impossible|implausible|unlikely"
    r"|out\b(?! of)|a (?:common |frequent )?(?:mistake|trap|distractor)"
    r"|isn['’]t|aren['’]t|wasn['’]t|doesn['’]t|don['’]t|can['’]t|cannot|can not|couldn['’]t|won['’]t|does not|do not"
    r"|did not|didn['’]t|fails?\b|contradicts|makes no sense|is no\b|no\b(?=[,.;]|$))"
    r"|[)\]*\"'_]{0,6}\s{0,3}[:–—-]\s{0,3}(?:no\b|wrong\b|incorrect\b|false\b|✗|✘|❌)",
    re.I,
)


# One of these stands in every window that a pattern can match; looking for them first is much faster.
_NO_HINTS = ("no", "either", "ithout", "n't", "n’t", "never", "but", "xcept", "clud", "sides", "other than", "than",
             "instead", "unlike",
             "rul", "wrong", "ncorrect", "false", "refus", "eclin", "esitat", "doubt", "limin", "ject", "iscard",
             "void", "gainst", "over", "vs", "versus", "ismiss")  # fmt: skip


def denied_before(text: str, place: int) -> bool:
    """Whether what stands in front of `place` denies what follows."""
    window = text[max(0, place - 50) : place]
    return any(map(window.lower().__contains__, _NO_HINTS)) and _DENIED_BEFORE.search(window) is not None


def supposed(text: str, place: int) -> bool:
    """Whether what follows `place` is only supposed ("if …, the answer would be")."""
    window = text[max(0, place - 60) : place]
    return ("f " in window or "whether" in window or "would have" in window or "irst" in window) and (
        _SUPPOSED.search(window) is not None
    )


def denied_after(text: str, place: int) -> bool:
    """Whether what follows a label denies it; "(B), not (A)" denies the next one."""
    match = _DENIED_AFTER.match(text, place)
    if match is None:
        return False
    return not (
        re.match(r"[)\]*\"'_]{0,6}\s{0,3}[,(–—-]", text[place : place + 8])
        and re.search(r"\bnot$|\bnever$", match.group(), re.I)
    )


TAKEN_BACK = re.compile(
    r"[\s$*.,)}]{0,8}(?:(?:was|is|would be|seems|looks)\s{1,3}(?:\w{1,12}\s{1,3}){0,3}?(?:wrong"
    r"|incorrect|not|guess|thought|mistake)\b|isn['’]t|wasn['’]t|\?)",
    re.I,
)
RIGHT = re.compile(
    r"(?:(?<![\w'’])|\()([A-Ja-j])(?![\w'’])[)\]*\"'_.]{0,6}\s{1,3}(?:(?:is|must be|would be|will be|seems(?: to be)?"
    r"|appears(?: to be)?|has to be"
    r"|remains|looks|should be)\s{1,3}(?:clearly\s{1,3}|therefore\s{1,3}|thus\s{1,3}|definitely\s{1,3}|indeed\s{1,3}"
    r"|likely\s{1,3})?"
    r"(?:the\s{1,3}|my\s{1,3})?(?:only\s{1,3})?(?:(?:most\s{1,3}likely|final|one|most)\s{1,3})?(?:right|correct|best"
    r"|better|true|answer|choice|accurate|appropriate|plausible|fitting|pick|solution|(?:option|one)(?= that| which)"
    r"|(?:be\s{1,3})?(?:selected|chosen|picked|marked))\b"
    r"|wins\b|fits best|fits\b|works best|makes (?:the most |most |more |the best )?sense|matches(?: best)?(?=[.!]|$)"
    r"|is (?:the most |most )?likely(?=[.!]|$)|remains(?=[.!]|$)|is left(?=[.!]|$)|is what I (?:would )?(?:pick"
    r"|choose|say|select)"
    r"|is my (?:best )?guess|(?:it is|it's|is)(?=[.!]|$))"
    r"|\b(?i:everything|anything|all|each|every \w{1,12})(?i:\selse)?\s(?i:but"
    r"|except(?: for)?)\s[(*\"']{0,4}([A-J])[)*\"']{0,4}"
    r"\s(?:is|are|was|can be|must be)\s(?:clearly\s)?(?:wrong|incorrect|false|ruled out|eliminated|excluded)"
    r"|\b(?i:correct|right|best|final|guess|result|solution|conclusion|verdict|decision|response|prediction|selection|letter|pick)"
    r"(?i:\s(?:answer|option|choice|letter|verdict|decision|pick))?\s{0,3}[:=]\s{0,3}[*_\"'`(\[]{0,5}([A-J])(?![\w'’])"
)
# "Antwort: B", "答案是B", "故选B", "B 选项正确"
OTHER = re.compile(
    rf"(?i:(?:(?:正确|正確|सही )?{WORDS}|\b(?:opción|option|вариант|альтернатива)\b|选项|選項|選択肢)"
    r"(?:[】」》]|\s{0,3}(?:richtige|correcta|correcte|correta|corretta|finale?|lautet|ist|es|est|è|é|är|is|jest|je|la"
    r"|die|der|option|opción|adalah|yang benar|benar|đúng|là|rätt|هو|هي|الصحيحة|الصحيح|है|คือ|正确|应该|應該|应|應|就|选"
    r"|選|是|为|為|は|은|는|이|[:=–—-])){0,5}"
    r"|(?:故选|因此选|所以选|应选|應選|选择|選擇|选|選)(?:项|項|[:\s]){0,2})"
    r"\s{0,3}[*_\"'`(\[【「]{0,5}\s?([A-Ja-j])(?![A-Za-z0-9]|['’](?!d[iıuü]r))[)\]】」*]{0,3}"
    r"|(?<![A-Za-z])([A-J])\s?(?:选项|選項|项|が|は|가|이|는)?\s?(?:是|为|為)?\s?(?:正确的?|正確的?|对的|最佳|正解|정답)"
)
_CONJ = (
    r"(?:\.{3}|…)?[ \t]{0,3}(?:,?[ \t]{0,3}\b(?:or|and|as well as|oder|und|ou|et|o|y|e)\b"
    r"(?:[ \t]{1,3}(?:perhaps|maybe|possibly"
    r"|also))?|,|/|&"
    r"|;(?=[ \t]{0,3}[*(]{0,3}[A-J][)*]{0,3}\s{0,2}(?:[;.,]|$))"
    r"|\+|或者?|和|与|與|及|または|か|と|또는|或)[ \t]{0,3}(?:(?:option"
    r"|choice)[ \t]{1,3})?"
)
_BOTH = (
    r"(?:both|each|equally|all)\b"
    r"|are\s{1,3}(?:both|all|each|equally|correct|right|true|valid|possible|plausible|acceptable|answers)\b"
)
ALSO = re.compile(
    rf"[)\]*\"'_]{{0,5}}(?:{_CONJ}|(?<=\)) ?(?=\())[*_\"'(\[]{{0,5}}([A-Ja-j])(?:[)\]]"
    rf"|(?![\w'’)\]]))(?!\s{{1,3}}(?!and\b|or\b|{_BOTH})(?:is|are|was|were|does|do|can|has|have|would|seems|because"
    rf"|[a-z]{{2,}}s?\b))"
)
ALSO_LAST = re.compile(rf"[)\]*\"'_]{{0,5}}(?:{_CONJ})[*_\"'(\[]{{0,5}}([A-Ja-j])(?![\w'’])")
ALSO_END = re.compile(r"[)\]*\"'_]{0,5}(?:\s{1,3}|(?<=\s))[*_\"'(\[]{0,5}([A-J])[)\]*\"'_.]{0,5}\s*\Z")
ALSO_BEFORE = re.compile(rf"(?<![\w'’])([A-J])[)\]*\"']{{0,4}}{_CONJ}[*_\"'(\[]{{0,5}}$")
LIST_BEFORE = re.compile(rf"(?:[(*\"']{{0,4}}(?<![\w'’])[A-J][)\]*\"']{{0,4}}(?:{_CONJ})){{1,8}}[(*\"']{{0,4}}$")
PAIR = re.compile(
    r"\b(?:both|either|between)\s{1,3}(?:options?\s{1,3}"
    r"|choices?\s{1,3})?[(*\"']{0,4}[A-J][)*\"']{0,4}\s{1,3}(?:and|or)\s{1,3}[(*\"']{0,4}[A-J](?![\w'’])",
    re.I,
)
FRONT = re.compile(
    r"[\s*_\"'`]{0,12}(?:(?:option|choice)\s{1,3})?[(\[]?([A-J]|[a-j](?=[)\].:]))(?![\w'’])([)\].:]{0,2}[*_\"'`]{0,4})"
    r"(?=\s{0,3}$|\s{0,3}\n|[.:,;!]|\s{0,3}[-–—]\s|(?<=[)\].:*])\s{1,3}(?!(?:is|was|are|seems|would|and|or|moos"
    r"|barks)\b)|\s{1,3}(?:because|since|as|for|it is|obviously|of course|of the|rather than|instead of|not|over"
    r"|but)\b|,|\s\(|\s{0,3}(?:/|&)"
    r"|\s{1,3}(?:and|or)\s)",
    re.I,
)
ALONE = re.compile(
    r"^[\s*_\"'`#>→=-]{0,12}(?:(?i:answer|option|choice)\s{0,2}:?\s{0,2})?(?:\[\"?|<)?[(\[{<【「]?([A-Ja-j1-9])"
    r"[)\]}>】」.:]{0,2}(?:\"?\]|>)?[\s*_\"'`.!]{0,12}$"
)
SETTLED = re.compile(
    r"(?:\b(?i:it['’]s|it is|it must be|it has to be|is|be|go with|going with|opt for|settle on|thus|so|therefore"
    r"|hence|say|with|to|definitely|certainly|obviously|clearly|surely|probably|likely|guess|that['’]s|vote for"
    r"|leaves(?: only| us with)?"
    r"|leaving(?: only| us with)?|only)\s{0,3}[:,]?|→|[-=]>|⇒)"
    r"\s{1,3}[*\"']{0,6}(?:(?i:option|choice|answer)\s{1,3})?\(?([A-J])(?![\w'’])(?! [a-z])"
)
# The bracket is matched before it is looked behind, so that the search can jump from bracket to bracket.
_PAREN = re.compile(r"\((?<![\w)\]]\()([A-J])\)(?![a-z])")
_PAREN_LOW = re.compile(r"\((?<![\w)\]]\()([a-j])\)")
_PAREN_DIGIT = re.compile(r"\((?<![\w)\]]\()([1-9])\)")
_BOLD = re.compile(r"\*\*\s{0,3}(?:(?i:option|choice)\s{1,3})?\(?([A-J])(?:\s{0,3}\*\*|[).:][^*\n]{0,200}\*\*)")
_BARE = re.compile(r"(?<![\w'’(])(?i:option|choice)\s{1,3}[*\"'(]{0,4}([A-J])(?![\w'’])")
_SETTLED_PAREN = re.compile(
    r"(?:\b(?i:it['’]s|it is|it must be|it has to be|go with|going with|opt for|thus|so|therefore|hence"
    r"|say)\s{0,3}[:,]?)"
    r"\s{1,3}[*\"']{0,6}(?:(?i:option|choice|answer)\s{1,3})?(?:\((?=[A-J]\))([A-J])\)"
    r"|(?<!to )([A-J])(?=[*\"']{0,4}(?:[.!;\n]|$)))"
)
_SETTLED_LOW = re.compile(
    r"\b(?i:it['’]s|it is|think|guess|say|go with|so|therefore|thus|hence)\s{1,3}\(?([b-hj])[)*\"'.!\s]{0,5}\Z"
)
# "not A but B", "neither A nor C; B"
_NOT_BUT = re.compile(
    r"\b(?i:not|neither|isn['’]t)\s[^.!?,;\n]{1,40}?(?:[,;]?\s(?i:but|rather)|[,;])\s{1,2}(?:(?i:option|it is"
    r"|it['’]s)\s)?\(?([A-J])(?![\w'’])"
    r"(?=\)?\s{0,3}(?:[.!]|$))"
)
# "A: no. B: yes.", "(A) ✗ (B) ✓"
_MARKED = re.compile(
    r"(?<![\w'’])\(?([A-J])(?![\w'’])\)?\s{0,2}[:?.–—-]?\s{0,2}(?:is\s)?(?:(yes|correct|right|true)\b|([✓✔✅☑])|(no|incorrect|wrong|false)\b|([✗✘❌✖]))",
    re.I,
)
_TICKED = re.compile(r"[✓✔✅☑]\s{0,2}\(?([A-J])(?![\w'’])")
_CHECKBOX = re.compile(r"\[([ xX✓✔]?)\]\s{0,2}\(?([A-J])(?![\w'’])")


def marked(text: str) -> str | None:
    """The only label that is marked as right, where others are marked as wrong; None where that is not so."""
    if "[x]" in text.lower():
        ticked = {m[2] for m in _CHECKBOX.finditer(text[-2000:]) if m[1].strip()}
        return ticked.pop() if len(ticked) == 1 else None
    if not re.search(r"[:?.–—-]\s{0,2}(?:no|yes|(?:in)?correct|wrong|right|true|false)\b|[✓✔✅☑✗✘❌✖]", text, re.I):
        return None
    found = list(_MARKED.finditer(text))[-40:]
    right = {m[1].upper() for m in found if m[2] or m[3]}
    if not found:
        right = {m[1] for m in _TICKED.finditer(text[:200])}
    wrong = {m[1].upper() for m in found if m[4] or m[5]}
    return right.pop() if len(right) == 1 and not right & wrong and (wrong or len(text) < 15) else None


LAST = (
    (_SETTLED_PAREN, "named"),
    (_NOT_BUT, "named"),
    (_PAREN, "last label in parentheses"),
    (_BOLD, "bold"),
    (SETTLED, "named"),
    (_BARE, "named"),
    (_SETTLED_LOW, "named"),
    (_PAREN_LOW, "last label in parentheses"),
    (_PAREN_DIGIT, "last number in parentheses"),
)
REFUSAL = re.compile(
    r"\b(?:I (?:do not|don['’]t|cannot|can['’]t|am not|could not|couldn['’]t)\s{1,3}(?:know|sure|say|tell|determine"
    r"|decide|answer|choose|identify|be sure)"
    r"|I['’]m not (?:sure|certain|able)|(?:not|un)clear (?:whether|if|which)|none of (?:the|these|them)|(?:cannot"
    r"|can['’]t) be determined|no idea|unable to|impossible to (?:say|tell|determine))\b",
    re.I,
)
DENIED_WORDS = re.compile(
    r" (?:not|isnt|arent|wasnt|cannot|cant|never|neither|nor|except|unlike|rather than"
    r"|instead of|other than|but not|no|anything but|everything but|whether|if)(?: be| it is)?(?: [\w|]+(?: [\w"
    r"|]+)? (?:or|and|nor))? $"
)

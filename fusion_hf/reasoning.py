r"""Reasoning that a response holds beside its answer: blocks in tags, and the channels of today's reasoning models.

Forms, with the models or servers that write them:

- ``<think>…</think>`` (DeepSeek-R1, Qwen, Kimi, GLM, Hunyuan, MiniMax, Phi, Nemotron and others), ``<thinking>``,
  ``<thought>`` (EXAONE Deep), ``<reasoning>``, ``<analysis>``, ``<seed:think>`` (Seed-OSS), ``<longcat_think>``,
  ``<think_fast>`` and the like, in any case, with attributes, or escaped for HTML; fences of ``thinking``
- ``[THINK]…[/THINK]`` (Magistral), ``◁think▷…◁/think▷`` (Kimi-VL)
- ``<|START_THINKING|>…<|END_THINKING|>`` (Cohere), ``<|begin_of_thought|>…<|end_of_thought|>`` (OpenThinker),
  ``<|inner_prefix|>…<|inner_suffix|>`` (Apertus), ``<|think|>…<|end|>`` (Solar)
- ``<|channel|>analysis<|message|>…<|channel|>final<|message|>…`` (gpt-oss' harmony format), also where a decoder has
  dropped its special tokens (``analysis…assistantfinal…``); ``<|channel>thought…<channel|>`` (Gemma 4),
  ``<unused94>thought…<unused95>`` (MedGemma)
- ``Here is my thought process: … Here is my response: …`` (Granite), ``Here are my reasoning steps: …
  [BEGIN FINAL RESPONSE]…[END FINAL RESPONSE]`` (Apriel), ``Thinking... …done thinking.`` (Ollama's
  terminal), ``<details type="reasoning">…</details>`` (Open WebUI), ``<details><summary>Thought…`` (other pages)

A chat template often writes the opening tag itself, so an unopened closing tag ends reasoning that began with the text.
"""

import re
from collections.abc import Iterable

_NAMES = (
    r"(?:[a-z]{1,12}[:_])?(?:think(?:ing)?(?:_[a-z]{1,12})?|thoughts?|reason(?:ing)?|reflection|rationale|scratch_?pad"
    r"|analysis|deliberation|(?:thought|reasoning)_process|internal(?:_(?:thoughts?|reasoning))?"
    r"|antthinking|(?:in(?:ner|ternal)_)?monologue|chain_of_thought|cot)"
)
_BARRED = r"(?:think(?:ing)?|thoughts?|reasoning)"
_OPEN = rf"""
    (?:[<＜]|&lt;)[ ]? {_NAMES} (?:\s[^<>\n]{{0,100}})? (?:[>＞]|&gt;)
  | \[(?:think(?:ing)?|thought|reasoning)\]
  | ◁ {_BARRED} ▷
  | <[|｜](?:start|begin)(?:[_▁]of)?[_▁]{_BARRED}[|｜]> | <[|｜]{_BARRED}(?:[_▁](?:start|begin))?[|｜]>
  | <[|｜]inner_prefix[|｜]>
  | <\|channel>\s{{0,3}}(?:thought|thinking|analysis)\b | <unused94>(?:thought)?
  | <details\s{{1,3}}type=["']?reasoning[^<>]{{0,200}}>
  | <details[^<>]{{0,99}}>\s{{0,3}}<summary>\s{{0,3}}(?:thought|thinking|reasoning|chain\ of)[^<>]{{0,60}}</summary>
  | ```(?:think(?:ing)?|thoughts?|reasoning)[ ]{{0,3}}\n
  | \AHere\ is\ my\ thought\ process: | \AHere\ are\ my\ reasoning\ steps:
  | \AThinking\.\.\.[ ]?\n
"""
_CLOSE = rf"""
    (?:[<＜]|&lt;)[ ]? /[ ]? {_NAMES} \s{{0,3}} (?:[>＞]|&gt;)
  | \[/(?:think(?:ing)?|thought|reasoning)\]
  | ◁/ {_BARRED} ▷
  | <[|｜]end(?:[_▁]of)?[_▁]{_BARRED}[|｜]> | <(?:[|｜]/|/[|｜]){_BARRED}[|｜]> | <[|｜]{_BARRED}[_▁]end[|｜]>
  | <[|｜]inner_suffix[|｜]>
  | <channel\|> | <unused95>
"""
# These end a block of their own form only; elsewhere they are something else.
_CLOSE_OWN = r"""
    </details> | \n```(?!\S) | <\|end\|> | <\|content\|> | Here\ is\ my\ response:
  | \[BEGIN\ FINAL\ RESPONSE\] | \.\.\.done\ thinking\.
"""
_TAG = re.compile(
    rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})|(?P<own>{_CLOSE_OWN})",
    re.I | re.X,
)
_OWN = (
    ("<details", "</details>"),
    ("```", "\n```"),
    ("<|think|>", "<|end|>"),
    ("<|think|>", "<|content|>"),
    ("here is my thought process:", "here is my response:"),
    ("here are my reasoning steps:", "[begin final response]"),
    ("thinking...", "...done thinking."),
)
# What wraps the answer in the same forms: no part of its text.
_WRAP = re.compile(
    r"<[|｜](?:START|END)_(?:RESPONSE|TEXT)[|｜]>|<[|｜](?:begin|end)_of_solution[|｜]>|</?response>"
    r"|\[END FINAL RESPONSE\]"
    r"|<\|begin\|>assistant|<\|content\|>",
    re.I,
)
_HARMONY = re.compile(r"<\|channel\|>|<\|message\|>")
_MESSAGE = re.compile(
    r"(?:<\|channel\|>\s{0,3}(?P<channel>[a-z]{0,20})[^<]{0,200}(?:<\|constrain\|>[^<]{0,50})?)?<\|message\|>", re.I
)
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_STRIPPED = re.compile(r"\A\s{0,3}(?:assistant\s{0,3})?analysis(?=\S|\s)")
_FINAL = re.compile(r"assistant\s{0,3}final(?:\s{0,3}(?:json|text))?")
# What every block begins or ends with, in two steps, so that a text without one costs no more than a look.
_MARK = re.compile(r"[<＜◁\[&](?=[/|｜a-zA-Z]|[ ][/a-zA-Z])|```(?=[tr])")
_HINT = re.compile(
    r"(?:[<＜◁\[]|&lt;)[ ]?[/|｜]{0,2}[ ]?(?:[a-z▁_:]{0,16}(?:think|thought|reason|reflect|rationale|scratch|monologue"
    r"|analysis|deliberat|internal|cot\b)"
    r"|channel|message|inner_|unused9|details\b)|<channel|```(?:think|thought|reason)",
    re.I,
)
_BEGINNINGS = ("analysis", "assistant", "here is my thought", "here are my reasoning", "thinking...")
_QUOTES = "\"'`"
_QUOTED = 300  # characters of a quotation that mentions tags


def split_reasoning(text: str) -> tuple[str, str | None]:
    """Take a response apart into its answer and its reasoning.

    An open block without its end is reasoning to the end of the text (the answer was cut off before it began); a
    closing tag without its start ends reasoning that began with the text. Tags that are only mentioned, in quotes or in
    a block of code, stay where they are. The time is linear in the length of the text.

    Args:
        text: What the LLM wrote, special tokens included if the server left them in.

    Returns:
        (answer, reasoning): the answer as it was written, blanks included, and "" where nothing but reasoning is there;
        the reasoning without its tags, its blocks parted by an empty line, and None where there is none.
    """
    if not (_MARK.search(text) and _HINT.search(text)) and not text[:99].lstrip().lower().startswith(_BEGINNINGS):
        return text, None
    if _HARMONY.search(text):
        return _channels(text)
    if (start := _STRIPPED.match(text)) and (final := _FINAL.search(text, start.end())):
        answer = _FINAL.split(text[final.end() :])[-1]
        return answer, text[start.end() : final.start()].strip() or None
    return _blocks(text)


def _blocks(text: str) -> tuple[str, str | None]:
    """`split_reasoning` where reasoning stands in blocks between two tags."""
    pieces: list[tuple[bool, str]] = []  # (is reasoning, text), in their order
    thought = 0  # so many of them are reasoning all the same, because an unopened tag ends there
    opened: re.Match | None = None
    done = quoted = mentions = 0  # where the current piece begins; where a quotation ends; tags mentioned in code
    fences = counted = 0  # fences of code in the current piece, and up to where they are counted
    for tag in _TAG.finditer(text):
        start, end = tag.span()
        if opened is not None:
            if not tag["open"] and (tag["close"] or _own(opened, tag)):
                pieces.append((True, text[opened.end() : start]))
                opened, done, counted, fences = None, end, end, 0
            continue
        if tag["own"] or start < quoted:
            continue
        fences += text.count("```", counted, start)
        counted = start
        quote = text[start - 1 : start] if start and text[start - 1] in _QUOTES else ""
        if tag["open"] and (quote or fences % 2):
            mentions += fences % 2
            quoted = text.find(quote, end, end + _QUOTED) if quote else quoted
        elif tag["open"]:
            pieces.append((False, text[done:start]))
            opened = tag
        elif quote and quote == text[end : end + 1]:
            continue
        elif mentions and fences % 2:
            mentions -= 1
        else:
            pieces.append((False, text[done:start]))
            done, counted, fences = end, end, 0
            # A stray tag at the very end of an answer is only left out; any other says that reasoning came before it.
            parts = pieces[thought:]
            stray = any(piece.strip() for cut, piece in parts if not cut) and not text[end : end + 1000].strip()
            if not (stray and (thought or any(cut for cut, _ in parts))):
                thought = len(pieces)
    if opened is None:
        pieces.append((False, text[done:]))
    elif _begins_a_sentence(text, opened.start()):
        pieces.append((True, text[opened.end() :]))
    else:
        pieces.append((False, text[opened.start() :]))
    answer = "".join(piece for i, (cut, piece) in enumerate(pieces) if not cut and i >= thought)
    if thought or any(cut for cut, _ in pieces):
        answer = _WRAP.sub("", answer)
    return answer, _joined(piece for i, (cut, piece) in enumerate(pieces) if cut or i < thought)


def _own(opened: re.Match, tag: re.Match) -> bool:
    """Whether a tag that ends one form only ends the block that is open."""
    first, last = opened.group().lower(), tag.group().lower()
    return any(first.startswith(one) and last == other for one, other in _OWN)


def _begins_a_sentence(text: str, place: int) -> bool:
    """Whether a block may begin here; an open tag within a sentence is one that the sentence speaks of."""
    before = text[max(0, place - 200) : place].rstrip(" \t")
    return not before or not (before[-1].isalnum() or before[-1] in ",(-–")


def _joined(parts: Iterable[str]) -> str | None:
    return "\n\n".join(part.strip() for part in parts if part.strip()) or None


def _channels(text: str) -> tuple[str, str | None]:
    """`split_reasoning` of the harmony format: the final channel is the answer, the others are reasoning.

    What stands before the first message is reasoning too, where an answer follows: its opening stood in the prompt.
    """
    answer: list[str] = []
    reasoning: list[str] = []
    first, place = None, 0
    while (head := _MESSAGE.search(text, place)) is not None:
        first = head.start() if first is None else first
        if re.search(r"<\|start\|>\s{0,3}user", text[max(place, head.start() - 60) : head.start()]):
            break  # an invented next turn
        stop = _MESSAGE_END.search(text, head.end())
        place = stop.start() if stop else len(text)
        channel = (head["channel"] or "").lower()
        (answer if channel in ("final", "") else reasoning).append(text[head.end() : place])
    before = text[:first] if first is not None else text
    before = re.sub(r"<\|(?:end|start|return|channel|message)\|>(?:\s{0,3}(?:assistant|system)\b)?", "", before)
    if answer:
        reasoning.insert(0, before)
    else:
        answer.append(before)
    return "".join(answer), _joined(reasoning)

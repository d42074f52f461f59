"""Turn a question and its right answers into a template of 1-5 sentences: by an LLM, or without one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .aio import chat
from .leak import leaks, mask

PROMPT_VERSION = "1"
MAX_WORDS = 120
MAX_SENTENCES = 5
RESPONSE_WORDS = 400

_PROMPT = """Below are a question and {count} that solved it. Write a short guideline that helps to solve \
other questions of this kind.

Question:
{question}

{answers}

Write 1 to 5 sentences: what the core task is, which steps of reasoning lead to the answer, and in which format the \
answer is given. Be general. Do not state or hint at the answer of this question. Reply with the guideline only."""

_AGAIN = (
    "Your guideline cannot be used: {reason}. Write it again in 1 to 5 sentences, without the answer of this question."
)
# What ends a worked answer: the rest of the line states the result.
_FINAL = re.compile(
    r"####|\\boxed|^\W*\(?[A-J]\)?\W*$"
    r"|(?:[,;]?\s*\b(?:so|thus|hence|therefore)\b,?\s*)?(?:\b(?:the|my)\s+)?(?:\b(?:final|correct|right)\s+)?"
    r"\b(?:answer|option)\s*(?:is\b|:|=)",
    re.I,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_THINK_TAGS = re.compile(r"<think>.*?(?:</think>|$)", re.S)
_CODE_LINE = re.compile(r"[=(\[]|^\s*(?:def|return|import|from)\b")
_CHATTER = re.compile(r"(?:sure|certainly|here(?:'s| is| are)|test cases?|example usage|note that)\b", re.I)
_CODE_BLOCK = re.compile(r"```.*?(?:```|$)|\[BEGIN\].*?(?:\[DONE\]|$)", re.S)


@dataclass(frozen=True)
class Solved:
    """A query with right answers, the best first.

    Attributes:
        key: The query's id in the log.
        answers: Full responses, the best first.
        candidates: Who gave them (candidate ids).
        rule: How they were chosen, such as ``perf:3``.
    """

    key: str
    task: str
    query: str
    ground_truth: list[str]
    metric: str
    answers: list[str]
    candidates: list[str]
    rule: str


@dataclass
class Draft:
    """What a summariser made of one query.

    Attributes:
        text: The template, or None.
        reason: Why there is none: ``empty``, ``cut off``, ``too long``, ``leaks the answer``, ``no worked steps``.
        answer: Which of the answers is kept as the example answer (index).
        replies: Every reply that was paid for, for the cache: dicts with text, finish_reason and token counts.
    """

    text: str | None
    reason: str | None = None
    answer: int = 0
    replies: list[dict[str, Any]] = field(default_factory=list)


class Summariser(Protocol):
    """Makes a template from a solved query.

    Attributes:
        name: Goes into the provenance of every template.
        prompt_version: Goes into it as well; raise it when the instructions change.
        sees_all: Whether it wants all right answers, not only the top few.
        max_words: The longest template.
    """

    name: str
    prompt_version: str
    sees_all: bool
    max_words: int

    async def summarise(self, solved: Solved, replies: Sequence[dict[str, Any]] = ()) -> Draft:
        """A draft; `replies` are those that an earlier run paid for."""

    async def close(self) -> None:
        """Called once, when all is done, in the same event loop."""


class LLMSummariser:
    """Asks an LLM, checks its reply, and asks once more when the reply is empty, too long or leaks the answer.

    Args:
        backend: Any backend of `fusion_hf.llms` (``async chat(messages, **options)``).
        name: Name of the LLM, for the provenance.
        max_words: Longest template, in words.
        response_words: Each response is shown with at most so many words, its head and its tail.
        options: Passed to ``chat``, such as ``{"max_tokens": 256, "temperature": 0.0}``.
        close: Close the backend when the templates are made.
    """

    prompt_version = PROMPT_VERSION
    sees_all = False

    def __init__(
        self,
        backend: Any,
        name: str,
        max_words: int = MAX_WORDS,
        response_words: int = RESPONSE_WORDS,
        options: dict[str, Any] | None = None,
        close: bool = False,
    ):
        self.backend = backend
        self.name = name
        self.max_words = max_words
        self.response_words = response_words
        self.options = {"max_tokens": 256, "temperature": 0.0} if options is None else options
        self._close = close

    async def summarise(self, solved: Solved, replies: Sequence[dict[str, Any]] = ()) -> Draft:
        """A checked draft; replies of an earlier run are used before new ones are asked for."""
        messages = [{"role": "user", "content": self.prompt(solved)}]
        replies = list(replies)[:2]
        reason = None
        for attempt in range(2):
            if attempt == len(replies):
                reply = await chat(self.backend, messages, **self.options)
                replies.append(
                    {
                        "text": reply.text or "",
                        "finish_reason": reply.finish_reason,
                        "input_tokens": reply.input_tokens,
                        "output_tokens": reply.output_tokens,
                    }
                )
            text, reason = check(replies[attempt], solved, self.max_words)
            if reason is None:
                return Draft(text, replies=replies)
            messages = [
                *messages[:1],
                {"role": "assistant", "content": replies[attempt]["text"] or "(nothing)"},
                {"role": "user", "content": _AGAIN.format(reason=f"it is {reason}" if " " not in reason else reason)},
            ]
        return Draft(None, reason, replies=replies)

    async def close(self) -> None:
        """Close the backend, if it is ours."""
        if self._close:
            await self.backend.close()

    def prompt(self, solved: Solved) -> str:
        """The user message for one solved query."""
        answers = [cut_middle(a.strip(), self.response_words) for a in solved.answers]
        shown = "\n\n".join(f"Answer {i}:\n{a}" for i, a in enumerate(answers, 1))
        count = "an answer" if len(answers) == 1 else f"{len(answers)} answers"
        return _PROMPT.format(count=count, question=cut_middle(solved.query.strip(), 800), answers=shown)


class ExtractiveSummariser:
    """Needs no LLM: the worked steps of the best right answer that shows any, with the final answer masked by ``?``.

    It looks through all right answers in the order of the rule, since the cheapest is often the bare answer.
    """

    name = "extractive"
    prompt_version = PROMPT_VERSION
    sees_all = True

    def __init__(self, max_words: int = MAX_WORDS):
        self.max_words = max_words

    async def summarise(self, solved: Solved, replies: Sequence[dict[str, Any]] = ()) -> Draft:
        """The first answer's steps that pass the check."""
        reason = "no worked steps"
        for i, answer in enumerate(solved.answers):
            text = worked_steps(answer, solved, self.max_words)
            if text is None:
                continue
            text, why = check({"text": text, "finish_reason": "stop"}, solved, self.max_words)
            if why is None:
                return Draft(text, answer=i)
            reason = why
        return Draft(None, reason)

    async def close(self) -> None:
        """Nothing to close."""


def check(reply: dict[str, Any], solved: Solved, max_words: int = MAX_WORDS) -> tuple[str | None, str | None]:
    """(template, None) for a usable reply, else (None, reason)."""
    text = _THINK_TAGS.sub("", reply["text"]).strip()
    if reply.get("finish_reason") == "length" and text and text[-1] not in ".!?":
        ends = [m.end() for m in re.finditer(r"[.!?](?=\s)", text)]
        if not ends:
            return None, "cut off"
        text = text[: ends[-1]]
    if not re.search(r"\w", text):
        return None, "empty"
    if len(text.split()) > max_words:
        return None, "too long"
    best = solved.answers[0] if solved.answers else ""
    if leaks(text, solved.ground_truth, solved.query, solved.metric, best):
        return None, "leaks the answer"
    return text, None


def worked_steps(answer: str, solved: Solved, max_words: int = MAX_WORDS) -> str | None:
    """The sentences of an answer that show how it was reached, the result masked; None where there are none."""
    text = _THINK_TAGS.sub("", answer)
    if solved.metric == "code_eval":
        comments = re.findall(r"^\s*#\s*(.+)$", text, re.M)
        text = "\n".join([_CODE_BLOCK.sub("\n", text), *comments])
        text = "\n".join(line for line in text.splitlines() if not _CODE_LINE.search(line))
    sentences = []
    for sentence in _SENTENCE_END.split(text):
        final = _FINAL.search(sentence)
        sentence = sentence[: final.start()] if final else sentence
        sentence = mask(sentence, solved.ground_truth, solved.query, solved.metric, answer).strip(" \t,;:-–—*#")
        # One word, or nothing but the masked answer, teaches no step.
        if len(re.findall(r"\w+", sentence)) >= 2 and not _CHATTER.match(sentence) and sentence not in sentences:
            sentences.append(sentence)
    if not sentences:
        return None
    if len(sentences) > MAX_SENTENCES:
        sentences = [*sentences[: MAX_SENTENCES - 2], *sentences[-2:]]
    ended = (s if s[-1] in ".!?" else f"{s}." for s in sentences)
    return cut_middle(" ".join(ended).replace("?.", "?"), max_words)


def cut_middle(text: str, words: int) -> str:
    """`text` with at most `words` words: two thirds from its head, one third from its tail, `` … `` between them.

    Whitespace is kept, so that code stays readable.
    """
    pieces = list(re.finditer(r"\S+", text))
    if len(pieces) <= words:
        return text
    head = max(1, (words - 1) * 2 // 3)
    tail = max(0, words - 1 - head)
    end = text[pieces[-tail].start() :] if tail else ""
    return f"{text[: pieces[head - 1].end()]} … {end}".rstrip()

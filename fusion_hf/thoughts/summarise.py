"""Turn a question and its right answers into a template of 1-5 sentences by an LLM of a pool."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..llms.backends._usage import own_tokenizer
from ..llms.pool import LLM
from ..llms.requests import with_defaults
from ..reasoning import split_reasoning
from .ask import AskedChat, ask, price
from .check import check
from .cut import cut_middle, spans_of
from .solved import Draft, Drafts, Solved

PROMPT_VERSION = "2"
RESPONSE_TOKENS, QUESTION_TOKENS = 512, 1024
SAMPLING = {"max_tokens": 256, "temperature": 0.0}

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
_SAID = {"too many sentences": "it has too many sentences", "leaks the answer": "it gives the answer away"}


class LLMSummariser:
    """Asks an LLM, checks its reply, and asks once more when the reply is no template.

    Args:
        llm: An LLM of a pool, on any backend. Its options count; those of `SAMPLING` where it has none.
        folder: Shards of the collector, where every reply is kept as soon as it is there: a second run asks only for
            what is missing. None keeps nothing.
        response_tokens: Each response is shown with at most so many tokens, its head and its tail. Tokens are those of
            the LLM's own tokenizer where it is on this machine, else an estimate.
    """

    prompt_version = PROMPT_VERSION
    sees_all = False

    def __init__(self, llm: LLM, folder: str | Path | None = None, response_tokens: int = RESPONSE_TOKENS):
        self.llm = with_defaults(llm, SAMPLING)
        self.name = llm.name
        self.folder = folder
        self.response_tokens = response_tokens
        self._spans = spans_of(own_tokenizer(llm))

    def drafts(self, solved: list[Solved], **running: Any) -> Drafts:
        """A checked draft for each query; a query without a reply says why in ``reason``."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.folder or temporary
            chats = {item.key: self.chat(item) for item in solved}
            replies, first = ask(self.llm, chats.values(), folder, **running)
            drafts, again = {}, {}
            for item in solved:
                row = replies.get(chats[item.key].key)
                drafts[item.key] = draft = _draft(row, item)
                if draft.text is None and row is not None and row.get("error") is None:
                    again[item.key] = _retry(chats[item.key], row["response"], draft.reason)
            more, second = ask(self.llm, again.values(), folder, **running) if again else ({}, None)
        for item in solved:
            row = more.get(again[item.key].key) if item.key in again else None
            if row is not None and row.get("error") is None:
                # Without a second reply the fault of the first says more.
                drafts[item.key] = replace(_draft(row, item), retried=True)
        usage = self._usage([*replies.values(), *more.values()], first, second)
        return Drafts([drafts[item.key] for item in solved], usage)

    def plan(self, solved: Iterable[Solved]) -> dict[str, Any]:
        """The price of the first question about each query; nothing is asked. A retry asks at most as much again."""
        with tempfile.TemporaryDirectory() as temporary:
            return price(self.llm, [self.chat(item) for item in solved], self.folder or temporary).to_dict()

    def chat(self, solved: Solved) -> AskedChat:
        """What is asked about one solved query."""
        answers = [cut_middle(_worked(a), self.response_tokens, self._spans) for a in solved.answers]
        shown = "\n\n".join(f"Answer {i}:\n{a}" for i, a in enumerate(answers, 1))
        count = "an answer" if len(answers) == 1 else f"{len(answers)} answers"
        question = cut_middle(solved.query.strip(), QUESTION_TOKENS, self._spans)
        prompt = _PROMPT.format(count=count, question=question, answers=shown)
        return AskedChat(solved.task, solved.key, [{"role": "user", "content": prompt}])

    def _usage(self, rows, first, second) -> dict[str, Any]:
        runs = [run for run in (first, second) if run is not None]
        priced = None not in (self.llm.input_price, self.llm.output_price)
        return {
            "resumed": sum(run.resumed for run in runs),
            **{name: _sum([row.get(name) for row in rows if row.get("error") is None]) for name in _TOKENS},
            "usd": sum(run.usd for run in runs) if priced else None,
            "usd_total": _sum([row.get("cost") for row in rows if row.get("error") is None]) if priced else None,
        }


_TOKENS = ("input_tokens", "output_tokens")
_BARE = 12  # words: a shorter answer shows no steps


def _worked(response: str) -> str:
    """The answer without its reasoning; with it where the answer alone shows no steps to sum up."""
    answer, reasoning = split_reasoning(response)
    answer = answer.strip()
    return answer if reasoning is None or len(answer.split()) > _BARE else f"{reasoning}\n\n{answer}".strip()


def _draft(row: dict | None, solved: Solved) -> Draft:
    if row is None:
        return Draft(None, "not asked")
    if row.get("error") is not None:
        return Draft(None, f"no reply ({row['error'].split(':')[0]})")
    text, reason = check(row["response"] or "", row.get("finish_reason"), solved)
    return Draft(text, reason)


def _retry(chat: AskedChat, reply: str, reason: str) -> AskedChat:
    said = _SAID.get(reason, f"it is {reason}")
    more = [
        {"role": "assistant", "content": reply or "(nothing)"},
        {"role": "user", "content": _AGAIN.format(reason=said)},
    ]
    return AskedChat(chat.task, chat.about, [*chat.messages, *more])


def _sum(values: list) -> float | int | None:
    return None if None in values else sum(values)

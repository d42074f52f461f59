"""How a candidate is asked: the chat that is sent in its mode, and its answers to the queries of a log."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import UserError
from ..llms.collect import collect
from ..llms.pool import LLM, Pool
from ..llms.record import Summary
from ..llms.requests import Messages, Request
from ..logs.log import read_log
from ..logs.shards import latest_rows
from ..messages import TEXT_PARTS, as_message, message_text
from ..outputs import write_text
from ..routers.chats import Chat
from ..tasks.modes import PLAIN_MODES, RETRIEVED_MODES, with_mode

QUERY = ["query_id", "task", "source_id", "query", "ground_truth", "metric"]


@dataclass(frozen=True)
class Thoughts:
    """What modes ``thought`` and ``fewshot`` put before a query.

    Attributes:
        templates: Folder or Hub id of thought templates.
        k: At most so many templates before a query.
        asked: Mode in which the query behind them is asked: ``direct`` or ``think``.
        max_words: The least similar templates of a prompt of more words are dropped; None drops none.
    """

    templates: str
    k: int = 3
    asked: str = "direct"
    max_words: int | None = None

    def __post_init__(self) -> None:
        if self.asked not in PLAIN_MODES:
            raise UserError(f"thoughts: expected asked to be one of {', '.join(PLAIN_MODES)}, found {self.asked!r}")
        if not isinstance(self.k, int) or self.k < 1:
            raise UserError(f"thoughts: expected k to be a number from 1 on, found {self.k!r}")
        if self.max_words is not None and (not isinstance(self.max_words, int) or self.max_words < 1):
            raise UserError(f"thoughts: expected max_words to be a number from 1 on, found {self.max_words!r}")

    @cached_property
    def _index(self) -> Any:
        from ..thoughts import TemplateIndex  # a candidate without templates needs no text encoder

        return TemplateIndex.from_pretrained(self.templates)

    def prompts(
        self, queries: Sequence[str], query_ids: Sequence[str] | None = None, mode: str = "thought"
    ) -> list[str]:
        """The user message of each query; `query_ids` leaves out the template that was made from the query itself.

        Mode ``fewshot`` shows right answers to queries of the task that a query seems to belong to.
        """
        from ..thoughts import thought_prompts

        asked = [with_mode(query, self.asked) for query in queries]
        few = mode == "fewshot"
        found = thought_prompts(
            asked, self._index, self.k, "few-shot" if few else "thought", max_words=self.max_words,
            exclude_query_ids=query_ids, filter_tasks=few,
        )  # fmt: skip
        return [thought.prompt for thought in found]


SETTINGS = "thoughts.json"
"""Beside the shards of the collector: what mode ``thought`` put before a query, by LLM."""


def remember(folder: str | PathLike[str], llm: str, thoughts: Thoughts) -> None:
    """Write down beside answers how they were asked for; see `recall`.

    Raises `UserError` where that LLM was asked otherwise before: its answers would be of two kinds.
    """
    known = recall(folder)
    where = Path(thoughts.templates)
    now = replace(thoughts, templates=str(where.resolve()) if where.exists() else thoughts.templates)
    if known.setdefault(llm, now) != now:
        raise UserError(f"{folder} holds answers of {llm} with {known[llm]}, found {now}: use another folder or name")
    Path(folder).mkdir(parents=True, exist_ok=True)
    text = json.dumps({name: asdict(t) for name, t in known.items()}, indent=1)
    write_text(Path(folder) / SETTINGS, text + "\n")


def recall(folder: str | PathLike[str]) -> dict[str, Thoughts]:
    """What mode ``thought`` put before a query when a folder of answers was collected, by LLM; {} where not known."""
    file = Path(folder) / SETTINGS
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {llm: Thoughts(**settings) for llm, settings in known.items()}


def chats(
    queries: Sequence[str | Chat], mode: str, thoughts: Thoughts | None = None, ids: Sequence[str] | None = None
) -> list[Messages]:
    """The chat that asks each query in `mode`.

    Of a chat, the user's last message is asked in the mode. The others stay as they are, and so does what is no text in
    it. The chat must end with that message, or with what tools answered since.

    Args:
        queries: Texts or chats.
        mode: One of `fusion_hf.tasks.modes.MODES`; ``thought`` and ``fewshot`` need `thoughts`.
        ids: For `Thoughts.prompts`.
    """
    if not queries:
        return []
    whole = [[{"role": "user", "content": q}] if isinstance(q, str) else list(map(as_message, q)) for q in queries]
    places = [_last_user(chat, number) for number, chat in enumerate(whole)]
    if mode == "direct":
        return [[dict(message) for message in chat] for chat in whole]
    last = [message_text(chat[place])[0] for chat, place in zip(whole, places, strict=True)]
    if mode in RETRIEVED_MODES:
        if thoughts is None:
            raise UserError(f"mode {mode!r} needs thought templates, found none for this LLM")
        last = thoughts.prompts(last, ids, mode)
    else:
        last = [with_mode(text, mode) for text in last]
    return [_with_text(*parts) for parts in zip(whole, places, last, strict=True)]


def in_mode(chat: Chat, mode: str, thoughts: Thoughts | None = None) -> list[dict[str, Any]]:
    """One chat as it is asked in `mode`; in direct mode it is left as it is, images, tools and all."""
    return [dict(m) for m in chat] if mode == "direct" else chats([chat], mode, thoughts)[0]


def _last_user(chat: Chat, number: int) -> int:
    """Place of the user's last message, where the chat waits for an answer to it."""
    roles = [message.get("role") for message in chat]
    if not roles or roles[-1] not in ("user", "tool", "function") or "user" not in roles:
        raise UserError(f"query {number}: expected a chat that ends with a user message, found none")
    return len(roles) - 1 - roles[::-1].index("user")


def _with_text(chat: Chat, place: int, text: str) -> Messages:
    """The chat with another text in one message; pictures and the like stay in it."""
    content: Any = chat[place].get("content")
    if isinstance(content, list | tuple):
        others = [part for part in content if isinstance(part, dict) and part.get("type", "text") not in TEXT_PARTS]
        content = [{"type": "text", "text": text}, *others] if others else text
    else:
        content = text
    return [{**message, "content": content} if i == place else dict(message) for i, message in enumerate(chat)]


def collect_candidate(
    bench: str | PathLike[str],
    llm: LLM,
    mode: str,
    out: str | PathLike[str],
    splits: Sequence[str] = ("partial_test", "test"),
    thoughts: Thoughts | None = None,
    **options: Any,
) -> Summary:
    """Ask one LLM in one mode the queries of a FusionBench, and keep the answers in `out`; the same call resumes.

    What is answered there already is left out of the summary.

    Args:
        bench: FusionBench folder or Hub id.
        splits: Its splits whose queries are asked.
        thoughts: For modes ``thought`` and ``fewshot``.
        **options: See `fusion_hf.llms.collect.collect_async`.
    """
    if mode in RETRIEVED_MODES and thoughts is not None:
        remember(out, llm.name, thoughts)
    table = pa.concat_tables([read_log(bench, split, columns=QUERY) for split in splits])
    todo = {row["query_id"]: row for row in table.to_pylist()}
    for row in latest_rows(out):  # their prompts would have to be retrieved again
        if (row["llm"], row["mode"]) == (llm.name, mode) and row.get("error") is None:
            todo.pop(row["query_id"], None)
    rows = list(todo.values())
    asked = chats([row["query"] for row in rows], mode, thoughts, [row["query_id"] for row in rows])
    requests = [Request(**row, llm=llm.name, mode=mode, messages=chat) for row, chat in zip(rows, asked, strict=True)]
    return collect(Pool([llm]), requests, out, **options)

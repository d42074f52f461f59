"""Chats to one LLM of a pool through the collector: many at once, resumed after a kill, within a budget."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..llms.collect import Summary, collect, plan
from ..llms.pool import LLM, Pool
from ..llms.requests import Messages, Plan, Request
from ..logs.shards import latest_rows
from ..messages import message_text


@dataclass(frozen=True)
class AskedChat:
    """A chat, and the query that it is about."""

    task: str
    about: str
    messages: Messages

    @property
    def key(self) -> str:
        """Hash of the messages: what was asked word for word once is not asked again."""
        text = "\x1e".join(map(_written, self.messages))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    def request(self, llm: str) -> Request:
        """What the collector asks."""
        text = "\n\n".join(message_text(message)[0] for message in self.messages)
        return Request(self.key, self.task, self.about, text, [], "", llm, "direct", self.messages)


def _written(message: dict) -> str:
    """A message as a text that no other message has."""
    if set(message) == {"role", "content"} and isinstance(message["content"], str):
        return f"{message['role']}\x1f{message['content']}"
    return json.dumps(message, sort_keys=True, default=str)


def ask(llm: LLM, chats: Iterable[AskedChat], folder: str | Path, **running: Any) -> tuple[dict[str, dict], Summary]:
    """Ask what `folder` does not answer yet.

    Args:
        llm: With the options that it is asked with.
        chats: Equal ones are asked once.
        folder: Shards of the collector.
        **running: Options of `fusion_hf.llms.collect.collect_async`.

    Returns:
        (row of the collector by `AskedChat.key`: an answer, or an ``error``; chats that were not asked have none;
        what the run did).

    Raises:
        KeyboardInterrupt: A signal ended the run.
    """
    requests = _requests(llm, chats)
    summary = apart(lambda: collect(Pool([llm]), requests, folder, **running))
    if summary.interrupted:  # what was answered is kept in the folder; nothing is made of the half
        raise KeyboardInterrupt
    wanted = {request.query_id for request in requests}
    rows = {row["query_id"]: row for row in latest_rows(folder) if row["query_id"] in wanted and row["llm"] == llm.name}
    return rows, summary


def price(llm: LLM, chats: Iterable[AskedChat], folder: str | Path) -> Plan:
    """What `ask` would cost; asks nothing."""
    return plan(Pool([llm]), _requests(llm, chats), folder)


def _requests(llm: LLM, chats: Iterable[AskedChat]) -> list[Request]:
    return [chat.request(llm.name) for chat in {chat.key: chat for chat in chats}.values()]


def apart(run: Callable[[], Any]) -> Any:
    """What `run` returns; in a thread of its own where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()

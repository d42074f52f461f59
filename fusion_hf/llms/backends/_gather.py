"""What the backends with a model in this process share: chats that wait at the same time are answered together."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

from . import BackendError, Reply
from ._chat import plain_chat
from ._options import Settings, known_options

SETTINGS = tuple(f.name for f in fields(Settings))


@dataclass(frozen=True, eq=False)
class Job:
    """A chat that waits: its token ids, how to generate, and where its `Reply` goes."""

    ids: list[int]
    settings: Settings
    future: asyncio.Future


class GatheringBackend(ABC):
    """The protocol of a backend over batches.

    A subclass sets `name`, `settings`, `tokenizer`, `context` (most tokens of a prompt and its answer, or None) and
    `thread` (where it generates) before the first chat.
    """

    name: str
    settings: Settings
    tokenizer: Any
    context: int | None
    thread: ThreadPoolExecutor
    gather_s = 0.005  # how long a first chat waits for others

    def __init__(self):
        self._pending: list[Job] = []
        self._pump: asyncio.Task | None = None

    @abstractmethod
    def generate(self, rows: list[list[int]], settings: list[Settings], progress: bool = False) -> list[Reply]:
        """Answer prompts, given as token ids, each with its settings; in the order given."""

    def take(self) -> list[Job]:
        """The jobs to answer next, taken off those that wait: all of them."""
        jobs = [job for job in self._pending if not job.future.done()]
        self._pending = []
        return jobs

    async def chat(self, messages: list[dict[str, str]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Answer one chat, together with those that wait at the same time. `timeout` is for servers and ignored."""
        settings = self._with(options)
        ids = self.encode([messages])[0]
        self._check_length(ids)
        job = Job(ids, settings, asyncio.get_running_loop().create_future())
        self._pending.append(job)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        return await job.future

    async def close(self) -> None:
        """Stop answering."""
        if self._pump is not None:
            self._pump.cancel()

    def generate_batch(
        self, chats: Sequence[list[dict[str, str]]], progress: bool = False, **options: Any
    ) -> list[Reply]:
        """Answer many chats at once, in the order given. For callers without an event loop.

        Raises `BackendError` (kind ``context_length``) if a prompt does not fit the model.
        """
        settings = self._with(options)
        rows = self.encode(chats)
        for ids in rows:
            self._check_length(ids)
        return self.generate(rows, [settings] * len(rows), progress)

    def encode(self, chats: Sequence[list[dict[str, str]]]) -> list[list[int]]:
        """Token ids of the prompts, as the model sees them: without a chat template, the contents as they are."""
        chats = [plain_chat(chat, self.name) for chat in chats]
        if self.tokenizer.chat_template:
            texts = [self.tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in chats]
            return self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return self.tokenizer(["\n".join(m["content"] for m in chat) for chat in chats])["input_ids"]

    def _with(self, options: dict[str, Any]) -> Settings:
        known_options(options, SETTINGS, self.name)
        return replace(self.settings, **options) if options else self.settings

    def _check_length(self, ids: list[int]) -> None:
        if self.context is not None and len(ids) >= self.context:
            raise BackendError("context_length", f"the prompt has {len(ids)} tokens, {self.name} reads {self.context}")

    async def _run(self) -> None:
        """Answer what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.gather_s)
            jobs = self.take()
            if not jobs:
                return
            rows, settings = [job.ids for job in jobs], [job.settings for job in jobs]
            try:
                replies = await loop.run_in_executor(self.thread, self.generate, rows, settings)
            except Exception as error:
                failure = f"{self.name}: generating {len(jobs)} answers failed: {type(error).__name__}: {error}"
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(BackendError("server", failure))
                continue
            for job, reply in zip(jobs, replies, strict=True):
                if not job.future.done():
                    job.future.set_result(reply)

"""Decisions in a thread: queries that come while others are decided are decided together, as one batch."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from ..errors import UserError
from ..fused.ranking import Asked, Ranking
from ..llms.pool import Pool

LARGEST = 64
"""Queries that are encoded at once at most: more make the first ones wait."""


class ServedSystem(Protocol):
    """What is served: a `FusedSystem` or a `RoutedSystem`."""

    pool: Pool
    keys: bool

    @property
    def candidates(self) -> list[str]:
        """All candidates that may answer."""
        ...

    @property
    def scenarios(self) -> list[str]:
        """Trade-offs that can be asked for."""
        ...

    @property
    def tasks(self) -> list[str]:
        """The tasks that it knows."""
        ...

    def rank(self, asked: list[Asked], explain: bool = False) -> list[Ranking | UserError]:
        """Candidates of each query, best first."""
        ...

    def messages(self, candidate: str, chat: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The chat as it is sent to a candidate."""
        ...


class RequestChooser:
    """Ranks queries without holding up the event loop."""

    def __init__(self, system: ServedSystem):
        self.system = system
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="route")
        self._waiting: list[tuple[Asked, asyncio.Future[Ranking]]] = []
        self._running: asyncio.Task[None] | None = None

    async def rank(self, asked: Asked) -> Ranking:
        """The ranking of one query. Raises `UserError` where nobody may answer it."""
        future: asyncio.Future[Ranking] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def explain(self, asked: Asked) -> Ranking:
        """The same with the nearest logged queries."""
        found = (await self.call(self.system.rank, [asked], True))[0]
        if isinstance(found, UserError):
            raise found
        return found

    async def call(self, function: Any, *arguments: Any) -> Any:
        """What a function of the system returns, called in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            batch = [(asked, future) for asked, future in batch if not future.done()]  # some have hung up
            if not batch:
                continue
            try:
                found = await self.call(self.system.rank, [asked for asked, _ in batch])
            except Exception as error:
                found = [error] * len(batch)
            for (_, future), ranking in zip(batch, found, strict=True):
                if future.done():
                    continue
                if isinstance(ranking, Exception):
                    future.set_exception(ranking)
                else:
                    future.set_result(ranking)

    def close(self) -> None:
        """Decide nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

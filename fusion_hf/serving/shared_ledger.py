"""What clients have spent, for several replicas of a server: one process keeps the ledger, the others ask it."""

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..llms.folder_lock import locked
from .clients import Client, Ledger
from .errors import ServeError

logger = logging.getLogger(__name__)

HELD_S = 900.0
"""Seconds after which what a request was expected to cost is released, if its replica has died without a word."""
SETTLED = 50_000
"""Latest requests that are remembered, so that what is told twice is counted once."""


class LedgerKeeper:
    """Keeps the ledger of all replicas in a folder. Its methods take and return plain values, to be called from afar.

    Args:
        folder: Of the ledger's files, which outlive the process; nobody else may serve in it meanwhile.
        clock: Seconds, for tests.
    """

    def __init__(self, folder: str | Path, clock: Callable[[], float] = time.monotonic):
        self._lock = ExitStack()
        self._lock.enter_context(locked(folder))
        self._ledger, self._clock = Ledger(folder), clock
        self._held: OrderedDict[str, tuple[Client, float, float]] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()

    async def admit(self, ticket: str, name: str, usd_a_day: float | None, expected: float) -> list[Any] | None:
        """See `Ledger.admit`. Returns the arguments of a `ServeError`, or None for a request that is let in."""
        await self._release()
        if ticket in self._held:  # asked again after an error on the way
            return None
        client = Client(name, usd_a_day)
        try:
            self._held[ticket] = (client, await self._ledger.admit(client, expected), self._clock())
        except ServeError as error:
            return [error.status, str(error), error.kind, error.code, error.retry_after]
        return None

    async def settle(self, ticket: str, name: str, spent: float) -> None:
        """See `Ledger.settle`. The same ticket counts once."""
        if ticket in self._settled:
            return
        _, held, _ = self._held.pop(ticket, (None, 0.0, 0.0))
        await self._ledger.settle(Client(name), held, spent)
        self._settled[ticket] = None
        if len(self._settled) > SETTLED:
            self._settled.popitem(last=False)

    async def spent(self, name: str) -> float:
        """USD of today."""
        return await self._ledger.spent(name)

    async def _release(self) -> None:
        while self._held:
            ticket, (client, held, since) = next(iter(self._held.items()))
            if self._clock() - since < HELD_S:
                return
            del self._held[ticket]
            await self._ledger.settle(client, held, 0.0)

    def close(self) -> None:
        """Let another server take the folder."""
        self._ledger.close()
        self._lock.close()


class SharedLedger:
    """A replica's view of the ledger, with the face of `Ledger`.

    Args:
        call: (name of a method of `LedgerKeeper`, its arguments) -> what it returns; raises where nobody answers.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]]):
        self._call = call

    async def admit(self, client: Client, expected: float) -> str:
        """A ticket for `settle`. `ServeError` 429 if no budget is left, 503 if nobody can say."""
        ticket = secrets.token_hex(12)
        if client.usd_a_day is None:
            return ticket
        try:
            refused = await self._call("admit", ticket, client.name, client.usd_a_day, expected)
        except Exception as error:  # of Ray, of whatever kind: without the ledger nothing is spent
            logger.warning("the shared ledger does not answer: %s", error)
            raise ServeError(503, "budgets cannot be checked right now", "overloaded", "no_ledger", 1.0) from None
        if refused is not None:
            raise ServeError(*refused)
        return ticket

    async def settle(self, client: Client, held: str, spent: float) -> None:
        """A request has ended."""
        if spent or client.usd_a_day is not None:
            await self._call("settle", held, client.name, spent)

    async def spent(self, client: str) -> float:
        """USD of today, over all replicas."""
        return await self._call("spent", client)

    def close(self) -> None:
        """Nothing is open here."""

"""How hard a run tries, and how many requests one endpoint gets at once: found out while asking."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """How hard to try.

    Attributes:
        concurrency: Requests in flight at one endpoint at most; None lets the LLM's option or its backend say (else
            32). An endpoint that refuses gets fewer (see `AdaptiveLimit`).
        retries: Further tries of a request whose error may pass.
        timeout: Seconds for one answer of a server; None leaves it to the backend.
        max_usd: What all rows of the folder may cost; None means no cap (see `Budget`).
        max_failures: Requests in a row that an endpoint may fail (refused, no right, server error) before it is left
            alone for the rest of the run.
        window: Requests that are read ahead at most: enough that one slow endpoint does not hold up the others.
        sharers: Processes that ask the same servers; each gets its share of `concurrency`.
        drain: Seconds that a stopped run waits for the answers in flight.
        dearer: LLM -> how many times its worst case an answer has cost before (at least 1).
    """

    concurrency: int | None = None
    retries: int = 5
    timeout: float | None = None
    max_usd: float | None = None
    max_failures: int = 8
    window: int = 20_000
    sharers: int = 1
    drain: float = 30.0
    dearer: Mapping[str, float] = field(default_factory=dict)


class AdaptiveLimit:
    """Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP shares a line.

    A refusal halves what may be in flight, once for all requests that were under way together; a whole round of answers
    lets one more in. Without refusals it stays at `most` and costs nothing.

    Args:
        most: Requests in flight at most.
    """

    def __init__(self, most: int):
        self.most = most
        self.allowed = float(most)
        self.in_flight = 0
        self._round = 0  # grows with every decrease
        self._waiting: deque[asyncio.Future] = deque()

    async def enter(self) -> int:
        """Wait for room. Returns the round, for `leave`."""
        while self.in_flight >= max(1, int(self.allowed)):
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._wake()  # the room that was meant for this one goes to the next
                raise
        self.in_flight += 1
        return self._round

    def leave(self, entered: int, refused: bool | None) -> None:
        """Give the room back. `refused`: whether the endpoint said that it is too much; None where it said nothing."""
        self.in_flight -= 1
        if refused and entered == self._round:
            self.allowed = max(1.0, min(self.allowed, self.in_flight + 1) / 2)
            self._round += 1
        elif refused is False and self.allowed < self.most:
            self.allowed = min(self.most, self.allowed + 1 / self.allowed)
        self._wake()

    def _wake(self) -> None:
        room = max(1, int(self.allowed)) - self.in_flight
        while room > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                room -= 1

"""How many requests one endpoint gets at once: found out while asking, from what it refuses."""

import asyncio
from collections import deque


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

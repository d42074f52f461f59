"""What a run may spend: what it has spent, what requests in flight may still cost, and what counts against a cap."""

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)
TOLERATED = 1.1  # times its worst case that an answer may cost before the next ones are reserved that much too


class Budget:
    """USD that were spent, and USD that requests in flight may still cost.

    Args:
        spent: What counts against the cap already.
        note: Told what no row accounts for, whenever it changes: what is in flight, and tries that failed but may be on
            the bill.
    """

    def __init__(self, cap: float | None, spent: float = 0.0, note: Callable[[float], None] = lambda usd: None):
        self.cap = cap
        self.spent = spent
        self.reserved = self.lost = 0.0
        self._room = 0.0
        self._note = note
        self._in_flight = 0
        self._told = False
        self._changed = asyncio.Condition()

    async def reserve(self, usd: float, room: float = 0.0) -> bool:
        """Set `usd` aside; False if the cap forbids it. Waits for requests in flight: most cost less than that.

        `room` is what the answer may cost beyond that, if its server does not keep to limits. Where the cap has not so
        much left, the request waits until it is alone in flight, so that no two answers together pass the cap.
        """
        async with self._changed:
            # Written so that a sum that is no number is no leave to spend.
            while self.cap is not None and not self.spent + self.reserved + self._room + usd + room <= self.cap:
                if not self._in_flight:
                    if not self.spent + usd <= self.cap:
                        return False
                    break
                self._tell(usd)
                await self._changed.wait()
            self.reserved += usd
            self._room += room
            self._in_flight += 1
            self._note(self.lost + self.reserved)
            return True

    def _tell(self, usd: float) -> None:
        """Say once why fewer requests are in flight than could be."""
        if not self._told and self.cap is not None and self.spent + self.reserved + usd <= self.cap:
            self._told = True
            logger.warning(
                "%.3g of %.3g USD are left: fewer requests at once from here on, so that answers which cost many times "
                "what they may do not pass the cap together", self.cap - self.spent, self.cap,
            )  # fmt: skip

    async def settle(self, reserved: float, spent: float, lost: bool = False, room: float = 0.0) -> None:
        """Turn a reservation into what was spent; `lost`: for nothing."""
        self._in_flight -= 1
        self.reserved = self.reserved - reserved if self._in_flight else 0.0
        self._room = self._room - room if self._in_flight else 0.0
        self.spent += spent
        self.lost += spent if lost else 0.0
        self._note(self.lost + self.reserved)
        async with self._changed:
            self._changed.notify_all()


def counted(usd: float | None, usage_source: str | None) -> bool:
    """Whether a price is what the server will charge, rather than an estimate or nothing."""
    return usd is not None and usage_source == "server"


def charged(usd: float | None, usage_source: str | None, reported: float | None, most: float) -> float:
    """USD that count against a cap for an answer: the dearer of our price and the server's own.

    A server that does not count its tokens may charge for any number of them: then it is `most`, the worst case.
    """
    return max(usd if usd is not None and counted(usd, usage_source) else most, reported or 0.0)


def dearer_than(most: float, real: float) -> float:
    """How many times as much as `most` is set aside for the next answers after one that cost `real`; at least 1."""
    return TOLERATED * real / most if most and real > TOLERATED * most else 1.0

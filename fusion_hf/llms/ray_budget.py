"""One budget for all machines of a cluster."""

from collections import Counter
from typing import Any

from .budget import Budget
from .reserved_spend import ReservedSpend


class ClusterBudget:
    """`Budget` in an actor. It knows which block of requests holds what, because an actor that asks may die."""

    def __init__(self, cap: float, spent: float, out: str):
        self._file = ReservedSpend(out)
        self._budget = Budget(cap, spent, self._file.write)
        self._held: dict[str, Counter[tuple[float, float]]] = {}

    async def begin(self, block: str) -> None:
        """A block is begun. What it held before was lost with its actor, and may be on the bill all the same."""
        for (usd, room), times in self._held.pop(block, Counter()).items():
            for _ in range(times):
                await self._budget.settle(usd, usd, True, room)
        self._held[block] = Counter()

    async def reserve(self, block: str, usd: float, room: float) -> bool:
        """See `Budget.reserve`."""
        allowed = await self._budget.reserve(usd, room)
        if allowed:
            self._held[block][usd, room] += 1
        return allowed

    async def settle(self, block: str, reserved: float, spent: float, lost: bool, room: float) -> None:
        """See `Budget.settle`."""
        self._held[block][reserved, room] -= 1
        await self._budget.settle(reserved, spent, lost, room)

    async def close(self) -> None:
        """Every block is done."""
        self._file.close()


class BudgetClient:
    """What a `Runner` needs of a `Budget`, from an actor with a `ClusterBudget`."""

    def __init__(self, actor: Any, block: str):
        self._actor, self._block = actor, block
        self.cap = float("nan")  # there is one; the runner wants to know no more

    async def begin(self) -> None:
        """See `ClusterBudget.begin`."""
        await self._actor.begin.remote(self._block)

    async def reserve(self, usd: float, room: float = 0.0) -> bool:
        """See `Budget.reserve`."""
        return await self._actor.reserve.remote(self._block, usd, room)

    async def settle(self, reserved: float, spent: float, lost: bool = False, room: float = 0.0) -> None:
        """See `Budget.settle`."""
        await self._actor.settle.remote(self._block, reserved, spent, lost, room)

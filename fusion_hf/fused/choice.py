"""Which candidate answers: decisions of a fused system, and what the log lets one expect of candidates."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..logs.rewards import get_scenario, pick


@dataclass(frozen=True)
class FusedDecision:
    """Which candidate should answer a query.

    Attributes:
        task: As given, or as recognised.
        system: Name of the configuration that decided: a candidate, or a router in a scenario; ``log`` where a
            trade-off, a budget or a choice of candidates was asked for that the configuration does not keep.
        candidate: The choice.
        performance: What the log lets one expect of it, 0..1.
        cost: The same in USD; None where the log had no costs.
    """

    task: str
    system: str
    candidate: str
    performance: float
    cost: float | None

    def to_dict(self) -> dict[str, Any]:
        """The decision as plain JSON types."""
        return asdict(self)


LOG = "log"


def from_log(
    task: str,
    entry: dict[str, Any],
    scenario: str | None = None,
    max_cost: float | None = None,
    candidates: Collection[str] | None = None,
) -> FusedDecision:
    """The candidate that did best on a task in the log, under a trade-off, a budget, or among some only.

    Args:
        entry: The task's entry in the configuration.

    Raises:
        UserError: No candidate is left, or a cost is asked for that was not measured.
    """
    names = [c for c in entry["candidates"] if candidates is None or c in candidates]
    if not names:
        raise UserError(f"task {task!r}: expected a candidate of the log among those to choose from, found none")
    performance = np.array([entry["candidates"][c]["performance"] for c in names], float)
    cost = np.array([entry["candidates"][c]["cost_usd"] for c in names], float)  # None becomes NaN
    trade = get_scenario(scenario or "performance")
    if trade.score != "performance":
        raise UserError(f"scenario {scenario!r}: a fused system knows performance and cost only")
    if (trade.beta or max_cost is not None) and np.isnan(cost).all():
        raise UserError(f"task {task!r}: no cost was measured: expected no max_cost and no trade-off with a cost")
    reward = trade.alpha * performance / entry["span"]["performance"]
    if trade.beta:
        reward = reward - trade.beta * cost / entry["span"]["cost"]
    if max_cost is not None:
        reward = np.where(cost <= max_cost, reward, np.nan)
        if np.isnan(reward).all():
            raise UserError(
                f"task {task!r}: no candidate is expected to cost at most {max_cost:g} USD; the cheapest is expected "
                f"to cost {np.nanmin(cost):.3g}"
            )
    best = int(pick(reward[None], cost[None], names)[0])
    return decision(task, LOG, names[best], entry)


def decision(task: str, system: str, candidate: str, entry: dict[str, Any]) -> FusedDecision:
    """The decision for one candidate, with what the log showed of it on the task."""
    seen = entry["candidates"][candidate]
    return FusedDecision(task, system, candidate, float(seen["performance"]), seen["cost_usd"])

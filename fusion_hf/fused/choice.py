"""Which candidate answers: decisions of a fused system, and what the log lets one expect of candidates."""

from collections.abc import Collection, Mapping, Sequence
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
        reward: What the trade-off makes of both; None where a configuration names its candidate.
    """

    task: str
    system: str
    candidate: str
    performance: float
    cost: float | None
    reward: float | None = None

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
    saved: Mapping[str, float] | None = None,
) -> list[FusedDecision]:
    """The candidates by what they did on a task in the log, best first: under a trade-off, a budget, or among some.

    Args:
        entry: The task's entry in the configuration.
        saved: USD that a candidate costs less than in the log, because it has the beginning of the prompt cached.

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
    reward = reward + stay(saved or {}, names, trade.beta / entry["span"]["cost"])
    result = []
    for _ in names:  # the next best each time, so that ties are broken as everywhere
        best = int(pick(reward[None], cost[None], names)[0])
        if np.isnan(reward[best]):
            break
        result.append(decision(task, LOG, names[best], entry, float(reward[best])))
        reward[best] = np.nan
    return result


STICKY = 1e-5
"""What staying with a session's LLM is worth in reward where nothing else speaks for or against it."""


def stay(saved: Mapping[str, float], names: Sequence[str], usd_worth: float) -> np.ndarray:
    """Reward that each candidate gains by what it has cached, at this much reward a USD: float64 [m]."""
    return np.array([saved[n] * usd_worth + STICKY if n in saved else 0.0 for n in names])


def decision(
    task: str, system: str, candidate: str, entry: dict[str, Any], reward: float | None = None
) -> FusedDecision:
    """The decision for one candidate, with what the log showed of it on the task."""
    seen = entry["candidates"][candidate]
    return FusedDecision(task, system, candidate, float(seen["performance"]), seen["cost_usd"], reward)

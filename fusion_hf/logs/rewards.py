"""Rewards and scenarios (FusionFactory, arXiv 2507.10540): reward = alpha * score - beta * cost, scaled per task."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from .arrays import RoutingData


@dataclass(frozen=True)
class Scenario:
    """A trade-off between score and cost; `score` is ``performance`` or ``judge``."""

    alpha: float
    beta: float
    score: str = "performance"


SCENARIOS: dict[str, Scenario] = {
    "performance": Scenario(1.0, 0.0),
    "balance": Scenario(0.5, 0.5),
    "cost": Scenario(0.2, 0.8),
    "judge": Scenario(1.0, 0.0, "judge"),
}


def get_scenario(name: str) -> Scenario:
    """The scenario called `name`; a `UserError` lists the known ones."""
    if name not in SCENARIOS:
        raise UserError(f"unknown scenario {name!r}: expected one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def available_scenarios(data: RoutingData) -> list[str]:
    """The scenarios that a log can be measured on: a cost term needs costs, a judge term needs judge scores."""
    has_cost, has_judge = not np.isnan(data.cost).all(), not np.isnan(data.judge).all()
    return [name for name, s in SCENARIOS.items() if (has_cost or s.beta == 0) and (has_judge or s.score != "judge")]


@dataclass(frozen=True)
class Scaling:
    """Minimum and span of each quantity per task, taken from the training split.

    `low` and `span` map quantity -> task -> number; a span of zero is stored as 1, so that a constant scales to 0.
    `whole` maps quantity -> [minimum, span] over all tasks.

    A task that the training split did not have is measured too: scores lie in 0..1 and are taken as they are, and costs
    are scaled over all tasks.
    """

    low: dict[str, dict[str, float]]
    span: dict[str, dict[str, float]]
    whole: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, data: RoutingData) -> "Scaling":
        """Scaling from `data`, which must be the training split."""
        low: dict[str, dict[str, float]] = {}
        span: dict[str, dict[str, float]] = {}
        whole: dict[str, list[float]] = {}
        tasks = np.array(data.tasks)
        for name in ("performance", "cost", "judge"):
            values = getattr(data, name)
            low[name], span[name] = {}, {}
            for task in np.unique(tasks):
                if (found := _range(values[tasks == task])) is not None:
                    low[name][str(task)], span[name][str(task)] = found
            if (found := _range(values)) is not None:
                whole[name] = list(found)
        return cls(low, span, whole)

    def units(self, name: str, tasks: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Minimum and span of quantity `name` in each of n tasks: two float64 [n].

        NaN for costs of a task that the training split did not have, if it had no costs at all.
        """
        new = (0.0, 1.0) if name != "cost" else tuple(self.whole.get(name, (np.nan, np.nan)))
        low, span = self.low[name], self.span[name]
        pairs = [(low[t], span[t]) if t in low else new for t in tasks]
        both = np.array(pairs, float).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def scaled(self, data: RoutingData, name: str) -> np.ndarray:
        """[n, m] of quantity `name` in units of its task's span; values outside the training range stay outside 0..1.

        Raises `UserError` for costs where the training split had none.
        """
        values = getattr(data, name)
        if np.isnan(values).all():
            return values.copy()
        low, span = self.units(name, data.tasks)
        if np.isnan(span).any():
            raise UserError(f"the training split has no {name} to scale by: expected one for at least one answer")
        return (values - low[:, None]) / span[:, None]


def unseen_tasks(tasks: Sequence[str], trained: Sequence[str]) -> list[str]:
    """The tasks that training never saw, sorted."""
    return sorted(set(tasks) - set(trained))


def unseen_note(tasks: Sequence[str], most: int = 5) -> str:
    """What is said beside figures of tasks that training never saw."""
    named = ", ".join(tasks[:most]) + (f" and {len(tasks) - most} more" if len(tasks) > most else "")
    return (
        f"Training never saw {named}: scores there are taken as they are, and costs are scaled over all tasks of the "
        "training split."
    )


def _range(cells: np.ndarray) -> tuple[float, float] | None:
    """Minimum and span of what was measured; None without anything."""
    cells = cells[~np.isnan(cells)]
    return (float(cells.min()), float(cells.max() - cells.min()) or 1.0) if len(cells) else None


def reward(data: RoutingData, scenario: Scenario, scaling: Scaling) -> np.ndarray:
    """alpha * score - beta * cost for every query and candidate: float64 [n, m], NaN where not measured."""
    result = scenario.alpha * scaling.scaled(data, scenario.score)
    if scenario.beta:
        result = result - scenario.beta * scaling.scaled(data, "cost")
    return result


def pick(rewards: np.ndarray, cost: np.ndarray, candidates: list[str], tolerance: float = 1e-9) -> np.ndarray:
    """Index of the best candidate of each query: int [n].

    Ties (within `tolerance`) go to the cheaper candidate, then to the first name; NaN rewards are never picked unless
    all are NaN. `cost` is [n, m] or [m]; NaN costs count as dearest.
    """
    rewards = np.where(np.isnan(rewards), -np.inf, rewards)
    cost = np.broadcast_to(np.where(np.isnan(cost), np.inf, cost), rewards.shape)
    tied = rewards >= rewards.max(1, keepdims=True) - tolerance
    price = np.where(tied, cost, np.inf)
    tied &= price <= price.min(1, keepdims=True)
    rank = np.argsort(np.argsort(candidates))
    return np.where(tied, rank, len(candidates)).argmin(1)

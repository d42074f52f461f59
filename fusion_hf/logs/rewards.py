"""Rewards and scenarios (FusionFactory, arXiv 2507.10540): reward = alpha * score - beta * cost, scaled per task."""

from dataclasses import dataclass

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
    """

    low: dict[str, dict[str, float]]
    span: dict[str, dict[str, float]]

    @classmethod
    def fit(cls, data: RoutingData) -> "Scaling":
        """Scaling from `data`, which must be the training split."""
        low: dict[str, dict[str, float]] = {}
        span: dict[str, dict[str, float]] = {}
        tasks = np.array(data.tasks)
        for name in ("performance", "cost", "judge"):
            values = getattr(data, name)
            low[name], span[name] = {}, {}
            for task in np.unique(tasks):
                cells = values[tasks == task]
                cells = cells[~np.isnan(cells)]
                if len(cells):
                    low[name][str(task)] = float(cells.min())
                    span[name][str(task)] = float(cells.max() - cells.min()) or 1.0
        return cls(low, span)

    def scaled(self, data: RoutingData, name: str) -> np.ndarray:
        """[n, m] of quantity `name` in units of its task's span; values outside the training range stay outside 0..1.

        Raises `UserError` for a task that the training split did not have.
        """
        values = getattr(data, name)
        if np.isnan(values).all():
            return values.copy()
        unknown = sorted(set(data.tasks) - set(self.low[name]))
        if unknown:
            raise UserError(
                f"task {unknown[0]!r} has no {name} in the training split: expected one of {', '.join(self.low[name])}"
            )
        low = np.array([self.low[name][t] for t in data.tasks])[:, None]
        span = np.array([self.span[name][t] for t in data.tasks])[:, None]
        return (values - low) / span


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

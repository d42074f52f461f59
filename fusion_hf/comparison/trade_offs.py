"""The reward of every system in every scenario (arXiv 2507.10540): alpha * score - beta * cost, scaled by task."""

from collections.abc import Sequence

import numpy as np

from ..logs.rewards import Scaling, Scenario, available_scenarios, get_scenario
from .resample import Columns, Resamples
from .systems import Splits, System


def scenario_rewards(systems: Sequence[System], splits: Splits, resamples: Resamples) -> list[dict]:
    """SCENARIO -> ``reward``, ``ci95`` over all test queries, a dict a system; null where not measured.

    Performance, cost and judge score are scaled by their least and largest value in the task's train rows. A system
    that is cheaper, or dearer, than anything there has a scaled cost outside of 0..1.
    """
    scaling, columns = Scaling.fit(splits.train), Columns()
    names = [n for n in available_scenarios(splits.train) if n in available_scenarios(splits.test)]
    places = []
    for s in systems:
        values = [_reward(s, get_scenario(name), scaling, splits.test.tasks) for name in names]
        places.append([(columns.add(v), columns.add(~np.isnan(v))) for v in values])
    total = resamples.sums(columns.array()).sum(0)
    result = []
    for found in places:
        entry: dict[str, dict] = {}
        for name, (value, count) in zip(names, found, strict=True):
            if not total[0, count]:
                entry[name] = {"reward": None, "ci95": None}
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                means = total[:, value] / total[:, count]
            low, high = np.nanquantile(means[1:], [0.025, 0.975])
            entry[name] = {"reward": float(means[0]), "ci95": [float(low), float(high)]}
        result.append(entry)
    return result


def _reward(system: System, scenario: Scenario, scaling: Scaling, tasks: Sequence[str]) -> np.ndarray:
    """float64 [n], NaN where the score or the cost was not measured."""

    def scaled(name: str) -> np.ndarray:
        low, span = scaling.units(name, tasks)
        return (getattr(system, name) - low) / span

    reward = scenario.alpha * scaled(scenario.score)
    return reward - scenario.beta * scaled("cost") if scenario.beta else reward

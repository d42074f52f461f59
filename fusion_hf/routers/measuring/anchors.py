"""What every router is compared with: random, cheapest, best single, best per task, and the oracle."""

import numpy as np

from ...logs.arrays import RoutingData
from ...logs.rewards import Scaling, Scenario, pick, reward
from ...logs.stats import mean, number

ANCHORS = ("random", "cheapest", "best-single", "best-per-task", "oracle")


def choices(
    test: RoutingData, train: RoutingData, scenario: Scenario, scaling: Scaling
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Column that each anchor picks for every test query (int [n]; `random` has none), and the test reward [n, m]."""
    rewards, learned = reward(test, scenario, scaling), reward(train, scenario, scaling)
    price = mean(train.cost, 0)
    n, names = len(test), test.candidates
    single = pick(mean(learned, 0)[None], price, names)[0]
    found = {"best-single": np.full(n, single), "best-per-task": np.full(n, single)}
    if not np.isnan(price).all():
        found["cheapest"] = np.full(n, pick(-price[None], price, names)[0])
    for task in set(test.tasks) & set(train.tasks):
        rows = np.array(train.tasks) == task
        best = pick(mean(learned[rows], 0)[None], mean(train.cost[rows], 0), names)[0]
        found["best-per-task"][np.array(test.tasks) == task] = best
    found["oracle"] = pick(rewards, np.where(np.isnan(test.cost), price, test.cost), names)
    return found, rewards


def figures(rewards: np.ndarray, data: RoutingData, picks: np.ndarray | None, rows=slice(None)) -> dict:
    """Mean reward, performance and cost of picks; of a random candidate where picks is None."""
    values = {"reward": rewards, "performance": data.performance, "cost_usd": data.cost}
    if picks is not None:
        line = np.arange(len(data))
        values = {k: v[line, picks] for k, v in values.items()}
    return {k: number(mean(v[rows])) for k, v in values.items()}

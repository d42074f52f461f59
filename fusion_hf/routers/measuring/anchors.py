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


def outcome(values: np.ndarray, picks: np.ndarray | None) -> np.ndarray:
    """What picks brought, [n], of values [n, m]; the mean of what was measured where picks is None (at random)."""
    return mean(values, 1) if picks is None else values[np.arange(len(values)), picks]


def shared(reward: np.ndarray, single: np.ndarray) -> np.ndarray:
    """Queries on which a choice and the best single candidate were both measured, bool [n].

    All figures of a line stand on these, so that what is compared was measured on the same queries: in a log with few
    answers a query, means over whatever each choice has would compare easy queries with hard ones.
    """
    return ~np.isnan(reward) & ~np.isnan(single)


def figures(rewards: np.ndarray, data: RoutingData, picks: np.ndarray | None, rows: np.ndarray) -> dict:
    """Mean reward, performance and cost of picks, of a random candidate where picks is None, and on how many queries.

    Of the queries `rows` (bool [n]) those count on which everything was measured. A quantity that fewer than half of
    them have is None instead.
    """
    values = {"reward": rewards, "performance": data.performance, "cost_usd": data.cost}
    got = {name: outcome(v, picks) for name, v in values.items()}
    keep = rows & ~np.isnan(got["reward"])
    missing = {name: np.isnan(v) for name, v in got.items()}
    dash = [name for name in got if 2 * (keep & missing[name]).sum() > keep.sum()]
    for name in set(got) - set(dash):
        keep = keep & ~missing[name]
    return {k: None if k in dash else number(mean(v[keep])) for k, v in got.items()} | {"queries": int(keep.sum())}

"""The figures that other benchmarks report of routers: LLMRouterBench's and RouterArena's."""

from collections.abc import Sequence

import numpy as np

from ..logs.rewards import pick
from ..logs.stats import mean, number
from ..routers import load_router
from ..routers.decisions import TIE
from ..routers.measuring.operating_points import cost_weights
from .routed import predict
from .systems import BEST_SINGLE, ORACLE, Splits, System

ARENA_COSTS, ARENA_WEIGHT = (0.0044, 200.0), 0.1  # USD per 1,000 queries; weight of cost against accuracy
AVERAGE = "average"

Points = tuple[np.ndarray, np.ndarray]
"""Performance and cost of every query at every operating point: [points, n]."""


def router_scores(systems: Sequence[System], splits: Splits, joined: Splits | None = None) -> dict:
    """LLMRouterBench's figures and RouterArena's score of every system, by task and on average.

    Args:
        systems: With the anchors among them (see `gather`).
        splits: Of the bench; best single is chosen on its train split.
        joined: The bench with the candidates of other logs (see `logged.join`), for routers that know them.

    Returns:
        ``{SYSTEM: {TASK or "average": FIGURES}}``; null where not measured. The average is over tasks: of accuracy and
        cost first, and the ratios of these. FIGURES:

        - ``accuracy``; ``cost_usd`` a query;
        - ``gain_at_r`` and ``gain_at_b``: accuracy / that of random choice, or of best single, less 1;
        - ``gap_at_o``: 1 - accuracy / that of the per-query oracle;
        - ``cost_save``: largest 1 - cost / best single's cost among operating points that are at least as accurate;
        - ``perf_gain``: largest accuracy / best single's, less 1, among the operating points;
        - ``arena_score``: RouterArena's accuracy and cost in one number, 0..1;
        - ``optimal_selection``: of the queries on which some candidate scores, the share on which the cheapest of the
          best is asked; null for systems that do not ask one candidate a query.

        The operating points of a router are its scenarios and a sweep over the weight of cost, chosen on test as
        LLMRouterBench does; other systems have one.
    """
    joined = joined or splits
    by_name = {s.name: s for s in systems}
    swept: dict[str, Points] = {}
    for s in systems:
        if s.spec is not None and s.spec["kind"] == "router" and s.spec["router"] not in swept:
            swept[s.spec["router"]] = _sweep(s.spec["router"], joined, by_name[BEST_SINGLE])
    tasks, result = np.array(joined.test.tasks), {}
    optimal = _cheapest_right(joined)
    for s in systems:
        points = _points(s, systems, swept)
        groups = {str(t): tasks == t for t in np.unique(tasks)}
        found = {t: _Means.of(s, points, by_name, rows) for t, rows in groups.items()}
        average = _Means.over(list(found.values()))
        result[s.name] = {
            name: part.figures() | {"optimal_selection": _share(s, optimal, groups.get(name))}
            for name, part in {**found, AVERAGE: average}.items()
        }
    return result


class _Means:
    """Mean accuracy and cost of a system, its operating points and the anchors, on one task or over several."""

    def __init__(self, values: dict[str, np.ndarray]):
        self.values = values

    @classmethod
    def of(cls, system: System, points: Points, anchors: dict[str, System], rows: np.ndarray) -> "_Means":
        single = anchors[BEST_SINGLE]
        parts = {
            "accuracy": system.performance, "cost": system.cost, "single": single.performance,
            "single_cost": single.cost, "random": anchors["random"].performance, "oracle": anchors[ORACLE].performance,
        }  # fmt: skip
        means = {name: mean(values[rows]) for name, values in parts.items()}
        return cls(means | {"points": mean(points[0][:, rows], 1), "prices": mean(points[1][:, rows], 1)})

    @classmethod
    def over(cls, parts: Sequence["_Means"]) -> "_Means":
        return cls({name: mean(np.stack([p.values[name] for p in parts]), 0) for name in parts[0].values})

    def figures(self) -> dict:
        v = self.values
        with np.errstate(invalid="ignore", divide="ignore"):
            able = (v["points"] >= v["single"] - 1e-12) & ~np.isnan(v["prices"])
            saved = 1 - v["prices"][able] / v["single_cost"] if v["single_cost"] > 0 else np.zeros(0)
            known = v["points"][~np.isnan(v["points"])]
            return {
                "accuracy": number(v["accuracy"]),
                "cost_usd": number(v["cost"]),
                "gain_at_r": number(v["accuracy"] / v["random"] - 1),
                "gain_at_b": number(v["accuracy"] / v["single"] - 1),
                "gap_at_o": number(1 - v["accuracy"] / v["oracle"]),
                "cost_save": number(float(saved.max())) if len(saved) else None,
                "perf_gain": number(float(known.max() / v["single"] - 1)) if len(known) else None,
                "arena_score": arena_score(float(v["accuracy"]), 1000 * float(v["cost"])),
            }


def arena_score(accuracy: float, cost: float) -> float | None:
    """RouterArena's score of an accuracy (0..1) at a cost in USD per 1,000 queries; None where one is not known.

    C = (log2 200 - log2 cost) / (log2 200 - log2 0.0044), clamped to 0..1; (1 + b) A C / (b A + C) with b = 0.1.
    """
    if not np.isfinite([accuracy, cost]).all():
        return None
    low, high = np.log2(ARENA_COSTS)
    cheap = float(np.clip((high - np.log2(max(cost, 1e-300))) / (high - low), 0, 1))
    below = ARENA_WEIGHT * accuracy + cheap
    return (1 + ARENA_WEIGHT) * accuracy * cheap / below if below > 0 else 0.0


def _sweep(folder: str, splits: Splits, single: System) -> Points:
    """Operating points of a saved router over the weight of cost; none where nothing can be traded."""
    test, router = splits.test, load_router(folder)
    predictions, line = predict(router, test.queries), np.arange(len(test))
    nothing = np.zeros((0, len(test)))
    if not router.config.has_cost or np.isnan(single.cost).all() or predictions.fixed:
        return nothing, nothing
    columns = np.array([test.candidates.index(c) for c in router.candidates])
    performance, cost = [], []
    for weight in cost_weights(single.cost):
        reward = predictions.performance - weight * predictions.cost
        place = columns[pick(reward, predictions.cost, router.candidates, tolerance=TIE)]
        performance.append(test.performance[line, place])
        cost.append(test.cost[line, place])
    return np.array(performance), np.array(cost)


def _points(system: System, systems: Sequence[System], swept: dict[str, Points]) -> Points:
    """The operating points of a system: of all scenarios of its router and of the sweep, or itself alone."""
    if system.spec is None or system.spec["kind"] != "router":
        return system.performance[None], system.cost[None]
    folder = system.spec["router"]
    same = [s for s in systems if s.spec is not None and s.spec.get("router") == folder]
    performance, cost = (np.stack([getattr(s, name) for s in same]) for name in ("performance", "cost"))
    return np.concatenate([performance, swept[folder][0]]), np.concatenate([cost, swept[folder][1]])


def _cheapest_right(splits: Splits) -> np.ndarray:
    """The cheapest of the best candidates of each test query, object [n]; None where none scores above 0."""
    test = splits.test
    best = pick(test.performance, test.cost, test.candidates)
    names = np.array(test.candidates, object)[best]
    names[~(np.nan_to_num(test.performance).max(1) > 0)] = None
    return names


def _share(system: System, optimal: np.ndarray, rows: np.ndarray | None) -> float | None:
    """`optimal_selection` of a system on the queries in `rows`."""
    if system.picked is None:
        return None
    solvable = np.array([o is not None for o in optimal]) & (True if rows is None else rows)
    return number(float((system.picked == optimal)[solvable].mean())) if solvable.any() else None

"""Figures of every system: on average, per domain and per task, each beside the best single LLM."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from ..logs.stats import hull, mean, number
from ..tasks import TASKS
from .resample import Columns, Resamples
from .systems import BEST_SINGLE, ORACLE, Splits, System, best_column, luck
from .trade_offs import scenario_rewards
from .winners import choose_by_task

OTHER = "Other"
LEVEL = 0.95


def measure(systems: Sequence[System], splits: Splits) -> dict:
    """The content of ``report.json`` but for its title; see `fusion_hf.comparison.verbs.Comparison`."""
    tasks = splits.test.tasks
    resamples = Resamples(tasks)
    sums, rewards = _Sums(systems, resamples), scenario_rewards(systems, splits, resamples)
    domains = domains_of(sums.tasks)
    queries, over_tasks = sums.figures(sums.everything()), sums.figures_over_tasks()
    by_domain = {d: sums.figures([t in members for t in sums.tasks]) for d, members in domains.items()}
    by_task = {t: sums.figures([t == other for other in sums.tasks]) for t in sums.tasks}
    found = {}
    for i, s in enumerate(systems):
        found[s.name] = queries[i] | {
            "level": s.level,
            "validation": None if s.validation is None else number(mean(s.validation)),
            "validation_cost_usd": None if s.validation_cost is None else number(mean(s.validation_cost)),
            "spec": s.spec,
            "calls": s.calls(),
            "rewards": rewards[i],
            "over_tasks": over_tasks[i],
            "by_domain": {d: f[i] for d, f in by_domain.items()},
            "by_task": {t: f[i] for t, f in by_task.items()},
        }
    return {
        "queries": splits.sizes(),
        "in_train_and_test": splits.overlap,
        "best_single": splits.train.candidates[best_column(splits.train)],
        "oracle_by_luck": float(luck(splits.test).mean()),
        "domains": domains,
        "systems": found,
        "best_per_task": best_per_task(systems, splits, by_task),
        "pairs": win_shares(systems),
        "hulls": {"singles": hull_of(found, ("single",)), "all": hull_of(found)},
    }


def domains_of(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Tasks of each domain, as `fusion_hf.tasks` has them; a task that it does not know belongs to "Other"."""
    order = [*dict.fromkeys(t.domain for t in TASKS.values()), OTHER]
    named = {t: TASKS[t].domain if t in TASKS else OTHER for t in tasks}
    return {d: [t for t in tasks if named[t] == d] for d in order if d in named.values()}


class _Sums:
    """Sums by task and resample of every quantity of every system, and the figures that come of them."""

    def __init__(self, systems: Sequence[System], resamples: Resamples):
        self.tasks = [str(t) for t in resamples.tasks]
        base, oracle = (next(s for s in systems if s.name == name) for name in (BEST_SINGLE, ORACLE))
        columns = Columns()

        def place(values: np.ndarray) -> tuple[int, int]:
            return columns.add(values), columns.add(~np.isnan(values))

        def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.where(np.isnan(b), np.nan, a)

        self.places = {
            "performance": [place(s.performance) for s in systems],
            "gap": [place(s.performance - base.performance) for s in systems],
            "span": [place(oracle.performance - base.performance)] * len(systems),
            "cost": [place(s.cost) for s in systems],
            "paid": [place(both(s.cost, base.cost)) for s in systems],
            "base_paid": [place(both(base.cost, s.cost)) for s in systems],
        }
        self.sums = resamples.sums(columns.array())
        others = Columns()
        self.plain = {
            name: [(others.add(v), others.add(~np.isnan(v))) for v in (getattr(s, name) for s in systems)]
            for name in ("tokens", "judge", "latency")
        }
        table = others.array()
        self.plain_sums = np.stack([table[rows].sum(0, keepdims=True) for rows in resamples.rows])

    def everything(self) -> list[bool]:
        """All tasks."""
        return [True] * len(self.tasks)

    def figures(self, which: Sequence[bool]) -> list[dict]:
        """A dict a system, over all queries of the tasks in `which`."""
        rows = np.asarray(which)
        total, plain = self.sums[rows].sum(0), self.plain_sums[rows].sum(0)
        found = self._figures(lambda name: _ratio(total, self.places[name]), lambda n: _ratio(plain, self.plain[n]))
        counts = [count for _, count in self.places["performance"]]
        return [entry | {"queries": int(total[0, c])} for entry, c in zip(found, counts, strict=True)]

    def figures_over_tasks(self) -> list[dict]:
        """The same as means over tasks, so that a task with many queries does not decide alone."""
        return self._figures(
            lambda name: mean(_ratio(self.sums, self.places[name]), 0),
            lambda name: mean(_ratio(self.plain_sums, self.plain[name]), 0),
        )

    def _figures(self, average: Callable, plain: Callable) -> list[dict]:
        """`average(name)` and `plain(name)` give means [1 + draws, systems] and [1, systems]."""
        performance, gap, cost = average("performance"), average("gap"), average("cost")
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = average("paid") / average("base_paid")
            span = average("span")
            recovered = np.where(span > 0, gap / span, np.nan)
        low_high = {n: _interval(v) for n, v in (("p", performance), ("g", gap), ("r", ratio), ("s", recovered))}
        spread = gap[1:].std(0, ddof=1) if len(gap) > 2 else np.full(gap.shape[1], np.nan)
        result = []
        for i in range(performance.shape[1]):
            entry = {
                "performance": number(performance[0, i]),
                "ci95": _pair(low_high["p"], i),
                "cost_usd": number(cost[0, i]),
                "tokens": number(plain("tokens")[0, i]),
                "judge": number(plain("judge")[0, i]),
                "latency_s": number(plain("latency")[0, i]),
                "vs_best_single": {"difference": number(gap[0, i]), "se": number(spread[i]), **_ends(low_high["g"], i)},
                "cost_ratio": {"ratio": number(ratio[0, i]), **_ends(low_high["r"], i)},
                "gap_recovered": number(recovered[0, i]),
                "gap_recovered_ci95": _pair(low_high["s"], i),
            }
            result.append(entry)
        return result


def _ratio(sums: np.ndarray, places: Sequence[tuple[int, int]]) -> np.ndarray:
    """Means [..., systems] from sums [..., columns] and (column of values, column of counts); NaN for no value."""
    values, counts = (list(part) for part in zip(*places, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[..., counts] > 0, sums[..., values] / sums[..., counts], np.nan)


def _interval(draws: np.ndarray) -> np.ndarray:
    """95 % percentile interval [2, systems] of draws [1 + draws, systems] whose first row is no draw."""
    if not len(draws) > 1:
        return np.full((2, draws.shape[1]), np.nan)
    result = np.full((2, draws.shape[1]), np.nan)
    some = ~np.isnan(draws[1:]).all(0)
    if some.any():
        result[:, some] = np.nanquantile(draws[1:, some], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return result


def _pair(interval: np.ndarray, i: int) -> list[float | None] | None:
    low, high = number(interval[0, i]), number(interval[1, i])
    return None if low is None else [low, high]


def _ends(interval: np.ndarray, i: int) -> dict:
    return {"low": number(interval[0, i]), "high": number(interval[1, i])}


def best_per_task(systems: Sequence[System], splits: Splits, by_task: dict[str, list[dict]]) -> dict:
    """For each task the configuration to trust (see `winners`), and what it scored on test; {} without validation."""
    if splits.validation is None:
        return {}
    # The anchors are candidates, or chosen from candidates, that stand there by their own names too.
    usable = {s.name: s for s in systems if s.level != "anchor" and s.validation is not None and s.spec is not None}
    place = {s.name: i for i, s in enumerate(systems)}
    tasks, result = np.array(splits.validation.tasks), {}
    chosen = choose_by_task(splits, usable) if usable else {}
    for task, winner in chosen.items():
        if task not in by_task:
            continue
        i, base = place[winner.system], place[BEST_SINGLE]
        rows = tasks == task
        result[task] = {
            **asdict(winner),
            "level": systems[i].level,
            "validation": number(mean(np.asarray(usable[winner.system].validation)[rows])),
            "validation_queries": int(rows.sum()),
            "test": by_task[task][i]["performance"],
            "test_ci95": by_task[task][i]["ci95"],
            "best_single_test": by_task[task][base]["performance"],
            "vs_best_single": by_task[task][i]["vs_best_single"],
            "cost_ratio": by_task[task][i]["cost_ratio"],
        }
    return result


def win_shares(systems: Sequence[System]) -> dict:
    """Shares of queries on which the system of a row beats, ties with and loses to that of a column.

    Of the queries that both were scored on; null where there is none.
    """
    scores = np.stack([s.performance for s in systems], 1)
    known = ~np.isnan(scores)
    win: list[list] = []
    tie: list[list] = []
    for i in range(len(systems)):
        own, common = scores[:, i : i + 1], (known & known[:, i : i + 1]).sum(0)
        for table, hits in ((win, own > scores), (tie, own == scores)):
            table.append([number(h / n) if n else None for h, n in zip(hits.sum(0), common, strict=True)])
    return {"systems": [s.name for s in systems], "win": win, "tie": tie}


def hull_of(found: dict, levels: Sequence[str] | None = None) -> list[dict]:
    """Corners of the non-decreasing convex hull of (cost, performance) of systems, but not of the oracle."""
    points = {
        (s["cost_usd"], s["performance"]): name
        for name, s in found.items()
        if name != ORACLE and (levels is None or s["level"] in levels) and None not in (s["cost_usd"], s["performance"])
    }
    if not points:
        return []
    cost, quality = hull(*np.array(sorted(points)).T)
    return [
        {"cost_usd": float(c), "performance": float(q), "system": points[float(c), float(q)]}
        for c, q in zip(cost, quality, strict=True)
    ]

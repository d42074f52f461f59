"""A system is anything that answers the test queries; it is measured by what it scored and what it took."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..bench.data import RoutingData
from ..bench.rewards import available_scenarios, pick
from ..bench.stats import bootstrap_ci, paired
from ..bench.store import bench_splits, local_path, query_overlap, read_log
from ..encoder import embed_cached
from ..errors import UserError
from ..routers import load_router
from ..routers.decisions import TIE

BEST_SINGLE, ORACLE = "best single", "per-query oracle"


@dataclass(frozen=True)
class Splits:
    """The three splits of a log with the same candidates; `validation` is None where the log has no partial_test."""

    train: RoutingData
    validation: RoutingData | None
    test: RoutingData
    overlap: int

    @classmethod
    def read(cls, bench: str | Path) -> "Splits":
        """Read a FusionBench; raises `UserError` when train or test is missing or has other candidates."""
        bench = local_path(bench)
        train_table, test_table = read_log(bench, "train"), read_log(bench, "test")
        train, test = RoutingData.from_table(train_table), RoutingData.from_table(test_table)
        missing = sorted(set(train.candidates) ^ set(test.candidates))
        if missing:
            raise UserError(f"{bench}: candidate {missing[0]!r} stands only in one of train and test")
        validation = None
        if "partial_test" in bench_splits(bench):
            validation = RoutingData.from_table(read_log(bench, "partial_test"))
        return cls(train, validation, test, query_overlap(train_table, test_table))


@dataclass(frozen=True)
class System:
    """What one system scored [queries] and took [queries, USD] on test, and scored on validation (None: not run)."""

    name: str
    level: str  # anchor, single, query, thought or model
    performance: np.ndarray
    cost: np.ndarray
    validation: np.ndarray | None


def _picked(name: str, level: str, splits: Splits, choose) -> System:
    """A system that picks one logged candidate a query; `choose(data)` gives its column for each query."""

    def take(data, values):
        return values[np.arange(len(data)), choose(data)]

    test, validation = splits.test, splits.validation
    return System(
        name,
        level,
        take(test, test.performance),
        take(test, test.cost),
        None if validation is None else take(validation, validation.performance),
    )


def mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what was measured along `axis`; NaN where nothing was."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    return np.where(count, np.where(known, values, 0).sum(axis) / np.maximum(count, 1), np.nan)


def _column_means(data: RoutingData, values: np.ndarray) -> np.ndarray:
    """Mean over tasks of each candidate's mean, so that a task with many queries does not decide alone."""
    tasks = np.array(data.tasks)
    return mean(np.stack([mean(values[tasks == t], 0) for t in sorted(set(data.tasks))]), 0)


def best_column(data: RoutingData) -> int:
    """The candidate with the best performance in `data` (ties: cheaper, then by name)."""
    cost = np.where(np.isnan(data.cost).all(0), np.inf, np.nan_to_num(data.cost).mean(0))
    return int(pick(_column_means(data, data.performance)[None], cost[None], data.candidates)[0])


def anchor_systems(splits: Splits) -> list[System]:
    """Random, cheapest, best single and best per task (both chosen on train) and the per-query oracle."""
    train, test = splits.train, splits.test
    n, single = len(test), best_column(train)
    per_task = {t: best_column(train.of_task(t)) for t in sorted(set(train.tasks))}
    unknown = set(test.tasks) - set(per_task)
    if unknown:
        raise UserError(f"task {sorted(unknown)[0]!r} of the test split is not in train: its best LLM cannot be chosen")
    mean_cost = np.nan_to_num(_column_means(train, train.cost), nan=np.inf)
    cheapest = int(pick(-mean_cost[None], mean_cost[None], train.candidates)[0])
    validation = splits.validation
    average = None if validation is None else mean(validation.performance, 1)
    return [
        System("random", "anchor", mean(test.performance, 1), mean(test.cost, 1), average),
        _picked("cheapest", "anchor", splits, lambda d: np.full(len(d), cheapest)),
        _picked(BEST_SINGLE, "anchor", splits, lambda d: np.full(len(d), single)),
        _picked("best per task", "anchor", splits, lambda d: np.array([per_task[t] for t in d.tasks])),
        System(
            ORACLE,
            "anchor",
            np.nanmax(test.performance, 1),
            test.cost[np.arange(n), pick(test.performance, test.cost, test.candidates)],
            None,
        ),
    ]


def luck(data: RoutingData) -> np.ndarray:
    """What the per-query oracle would score if every candidate guessed independently at its task's accuracy: [n].

    For scores of 0 and 1. An oracle that is no better than this shows luck, not strengths that complement each other.
    """
    tasks = np.array(data.tasks)
    result = np.empty(len(data))
    for task in set(data.tasks):
        rows = tasks == task
        accuracy = np.nan_to_num(mean(data.performance[rows], 0))
        result[rows] = 1 - np.prod(1 - accuracy)
    return result


def single_systems(splits: Splits) -> list[System]:
    """Every logged candidate by itself."""
    return [
        _picked(name, "single", splits, lambda d, c=column: np.full(len(d), c))
        for column, name in enumerate(splits.test.candidates)
    ]


def router_systems(name: str, folder: str | Path, splits: Splits) -> list[System]:
    """A saved router in each scenario that the log can be measured on."""
    router = load_router(folder)
    unknown = sorted(set(router.candidates) - set(splits.test.candidates))
    if unknown:
        raise UserError(f"router {name}: its candidate {unknown[0]!r} is not in the log")
    columns = np.array([splits.test.candidates.index(c) for c in router.candidates])
    # Queries are encoded once for all scenarios, and the comparison of another router finds them in the cache.
    predicted = {id(d): _predict(router, d.queries) for d in (splits.test, splits.validation) if d is not None}

    def choose(data: RoutingData, scenario: str) -> np.ndarray:
        predictions, trade_off = predicted[id(data)], router.config.scenarios[scenario]
        expected = predictions.reward(**trade_off)
        return columns[pick(expected, predictions.cost, router.candidates, tolerance=TIE)]

    names = [s for s in available_scenarios(splits.train) if s in router.config.scenarios]
    return [_picked(f"{name} ({s})", "query", splits, lambda d, s=s: choose(d, s)) for s in names]


def _predict(router, queries: list[str]):
    embeddings = None if router.encoder is None else embed_cached(router.text_encoder, queries)
    return router.predict(queries, embeddings)


def log_systems(name: str, table: pa.Table, splits: Splits) -> list[System]:
    """The candidates of a log of answers to the same queries: one system each.

    Raises `UserError` when a test query has no row; a row without a score counts as missing, and is left out of means.
    """
    data = RoutingData.from_table(table)
    place = {q: i for i, q in enumerate(data.query_ids)}
    absent = [q for q in splits.test.query_ids if q not in place]
    if absent:
        raise UserError(f"log {name!r}: {len(absent)} of {len(splits.test)} test queries are not in it")
    level = next((x for x in ("thought", "model") if name.startswith(x)), "single")
    rows = [place[q] for q in splits.test.query_ids]
    validation = splits.validation
    known = validation is not None and all(q in place for q in validation.query_ids)
    result = []
    for column, candidate in enumerate(data.candidates):
        label = f"{name}: {candidate}" if len(data.candidates) > 1 else name
        checked = data.performance[[place[q] for q in validation.query_ids], column] if known else None
        result.append(System(label, level, data.performance[rows, column], data.cost[rows, column], checked))
    return result


def measure(systems: list[System], splits: Splits) -> dict:
    """Figures of every system: performance with its interval, cost, paired difference to best single, per task."""
    tasks = np.array(splits.test.tasks)
    by_name = {s.name: s for s in systems}
    base = by_name[BEST_SINGLE]
    top = np.nanmean(by_name[ORACLE].performance) - np.nanmean(base.performance)
    result = {
        "queries": {s: len(d) for s, d in vars(splits).items() if isinstance(d, RoutingData)},
        "in_train_and_test": splits.overlap,
        "best_single": splits.train.candidates[best_column(splits.train)],
        "oracle_by_luck": float(luck(splits.test).mean()),
        "systems": {},
    }
    for s in systems:
        gap = paired(s.performance, base.performance)
        entry = _figures(s, np.ones(len(tasks), bool)) | {
            "level": s.level,
            "validation": None if s.validation is None else float(np.nanmean(s.validation)),
            "vs_best_single": gap,
            "gap_recovered": gap["difference"] / top if top > 0 else None,
            "by_task": {},
        }
        for task in sorted(set(splits.test.tasks)):
            rows = tasks == task
            entry["by_task"][task] = _figures(s, rows) | {
                "vs_best_single": paired(s.performance[rows], base.performance[rows])
            }
        result["systems"][s.name] = entry
    result["best_per_task"] = _choose(systems, base, splits)
    return result


def _figures(system: System, rows: np.ndarray) -> dict:
    mean, low, high = bootstrap_ci(system.performance[rows])
    cost = system.cost[rows]
    return {
        "performance": mean,
        "ci95": [low, high],
        "cost_usd": None if np.isnan(cost).all() else float(np.nanmean(cost)),
        "queries": int((~np.isnan(system.performance[rows])).sum()),
    }


def _choose(systems: list[System], base: System, splits: Splits) -> dict:
    """For each task the system that won on validation, and what it then scored on test."""
    if splits.validation is None:
        return {}
    usable = [s for s in systems if s.validation is not None and s.name != "random"]
    result = {}
    checked, tested = np.array(splits.validation.tasks), np.array(splits.test.tasks)
    for task in sorted(set(splits.test.tasks) & set(splits.validation.tasks)):
        # The first of equals wins, and best single stands before the levels: a tie is no reason to change.
        usable.sort(key=lambda s: s.name != BEST_SINGLE)
        winner = max(usable, key=lambda s: np.nanmean(s.validation[checked == task]))
        result[task] = {
            "system": winner.name,
            "validation": float(np.nanmean(winner.validation[checked == task])),
            "test": float(np.nanmean(winner.performance[tested == task])),
            "best_single_test": float(np.nanmean(base.performance[tested == task])),
        }
    return result

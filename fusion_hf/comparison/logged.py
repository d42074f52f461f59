"""Systems that need no router: anchors, every logged candidate by itself, and other logs of the same queries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.rewards import pick
from ..logs.stats import mean
from .systems import BEST_SINGLE, ORACLE, Splits, System, best_column, column_means, picked_system, took

_SCORES = ("performance", "cost", "judge")


def anchor_systems(splits: Splits) -> list[System]:
    """Random, cheapest, best single and best per task (both chosen on train) and the per-query oracle.

    On a task that train does not have the best per task is the best single.
    """
    train, test, validation = splits.train, splits.test, splits.validation
    single = best_column(train)
    per_task = {t: best_column(train.of_task(t)) for t in sorted(set(train.tasks))}
    price = np.nan_to_num(column_means(train, train.cost), nan=np.inf)
    cheapest = int(pick(-price[None], price[None], train.candidates)[0])
    average = {name: mean(getattr(test, name), 1) for name in _SCORES}
    average |= {name: mean(splits.took[name], 1) if name in splits.took else _nothing(test) for name in _TOOK}
    random = System(
        "random", "anchor", **average,
        validation=None if validation is None else mean(validation.performance, 1),
        validation_cost=None if validation is None else mean(validation.cost, 1),
    )  # fmt: skip
    oracle = picked_system(ORACLE, "anchor", splits, lambda d: pick(d.performance, d.cost, d.candidates))
    return [
        random,
        constant_system("cheapest", "anchor", splits, cheapest),
        constant_system(BEST_SINGLE, "anchor", splits, single),
        picked_system(
            "best per task", "anchor", splits, lambda d: np.array([per_task.get(t, single) for t in d.tasks]),
            spec={"kind": "per_task", "candidates": {t: train.candidates[c] for t, c in per_task.items()}},
        ),
        replace(oracle, validation=None, validation_cost=None),
    ]  # fmt: skip


def constant_system(name: str, level: str, splits: Splits, column: int) -> System:
    """One candidate that answers everything."""
    spec = {"kind": "candidate", "candidate": splits.test.candidates[column]}
    return picked_system(name, level, splits, lambda d: np.full(len(d), column), spec)


def single_systems(splits: Splits) -> list[System]:
    """Every logged candidate by itself."""
    return [constant_system(name, "single", splits, column) for column, name in enumerate(splits.test.candidates)]


_TOOK = ("tokens", "latency")


def _nothing(data: RoutingData) -> np.ndarray:
    return np.full(len(data), np.nan)


@dataclass(frozen=True)
class AlignedLog:
    """Another log of answers to the same queries; queries that are in no split are left out.

    Attributes:
        name: What the user calls it.
        level: The level of all of its candidates, as the user says: one of `systems.LEVELS`.
        splits: Its answers in the order of the bench's splits and its own candidates; NaN where there is none.
        checked: Whether every validation query has a row.
    """

    name: str
    level: str
    splits: Splits
    checked: bool

    @classmethod
    def align(cls, name: str, level: str, table: pa.Table, splits: Splits) -> "AlignedLog":
        """Put a log beside the bench; raises `UserError` when a test query has no row in it."""
        data = RoutingData.from_table(table)
        place = {q: i for i, q in enumerate(data.query_ids)}
        absent = [q for q in splits.test.query_ids if q not in place]
        if absent:
            raise UserError(f"log {name!r}: {len(absent)} of {len(splits.test)} test queries are not in it")
        rows = [place[q] for q in splits.test.query_ids]
        other = {n: v[rows] for n, v in took(table).items()}
        checked = splits.validation is not None and all(q in place for q in splits.validation.query_ids)
        validation = None if splits.validation is None else _align(data, place, splits.validation)
        aligned = Splits(
            _align(data, place, splits.train), validation, _align(data, place, splits.test), splits.overlap, other
        )
        return cls(name, level, aligned, checked)


def _align(data: RoutingData, place: dict[str, int], split: RoutingData) -> RoutingData:
    """`data` on the queries of `split`; NaN where it has no row of one."""
    known = np.array([q in place for q in split.query_ids])
    rows = [place[q] for q in split.query_ids if q in place]
    arrays: dict[str, Any] = {}
    for name in _SCORES:
        arrays[name] = np.full((len(split), len(data.candidates)), np.nan)
        arrays[name][known] = getattr(data, name)[rows]
    return replace(split, candidates=list(data.candidates), **arrays)


def log_systems(log: AlignedLog) -> list[System]:
    """Each candidate of a log as a system; it is named after the log, and after the candidate where there are several.

    A row without a score counts as missing, and is left out of means.
    """
    several, result = len(log.splits.test.candidates) > 1, []
    for column, candidate in enumerate(log.splits.test.candidates):
        label = f"{log.name}: {candidate}" if several else log.name
        system = constant_system(label, log.level, log.splits, column)
        result.append(system if log.checked else replace(system, validation=None, validation_cost=None))
    return result


def join(splits: Splits, logs: Sequence[AlignedLog], learn: bool = True) -> tuple[Splits, list[str]]:
    """The candidates of the bench and of all logs side by side, and notes on which are left out and why.

    To `learn` from them is why candidates are left out that only answered test queries.
    What a distilled model answers to train queries is left out: it was trained on the best answers to them, so they
    say nothing about new queries, and a router that learned from them would send it too much.
    """
    parts, notes, seen = [splits], [], set(splits.test.candidates)
    for log in logs:
        part, kept = log.splits, []
        train = part.train.performance.copy()
        for column, name in enumerate(part.test.candidates):
            if log.level == "model":
                train[:, column] = np.nan
            learnable = ~np.isnan(train[:, column]).all()
            if part.validation is not None:
                learnable |= ~np.isnan(part.validation.performance[:, column]).all()
            if name in seen:
                notes.append(f"{log.name}: {name} is left out of combinations: the name stands there already")
            elif learn and not learnable:
                notes.append(f"{log.name}: {name} is left out of combinations: nothing but test says how good it is")
            else:
                kept.append(column)
                seen.add(name)
        if kept:
            parts.append(_columns(replace(part, train=replace(part.train, performance=train)), kept))
    return _beside(parts), notes


def _columns(splits: Splits, columns: list[int]) -> Splits:
    names = [splits.test.candidates[c] for c in columns]
    took = {n: v[:, columns] for n, v in splits.took.items()}
    validation = None if splits.validation is None else splits.validation.select(names)
    return Splits(splits.train.select(names), validation, splits.test.select(names), splits.overlap, took)


def _beside(parts: Sequence[Splits]) -> Splits:
    """Splits of the same queries with the candidates of all `parts`, sorted."""
    names = [c for p in parts for c in p.test.candidates]
    order = np.argsort(names)

    def side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(blocks, 1)[:, order]

    def merged(datas: Sequence[RoutingData]) -> RoutingData:
        arrays: dict[str, Any] = {n: side_by_side([getattr(d, n) for d in datas]) for n in _SCORES}
        return replace(datas[0], candidates=[names[i] for i in order], **arrays)

    took = {}
    for name in _TOOK:
        if any(name in p.took for p in parts):
            empty = [np.full(p.test.performance.shape, np.nan) for p in parts]
            took[name] = side_by_side([p.took.get(name, e) for p, e in zip(parts, empty, strict=True)])
    checked = [p.validation for p in parts if p.validation is not None]
    validation = merged(checked) if checked else None
    train, test = merged([p.train for p in parts]), merged([p.test for p in parts])
    return replace(parts[0], train=train, validation=validation, test=test, took=took)

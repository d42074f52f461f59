"""A system is anything that answers the test queries; it is measured by what it scored and what it took."""

from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..logs.arrays import COLUMNS, RoutingData, pivot
from ..logs.log import Log, read_log
from ..logs.rewards import pick
from ..logs.stats import mean
from ..logs.store import local_path, query_overlap

BEST_SINGLE, ORACLE = "best single", "per-query oracle"
LEVELS = {
    "anchor": "anchor",
    "single": "one LLM in one mode",
    "query": "query level (router)",
    "thought": "thought level (templates)",
    "model": "model level (SFT)",
    "combined": "combined levels (router)",
}
_READ = (*COLUMNS, "input_tokens", "output_tokens", "latency_s")


@dataclass(frozen=True)
class Splits:
    """The splits of a log with the same candidates; `validation` is None where the log has no partial_test.

    Attributes:
        overlap: Query texts that stand in both train and test.
        took: ``tokens`` (in and out) and ``latency`` (seconds) of the test split: float64 [n, m], NaN where not
            measured.
        source: Where the bench lies, for those who need its responses too.
    """

    train: RoutingData
    validation: RoutingData | None
    test: RoutingData
    overlap: int
    took: dict[str, np.ndarray] = field(default_factory=dict)
    source: Path | None = None

    @classmethod
    def read(cls, bench: str | PathLike[str]) -> "Splits":
        """Read a FusionBench; raises `UserError` when a split is missing or its candidates are not those of train."""
        bench = local_path(bench)
        known = ["train", "test", *(["partial_test"] if "partial_test" in Log(bench).splits else [])]
        tables = {split: read_log(bench, split, columns=_READ) for split in known}
        data = {split: RoutingData.from_table(table) for split, table in tables.items()}
        for split in known[1:]:
            odd = sorted(set(data["train"].candidates) ^ set(data[split].candidates))
            if odd:
                raise UserError(f"{bench}: candidate {odd[0]!r} stands only in one of train and {split}")
        overlap = query_overlap(tables["train"], tables["test"])
        return cls(data["train"], data.get("partial_test"), data["test"], overlap, took(tables["test"]), bench)

    def sizes(self) -> dict[str, int]:
        """Number of queries of each split that is there."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: len(data) for name, data in named.items() if data is not None}


def took(table: pa.Table) -> dict[str, np.ndarray]:
    """``tokens`` (in and out; NaN where one of the two was not measured) and ``latency``: float64 [n, m].

    Rows and columns are those of `RoutingData.from_table`.
    """
    found = {}
    if {"input_tokens", "output_tokens"} <= set(table.column_names):
        both = pc.add(pc.cast(table["input_tokens"], pa.int64()), pc.cast(table["output_tokens"], pa.int64()))
        found["tokens"] = pivot(table.append_column("tokens", both), "tokens")[2]
    if "latency_s" in table.column_names:
        found["latency"] = pivot(table, "latency_s")[2]
    return found


@dataclass(frozen=True)
class System:
    """What one system scored and took, query by query.

    Arrays are float64 in the order of `Splits.test` (n queries) or `Splits.validation`; NaN where not measured.

    Attributes:
        name: Unique among the systems of a comparison.
        level: One of `LEVELS`.
        performance: 0..1, [n].
        cost: USD, [n].
        tokens: In and out, [n].
        judge: 0..1, [n].
        latency: Seconds, [n].
        validation: Performance on the validation queries; None where it was not run on them.
        validation_cost: USD on them; None likewise.
        spec: How it can be rebuilt, None for what cannot be deployed (random, oracle): ``{"kind": "candidate",
            "candidate": ID}``, ``{"kind": "router", "router": FOLDER, "scenario": NAME}`` or ``{"kind": "per_task",
            "candidates": {TASK: ID}}``.
        picked: Candidate id that answers each test query, object [n]; None where no single one does.
    """

    name: str
    level: str
    performance: np.ndarray
    cost: np.ndarray
    tokens: np.ndarray
    judge: np.ndarray
    latency: np.ndarray
    validation: np.ndarray | None = None
    validation_cost: np.ndarray | None = None
    spec: dict | None = None
    picked: np.ndarray | None = None

    @property
    def candidate(self) -> str | None:
        """Who answers everything, where it is one candidate."""
        return None if self.spec is None else self.spec.get("candidate")

    def calls(self) -> dict[str, float] | None:
        """Share of the test queries that each candidate answers, the largest first."""
        if self.picked is None:
            return None
        names, counts = np.unique(self.picked.astype(str), return_counts=True)
        order = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        return {name: count / len(self.picked) for name, count in order}


def picked_system(
    name: str,
    level: str,
    splits: Splits,
    choose: Callable[[RoutingData], np.ndarray],
    spec: dict | None = None,
    validation_picks: np.ndarray | None = None,
) -> System:
    """A system that lets one logged candidate answer each query.

    Args:
        name, level, spec: See `System`.
        splits: What the candidates scored.
        choose: Column of the log for each query of a split, int [n].
        validation_picks: Columns for the validation split, where they are not `choose` of it.
    """
    columns = np.asarray(choose(splits.test))
    line = np.arange(len(splits.test))
    values = {name: getattr(splits.test, name) for name in ("performance", "cost", "judge")} | splits.took
    nothing = np.full(len(line), np.nan)
    measured = {
        n: values[n][line, columns] if n in values else nothing
        for n in ("performance", "cost", "tokens", "judge", "latency")
    }
    checked = price = None
    if splits.validation is not None:
        picks = choose(splits.validation) if validation_picks is None else validation_picks
        row = np.arange(len(splits.validation))
        checked, price = splits.validation.performance[row, picks], splits.validation.cost[row, picks]
    who = np.array(splits.test.candidates, object)[columns]
    return System(name, level, **measured, validation=checked, validation_cost=price, spec=spec, picked=who)


def column_means(data: RoutingData, values: np.ndarray) -> np.ndarray:
    """Mean over tasks of each candidate's mean [m], so that a task with many queries does not decide alone."""
    tasks = np.array(data.tasks)
    return mean(np.stack([mean(values[tasks == t], 0) for t in sorted(set(data.tasks))]), 0)


def best_column(data: RoutingData) -> int:
    """The candidate with the best performance in `data` (ties: cheaper, then by name)."""
    cost = np.nan_to_num(column_means(data, data.cost), nan=np.inf)
    return int(pick(column_means(data, data.performance)[None], cost[None], data.candidates)[0])


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

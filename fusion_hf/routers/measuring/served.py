"""A router on served traffic: what it would have earned there, although each request was answered by one candidate."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import UserError
from ...logs.log import Log
from ...logs.schema import candidate_id
from ...results import Result
from ..base import Router
from .off_policy import doubly_robust, estimate, ips

FEW = 30
"""Requests on which router and server agree; with fewer no interval means much."""


@dataclass
class ServedTraffic:
    """The first calls of requests whose answers were scored.

    Attributes:
        queries: Texts, n of them.
        candidates: Who was asked.
        reward: Their scores, float64 [n].
        cost: USD, float64 [n]; NaN where not known.
        propensity: Probability with which the candidate was chosen, float64 [n].
        read: Requests of the log; ``dropped`` says why others are left out.
    """

    queries: list[str]
    candidates: list[str]
    reward: np.ndarray
    cost: np.ndarray
    propensity: np.ndarray
    read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.queries)

    def subset(self, rows: np.ndarray) -> "ServedTraffic":
        """The requests at `rows`."""
        kept = np.flatnonzero(rows) if rows.dtype == bool else rows
        return ServedTraffic(
            [self.queries[i] for i in kept], [self.candidates[i] for i in kept], self.reward[kept], self.cost[kept],
            self.propensity[kept], self.read, self.dropped,
        )  # fmt: skip


@dataclass
class ServedEvaluation(Result):
    """What a router would have earned on served traffic.

    Attributes:
        read, kept, dropped: Requests of the log, those that count, and the others by reason.
        agrees: Of those that count, how many the router would have sent to the same candidate.
        logged: Mean score and USD of the answers as they were served, with intervals.
        scenarios: Trade-off -> ``{"performance": {"ips", "doubly_robust"}, "cost_usd": {…}, "agrees"}``; every estimate
            is ``{"value", "se", "low", "high"}``.
        warnings: What makes the estimates doubtful.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    logged: dict[str, dict[str, float | None]]
    scenarios: dict[str, dict[str, Any]]
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.kept} of {self.read} requests count ({_listed(self.dropped)}); as served: "
                 f"{_shown(self.logged['performance'])}"]  # fmt: skip
        for name, found in self.scenarios.items():
            p = found["performance"]
            lines.append(
                f"{name}: doubly robust {_shown(p['doubly_robust'])}, inverse propensity {_shown(p['ips'])}; the same "
                f"candidate for {found['agrees']}"
            )
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])


def _shown(found: dict[str, float | None]) -> str:
    if found["value"] is None:
        return "not known"
    return (
        f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]" if found["low"] is not None else "one request"
    )


def _listed(dropped: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in dropped.items() if n) or "none left out"


def read_traffic(log: str | Path | pa.Table, candidates: list[str]) -> ServedTraffic:
    """The scored first calls in a log of `fusion-hf serve`, for the candidates that a router knows.

    Raises:
        UserError: No served row, or none that has a text, a score and a probability.
    """
    table = log if isinstance(log, pa.Table) else Log(log).table()
    rows = [row for row in table.to_pylist() if row.get("request_id") is not None and row.get("attempt") == 1]
    if not rows:
        raise UserError("expected rows of  fusion-hf serve  (with request_id), found none")
    dropped = dict.fromkeys(("without a text", "without a score", "asked by name", "of unknown candidates"), 0)
    kept = []
    for row in rows:
        score = row["performance"] if row["performance"] is not None else row["judge"]
        reason = None
        if not row["query"]:
            reason = "without a text"
        elif score is None:
            reason = "without a score"
        elif not row.get("propensity"):
            reason = "asked by name"
        elif candidate_id(row["llm"], row["mode"]) not in candidates:
            reason = "of unknown candidates"
        if reason is None:
            kept.append((row, score))
        else:
            dropped[reason] += 1
    if not kept:
        raise UserError(
            f"none of {len(rows)} served requests can be used ({_listed(dropped)}): serve with --log full, and collect "
            "scores by POST /v1/feedback, judge or grade"
        )
    return ServedTraffic(
        [row["query"] for row, _ in kept],
        [candidate_id(row["llm"], row["mode"]) for row, _ in kept],
        np.array([score for _, score in kept], float),
        np.array([np.nan if row["cost"] is None else row["cost"] for row, _ in kept], float),
        np.array([row["propensity"] for row, _ in kept], float),
        len(rows),
        dropped,
    )


def terms(router: Router, traffic: ServedTraffic, scenario: str) -> dict[str, dict[str, np.ndarray]]:
    """Quantity -> estimator -> one term a request, and under ``agrees`` where router and server chose the same."""
    predictions = router.predict(traffic.queries)
    choice = np.array([d.candidate for d in router.route(traffic.queries, scenario)])
    agrees = choice == np.array(traffic.candidates)
    line, names = np.arange(len(traffic)), list(predictions.candidates)
    logged, chosen = (np.array([names.index(c) for c in some]) for some in (traffic.candidates, choice))
    found: dict[str, dict[str, np.ndarray]] = {"agrees": {"agrees": agrees}}
    for name, seen in (("performance", traffic.reward), ("cost_usd", traffic.cost)):
        expected = predictions.performance if name == "performance" else predictions.cost
        known = ~np.isnan(seen) & ~np.isnan(expected[line, logged]) & ~np.isnan(expected[line, chosen])
        seen, p, same = seen[known], traffic.propensity[known], agrees[known]
        guess = expected[line, logged][known], expected[line, chosen][known]
        found[name] = {"ips": ips(seen, p, same), "doubly_robust": doubly_robust(seen, p, same, *guess)}
    return found


def largest(traffic: ServedTraffic, quantity: str) -> float:
    """The largest correction that one request can bring to an estimate (see `estimate`)."""
    cost = traffic.cost[~np.isnan(traffic.cost)]
    span = 1.0 if quantity == "performance" else float(cost.max() - cost.min()) if len(cost) else 0.0
    return span / float(traffic.propensity.min())


def evaluate_served(
    router: Router, log: str | Path | pa.Table | ServedTraffic, scenario: str = "all"
) -> ServedEvaluation:
    """What `router` would have earned on the traffic of a log, by inverse propensity and doubly robust estimates.

    They are unbiased where the server explored (``serve --explore``), so that every candidate had a chance, and where
    whether an answer was scored does not depend on its score.

    Args:
        router: Any kind.
        log: Folder of `fusion-hf serve`, a table of its rows, or what `read_traffic` gave.
        scenario: Trade-off under which the router chooses, or ``all``.

    Raises:
        UserError: Nothing to go by, or an unknown scenario.
    """
    traffic = log if isinstance(log, ServedTraffic) else read_traffic(log, router.candidates)
    config = router.config
    known = [
        name
        for name, trade in (config.scenarios or {}).items()
        if (config.has_cost or not trade["beta"]) and (config.has_judge or trade["score"] != "judge")
    ]
    result, doubts = {}, []
    for name in known if scenario == "all" else [scenario]:
        found = terms(router, traffic, name)
        agrees = int(found.pop("agrees")["agrees"].sum())
        result[name] = {q: {k: estimate(t, largest(traffic, q)) for k, t in by.items()} for q, by in found.items()} | {
            "agrees": agrees
        }
        if agrees < FEW:
            doubts.append(f"{name}: router and server agree on {agrees} requests only")
    if (traffic.propensity == 1.0).all():
        doubts.append("the server never explored: where the router chooses otherwise there is only its own prediction")
    served = {"performance": estimate(traffic.reward), "cost_usd": estimate(traffic.cost[~np.isnan(traffic.cost)])}
    return ServedEvaluation(traffic.read, len(traffic), traffic.dropped, served, result, doubts)

"""All candidates of a query in the order in which they should answer it: the first, and who stands in for whom."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UserError
from ..routers import Router
from ..routers.decisions import Predictions, rank
from ..routers.kinds.cascade import CascadeRouter
from .choice import FusedDecision, stay


@dataclass(frozen=True)
class Asked:
    """A query, and what is asked of the choice.

    Attributes:
        text: The query as the router reads it (see `fusion_hf.routers.chats.as_texts`).
        task: The task that it comes from; None has it recognised.
        scenario: A trade-off by name; None leaves it to the system.
        max_cost: USD that the answer may be expected to cost.
        candidates: Choose among these only.
        saved: USD that a candidate costs less than expected, because it has the beginning of the prompt cached.
    """

    text: str
    task: str | None = None
    scenario: str | None = None
    max_cost: float | None = None
    candidates: Collection[str] | None = None
    saved: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """Who should answer a query, best first.

    Attributes:
        task: As given, or as recognised.
        options: Decisions for every candidate that keeps to what was asked, best first.
        reasons: Lines on why.
        nearest: Similar logged queries (see `RoutingDecision.nearest`); [] unless asked for.
        chain: Plan of a cascade (`CascadePlan`) that is better than any single candidate; None without.
    """

    task: str
    options: list[FusedDecision]
    reasons: list[str] = field(default_factory=list)
    nearest: list[dict[str, Any]] = field(default_factory=list)
    chain: Any = None


NEAREST = 3
OTHER = "other"
"""Task of a query where the router knows no tasks."""


def rank_by_router(
    router: Router, asked: Sequence[Asked], name: str, scenario: str, explain: bool = False
) -> list[Ranking | UserError]:
    """Rankings by a router; what one query asks in vain is its own error and nobody else's.

    Args:
        router: Any kind.
        asked: The queries, encoded as one batch.
        name: What decisions say has decided.
        scenario: The trade-off of queries that name none.
        explain: Also look up the nearest logged queries.
    """
    if not asked:
        return []
    predictions = router.predict([a.text for a in asked], nearest=NEAREST if explain else 0)
    result: list[Ranking | UserError] = []
    for row, one in enumerate(asked):
        try:
            result.append(_of_router(router, predictions, row, one, name, one.scenario or scenario))
        except UserError as error:
            result.append(error)
    return result


def _of_router(router: Router, all_rows: Predictions, row: int, one: Asked, name: str, scenario: str) -> Ranking:
    trade = router.trade_off(scenario)
    if (trade["beta"] or one.max_cost is not None) and not router.config.has_cost:
        raise UserError("this router was trained on a log without costs: expected no max_cost and no cost in the trade")
    columns = router.columns_of(None if one.candidates is None else sorted(one.candidates))
    names = [router.candidates[c] for c in columns]
    performance, cost = (values[row : row + 1, columns] for values in (all_rows.performance, all_rows.cost))
    reward = all_rows.reward(**trade)[row : row + 1, columns]
    if one.max_cost is not None:
        if all_rows.fixed:
            raise UserError("this kind of router does not predict costs: expected no max_cost; train another kind")
        reward = within(reward, cost, one.max_cost)
    scaled = all_rows.scaled["cost"][row, columns]
    reward = reward + stay(one.saved, names, trade["beta"] * usd_scale(scaled, cost[0]))
    if np.isnan(reward).all():
        raise UserError(f"this router cannot choose any of {', '.join(names)}: it learned nothing about them")
    shares = all_rows.tasks[row] if all_rows.tasks else {}
    task = one.task or next(iter(shares), OTHER)
    options = [
        FusedDecision(task, name, names[c], float(performance[0, c]), _usd(cost[0, c]), float(reward[0, c]))
        for c in rank(reward, cost, names)[0]
        if not np.isnan(reward[0, c])
    ]
    near = all_rows.nearest[row] if all_rows.nearest else []
    chain = None
    if isinstance(router, CascadeRouter) and router.has_plans:
        plan = router.plan([one.text], scenario, max_cost=one.max_cost, candidates=names)[0]
        if len(plan.chain) > 1:
            chain = plan
            first = FusedDecision(task, name, plan.chain[0], plan.performance, plan.cost, plan.reward)
            options = [first, *(o for o in options if o.candidate != first.candidate)]
    reasons = list(all_rows.reasons[row]) + ([] if chain is None else ["plan: " + "; ".join(chain.describe())])
    return Ranking(task, options, reasons, near, chain)


def within(reward: np.ndarray, cost: np.ndarray, max_cost: float) -> np.ndarray:
    """Rewards [1, m] with NaN for whom is expected to cost more; a `UserError` where nobody is left."""
    kept = np.where(cost <= max_cost, reward, np.nan)
    if np.isnan(kept).all():
        cheapest = "is not known" if np.isnan(cost).all() else f"is expected to cost {np.nanmin(cost):.3g}"
        raise UserError(f"no candidate is expected to cost at most {max_cost:g} USD; the cheapest {cheapest}")
    return kept


def usd_scale(scaled: np.ndarray, cost: np.ndarray) -> float:
    """Scaled cost units that a USD is worth, from two candidates whose costs differ; 0 where none do."""
    known = ~(np.isnan(scaled) | np.isnan(cost))
    if known.sum() < 2:
        return 0.0
    low, high = (at(np.where(known, cost, fill)) for at, fill in ((np.argmin, np.inf), (np.argmax, -np.inf)))
    spread = cost[high] - cost[low]
    return float((scaled[high] - scaled[low]) / spread) if spread > 0 else 0.0


def _usd(cost: float) -> float | None:
    return None if np.isnan(cost) else float(cost)


PASSED_ON = ("connection", "rate_limit", "server", "timeout", "bad_reply", "auth", "context_length")
"""Kinds of errors after which another LLM may still answer; others are the request's own fault."""


def may_pass_on(error: str | None) -> bool:
    """Whether another LLM may answer where one failed with this error (``kind: message``, as rows of a log have it)."""
    return error is not None and (error == "not asked" or error.partition(":")[0] in PASSED_ON)

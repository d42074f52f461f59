"""Figures of a cascade that is followed on the answers of a log, beside those of its best single candidates."""

from collections.abc import Sequence

import numpy as np

from ...logs.arrays import RoutingData
from ...logs.rewards import SCENARIOS, Scaling, Scenario, available_scenarios
from ...logs.stats import aiq, bootstrap_ci, mean, number, paired
from ..cascade.replay import AnsweredLog, replay
from ..kinds.cascade import CascadeRouter
from .calibrate import follower
from .operating_points import cost_share, cost_weights, curves
from .text import cell, table

SHARES = (0.95, 0.99, 1.0)


def evaluate_cascade(
    router: CascadeRouter,
    test: RoutingData,
    train: RoutingData,
    answers: np.ndarray,
    scenarios: Sequence[str] | None = None,
    embeddings: np.ndarray | None = None,
) -> dict:
    """What following the plans brings on `test`, every call paid.

    Args:
        router: A trained cascade.
        test, train: Log arrays; rewards are scaled, and the best single candidate is chosen, on `train`.
        answers: Final answers of `test`, object [n, m] (see `answers.log_answers`).
        scenarios: Names; default: all that can be measured without a judge.
        embeddings: Of the test queries, by the router's encoder, if known.

    Returns:
        ``scenarios``: reward, ``ci95``, performance, ``cost_usd``, calls a query, and the paired difference to the best
        single choices of the same router (``vs_without_answers``); ``frontier``, ``aiq`` and ``cost_share_at`` as in
        `evaluate_router`, the latter with intervals; ``unmeasured``: queries that some point could not be scored on.
    """
    outlook, log, scaling = (
        router.outlook(test.queries, embeddings),
        AnsweredLog(test, answers, router),
        Scaling.fit(train),
    )
    possible = [n for n in available_scenarios(train) if n in available_scenarios(test) and n != "judge"]
    found, unmeasured = {}, np.zeros(len(test), bool)
    for name in [n for n in scenarios or possible if n in possible]:
        scenario, rewards = SCENARIOS[name], []
        choice = router.pick(outlook, scenario.alpha, scenario.beta)
        alone = type(choice)(np.full(len(test), -1), choice.single, choice.reward)
        for picked in (choice, alone):
            result = replay(router, outlook, picked, log)
            rewards.append(_reward(result, test, scenario, scaling))
            unmeasured |= np.isnan(result.performance)
        result = replay(router, outlook, choice, log)
        reward, low, high = bootstrap_ci(rewards[0])
        found[name] = {
            "reward": number(reward), "ci95": [number(low), number(high)],
            "performance": number(mean(result.performance)), "cost_usd": number(mean(result.cost)),
            "calls": float(result.calls.mean()), "chains": float((choice.plan >= 0).mean()),
            "vs_without_answers": {k: number(v) for k, v in paired(*rewards).items()},
        }  # fmt: skip
    return {
        "scenarios": found,
        **_frontier(router, test, train, answers, embeddings),
        "unmeasured": int(unmeasured.sum()),
    }


def followed_reward(
    router: CascadeRouter,
    test: RoutingData,
    answers: np.ndarray,
    scenario: Scenario,
    scaling: Scaling,
    embeddings: np.ndarray | None = None,
) -> np.ndarray:
    """Reward of following the plans of a cascade on every query of `test`, every call paid: [n]; see `replay`."""
    outlook = router.outlook(test.queries, embeddings)
    choice = router.pick(outlook, scenario.alpha, scenario.beta)
    return _reward(replay(router, outlook, choice, AnsweredLog(test, answers, router)), test, scenario, scaling)


def _reward(result, test: RoutingData, scenario: Scenario, scaling: Scaling) -> np.ndarray:
    def scaled(values: np.ndarray, name: str) -> np.ndarray:
        low, span = scaling.units(name, test.tasks)
        return (values - low) / span

    reward = scenario.alpha * scaled(result.performance, "performance")
    return reward - scenario.beta * scaled(result.cost, "cost") if scenario.beta else reward


def _frontier(router, test: RoutingData, train: RoutingData, answers, embeddings) -> dict:
    if not router.config.has_cost or np.isnan(test.cost).all():
        return {"frontier": [], "aiq": None, "cost_share_at": {str(s): None for s in SHARES}}
    best = test.candidates.index(train.candidates[int(np.nanargmax(mean(train.performance, 0)))])
    single, price = test.performance[:, best], test.cost[:, best]
    performance, cost = curves(follower(router, test, embeddings, answers), cost_weights(price))
    points = sorted({(float(c), float(p)) for c, p in zip(mean(cost, 1), mean(performance, 1), strict=True)})
    usd, quality = (np.array(v) for v in zip(*points, strict=True))
    rising = quality > np.maximum.accumulate(np.concatenate([[-1.0], quality[:-1]]))
    return {
        "frontier": [{"cost_usd": c, "performance": p} for (c, p), up in zip(points, rising, strict=True) if up],
        "aiq": aiq(usd, quality, max(usd.max(), float(np.nanmax(mean(test.cost, 0))))),
        "cost_share_at": {str(s): cost_share(performance, cost, single, price, s) for s in SHARES},
    }


def format_cascade(result: dict) -> str:
    """The dict of `evaluate_cascade` as Markdown."""
    head = ["cascade", "reward", "95 %", "performance", "USD a query", "calls", "against no answers (se)"]
    rows = []
    for name, s in result["scenarios"].items():
        gap = s["vs_without_answers"]
        rows.append(
            [name, cell(s["reward"]), " to ".join(cell(v) for v in s["ci95"]), cell(s["performance"]),
             cell(s["cost_usd"], "{:.3g}"), f"{s['calls']:.2f}", f"{gap['difference']:+.4f} ({cell(gap['se'])})"]
        )  # fmt: skip
    parts = [table(head, rows)]
    shares = {k: v for k, v in result["cost_share_at"].items() if v is not None}
    if shares:
        cells = []
        for k, v in shares.items():
            low, high = v["cost_share_ci95"] or (None, None)
            interval = f"{cell(v['cost_share'], '{:.3f}')} [{cell(low, '{:.3f}')}, {cell(high, '{:.3f}')}]"
            cells.append(f"{100 * float(k):g} %: {interval}")
        parts.append(
            f"Every call paid: AIQ {result['aiq']:.4f}; share of the best single's cost at this share of its "
            f"performance (points chosen here) {', '.join(cells)}"
        )
    return "\n\n".join(parts)

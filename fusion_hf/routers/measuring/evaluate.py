"""How good a router is on a test split, beside every anchor. (`cross_validation` compares kinds.)"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...encoders.cache import embed_cached
from ...errors import UserError
from ...logs.arrays import RoutingData
from ...logs.rewards import SCENARIOS, Scaling, Scenario, available_scenarios, get_scenario, pick, unseen_tasks
from ...logs.stats import aiq, bootstrap_ci, mean, number, paired
from ..base import Router
from ..decisions import TIE, Predictions
from .anchors import ANCHORS, choices, figures, outcome, shared
from .operating_points import cost_weights

SHARES = (0.95, 0.99, 1.0)
TIMED = 32  # queries that are encoded afresh to time the encoder


def fingerprint(router: str | Path) -> str | None:
    """Hash of a router's weights and configuration, by which figures are known to be its own; None for a Hub id."""
    folder = Path(router)
    if not folder.is_dir():
        return None
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)).hexdigest()[:32]


def evaluate_router(
    router: Router,
    test: RoutingData,
    train: RoutingData,
    scenarios: Sequence[str] | None = None,
    split: str = "test",
    embeddings: np.ndarray | None = None,
) -> dict:
    """Figures of a router on `test`, with anchors chosen and rewards scaled on `train`.

    Args:
        router: A trained router.
        test, train: Log arrays; only the candidates that the router and both logs know are compared.
        scenarios: Names; default: all that the logs can be measured on.
        split: Name that the result carries.
        embeddings: Of the test queries, by the router's encoder, if known; else from the cache on disk.

    Returns:
        Fields of `verbs.Evaluation`. Costs are USD a query. A line stands on the ``queries`` on which its choice and
        the best single candidate were measured (see `anchors.shared`). ``seconds.encode`` is for all queries, measured
        afresh on a few of them; ``frontier`` and ``aiq`` sweep the weight of cost over predicted performance and cost,
        null without costs.
    """
    known = [c for c in router.candidates if c in test.candidates and c in train.candidates]
    if not known:
        raise UserError("the router and the log share no candidate: expected a log of the LLMs it was trained on")
    test, train = test.select(known), train.select(known)
    possible = [s for s in available_scenarios(train) if s in available_scenarios(test)]
    possible = [s for s in possible if _can(router, SCENARIOS[s])]
    names = possible if scenarios is None else list(scenarios)
    for name in names:
        get_scenario(name)
        if name not in possible:
            raise UserError(f"scenario {name!r} cannot be measured here: expected one of {', '.join(possible)}")
    if router.encoder is not None and embeddings is None:
        embeddings = embed_cached(router.text_encoder, router.bare(test.queries))
    encode = _encode_seconds(router, test.queries)
    start = time.perf_counter()
    predictions = router.predict(test.queries, embeddings).select(known)
    head = time.perf_counter() - start
    scaling = Scaling.fit(train)
    return {
        "split": split,
        "queries": len(test),
        "candidates": known,
        "unseen_tasks": unseen_tasks(test.tasks, train.tasks),
        "scenarios": {n: _scenario(predictions, test, train, SCENARIOS[n], scaling) for n in names},
        **_frontier(predictions, test, train),
        "seconds": {"encode": encode, "head": head, "load": None},
    }


def _can(router: Router, scenario: Scenario) -> bool:
    return (router.config.has_cost or not scenario.beta) and (router.config.has_judge or scenario.score != "judge")


def _encode_seconds(router: Router, queries: list[str]) -> float:
    """Seconds that encoding all queries takes, from a few spread over them."""
    if router.encoder is None:
        return 0.0
    some = router.bare(queries[:: max(1, len(queries) // TIMED)][:TIMED])
    start = time.perf_counter()
    router.text_encoder.encode(some)
    return (time.perf_counter() - start) * len(queries) / len(some)


def _scenario(
    predictions: Predictions, test: RoutingData, train: RoutingData, scenario: Scenario, scaling: Scaling
) -> dict:
    anchors, rewards = choices(test, train, scenario, scaling)
    expected = predictions.reward(scenario.alpha, scenario.beta, scenario.score)
    picks = pick(expected, predictions.cost, test.candidates, tolerance=TIE)
    tasks = np.array(test.tasks)
    got, single = outcome(rewards, picks), outcome(rewards, anchors["best-single"])
    both = shared(got, single)
    shown: dict[str, dict] = {}
    for name in ANCHORS:
        if name != "random" and name not in anchors:
            shown[name] = {"reward": None, "performance": None, "cost_usd": None, "queries": 0}
            continue
        rows = shared(outcome(rewards, anchors.get(name)), single)
        shown[name] = figures(rewards, test, anchors.get(name), rows)
        if name in ("cheapest", "best-single"):
            shown[name] = {"candidate": test.candidates[anchors[name][0]]} | shown[name]
    return {
        **figures(rewards, test, picks, both),
        "ci95": [number(v) for v in bootstrap_ci(got[both])[1:]],
        "vs_best_single": {k: number(v) for k, v in paired(got, single).items()},
        "by_task": {str(t): figures(rewards, test, picks, both & (tasks == t)) for t in np.unique(tasks)},
        "picks": {test.candidates[c]: int(k) for c, k in zip(*np.unique(picks, return_counts=True), strict=True)},
        "anchors": shown,
    }


def _frontier(predictions: Predictions, test: RoutingData, train: RoutingData) -> dict:
    """Operating points of the router over the weight of cost, and what they are worth (AIQ: see `stats.aiq`).

    All stand on the same queries: those on which every candidate that has costs was measured.
    """
    nothing: dict[str, Any] = {
        "frontier": [],
        "frontier_queries": 0,
        "aiq": None,
        "aiq_singles": None,
        "cost_share_at": {str(s): None for s in SHARES},
    }
    if np.isnan(predictions.cost).all() or np.isnan(test.cost).all():
        return nothing
    usable = ~np.isnan(test.cost).all(0) & ~np.isnan(test.performance).all(0)
    whole = ~np.isnan(test.cost[:, usable]).any(1) & ~np.isnan(test.performance[:, usable]).any(1)
    best = int(np.nanargmax(mean(train.performance, 0)))
    if not whole.any() or not usable[best]:
        return nothing
    test, predictions = test.subset(whole), predictions.subset(whole)
    line, points = np.arange(len(test)), set()
    for weight in cost_weights(test.cost[:, best]):
        expected = predictions.performance - weight * predictions.cost
        picks = pick(expected, predictions.cost, test.candidates, tolerance=TIE)
        if usable[picks].all():
            points.add((float(mean(test.cost[line, picks])), float(mean(test.performance[line, picks]))))
    if not points:
        return nothing
    cost, quality = (np.array(v) for v in zip(*sorted(points), strict=True))
    singles = mean(test.cost, 0), mean(test.performance, 0)
    kept = ~np.isnan(singles[0]) & ~np.isnan(singles[1])
    end = max(cost.max(), singles[0][kept].max())
    share = {}
    for s in SHARES:
        good = cost[quality >= s * singles[1][best] - 1e-12]
        share[str(s)] = float(good.min() / singles[0][best]) if len(good) and singles[0][best] > 0 else None
    best_so_far = np.maximum.accumulate(np.concatenate([[-1.0], quality[:-1]]))
    return {
        "frontier": [
            {"cost_usd": float(c), "performance": float(q)}
            for c, q in zip(cost[quality > best_so_far], quality[quality > best_so_far], strict=True)
        ],
        "frontier_queries": len(test),
        "aiq": aiq(cost, quality, end),
        "aiq_singles": aiq(singles[0][kept], singles[1][kept], end),
        "cost_share_at": share,
    }

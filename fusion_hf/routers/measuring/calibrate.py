"""From a budget or a wanted quality to the trade-off that meets it, measured on queries the router has not seen."""

from collections.abc import Callable

import numpy as np

from ...errors import UserError
from ...logs.arrays import RoutingData
from ...logs.rewards import pick
from ...logs.stats import mean
from ..base import Router
from ..cascade.replay import AnsweredLog, replay
from ..decisions import TIE
from ..kinds.cascade import CascadeRouter

RATIOS = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 71), [np.inf]])  # of beta and alpha
ROUNDS, FINER = 2, 15  # how often, and into how many points, the gap beside the chosen ratio is split
Outcome = tuple[np.ndarray, np.ndarray]


def calibrate_router(
    router: Router,
    data: RoutingData,
    embeddings: np.ndarray | None = None,
    answers: np.ndarray | None = None,
    *,
    max_cost: float | None = None,
    min_quality: float | None = None,
    seed: int = 0,
) -> dict:
    """The trade-off alpha * performance - beta * cost that meets a target on `data`.

    For a budget: the one that cares most for performance among those that keep to it. For a quality: the cheapest that
    reaches it. Trade-offs are tried on a grid of beta / alpha that is refined twice.

    Args:
        router: A trained router; for a `CascadeRouter` every call of a chain is paid.
        data: Queries that it was not trained on.
        embeddings: Of the queries, by the router's encoder, if known.
        answers: Final answers, object [n, m]; needed for a cascade.
        max_cost: Mean USD a query.
        min_quality: Share of the performance of the best single candidate on `data`.
        seed: Of the bootstrap.

    Returns:
        ``alpha``, ``beta``; ``performance``, ``cost_usd`` and ``quality`` (share of ``best_single``'s performance) with
        ``…_ci95``, percentile bootstrap over queries; ``queries`` that count.

    Raises:
        UserError: Not exactly one target; a log without costs; a target that cannot be met (with what can).
    """
    if (max_cost is None) == (min_quality is None):
        raise UserError("expected either max_cost or min_quality")
    if not router.config.has_cost or np.isnan(data.cost).all():
        raise UserError("expected a router and a log with costs: without them there is nothing to trade")
    known = [c for c in router.candidates if c in data.candidates]
    if len(known) < len(router.candidates):
        gone = sorted(set(router.candidates) - set(known))
        raise UserError(f"the log lacks candidates of the router: expected {', '.join(gone)}")
    singles = mean(data.select(known).performance, 0)
    best = int(np.nanargmax(singles))
    single = data.select(known).performance[:, best]
    follow = follower(router, data, embeddings, answers)
    tried: dict[float, Outcome] = {}

    def meets(ratio: float) -> bool:
        performance, cost = tried.setdefault(ratio, follow(*_weights(ratio)))
        if min_quality is None:
            return mean(cost) <= max_cost
        both = ~np.isnan(performance) & ~np.isnan(single)  # a log may lack cells: both on the same queries
        return mean(performance[both]) >= min_quality * mean(single[both]) - 1e-12

    ratios = fixed_ratios(router)
    grid = RATIOS if ratios is None else ratios
    for step in range(1 + (ROUNDS if ratios is None else 0)):
        good = [r for r in sorted({*tried, *grid}) if meets(r)]
        if not good:
            raise UserError(_unmet(tried, max_cost, singles[best]))
        # A budget wants the least care for cost that keeps to it; a quality wants the cheapest that reaches it.
        chosen = good[0] if min_quality is None else min(good, key=lambda r: (mean(tried[r][1]), r))
        if step < ROUNDS:
            grid = _between(sorted(tried), chosen, -1 if min_quality is None else 1)
    alpha, beta = _weights(chosen)
    figures = _figures(*tried[chosen], single, seed)
    return {"alpha": alpha, "beta": beta, "best_single": known[best], **figures}


def follower(
    router: Router, data: RoutingData, embeddings: np.ndarray | None = None, answers: np.ndarray | None = None
) -> Callable[..., Outcome]:
    """A function from alpha and beta (or `cost_weight`, performance a USD) to each query's performance and cost."""
    if has_plans(router):
        if answers is None:
            raise UserError("a cascade is followed on logged answers: expected a log with responses")
        log, outlook = AnsweredLog(data, answers, router), router.outlook(data.queries, embeddings)

        def follow(*trade, **options) -> Outcome:
            result = replay(router, outlook, router.pick(outlook, *trade, **options), log)
            return result.performance, result.cost

        return follow
    predictions, line = router.predict(data.queries, embeddings), np.arange(len(data))
    columns = np.array([data.candidates.index(c) for c in router.candidates])

    def choose(alpha: float = 1.0, beta: float = 0.0, *, cost_weight: float | None = None) -> Outcome:
        if cost_weight is None:
            reward = predictions.reward(alpha, beta)
        else:
            reward = predictions.performance - cost_weight * predictions.cost
        place = columns[pick(reward, predictions.cost, router.candidates, tolerance=TIE)]
        performance, cost = data.performance[line, place], data.cost[line, place]
        missing = np.isnan(performance) | np.isnan(cost)
        return np.where(missing, np.nan, performance), np.where(missing, np.nan, cost)

    return choose


def remember(router: Router, result: dict, name: str) -> None:
    """Keep a trade-off as a scenario of the router, and what it was measured to do among its options."""
    trade = {"alpha": result["alpha"], "beta": result["beta"], "score": "performance"}
    router.config.scenarios = {**(router.config.scenarios or {}), name: trade}
    options = dict(router.config.options or {})
    options["calibrated"] = {**options.get("calibrated", {}), name: result}
    router.config.options = options


def has_plans(router: Router) -> bool:
    """Whether a router asks on after it has seen an answer."""
    return isinstance(router, CascadeRouter) and router.has_plans


def fixed_ratios(router: Router) -> list[float] | None:
    """beta / alpha of the trade-offs of a kind that knows no others; None for all other kinds."""
    predictions = router.predict([""])
    if not predictions.fixed:
        return None
    return [b / a if a else np.inf for a, b, score in predictions.votes if score == "performance"]


def _weights(ratio: float) -> tuple[float, float]:
    return (0.0, 1.0) if np.isinf(ratio) else (1 / (1 + ratio), ratio / (1 + ratio))


def _between(tried: list[float], chosen: float, side: int) -> list[float]:
    """Ratios between the chosen one and its neighbour on one side."""
    at = tried.index(chosen) + side
    if not 0 <= at < len(tried):
        return []
    low, high = sorted((max(chosen, 1e-4), min(max(tried[at], 1e-4), 1e5)))
    return [float(r) for r in np.geomspace(low, high, FINER + 2)[1:-1]]


def _unmet(tried: dict[float, Outcome], max_cost: float | None, single: float) -> str:
    if max_cost is not None:
        least = min(mean(cost) for _, cost in tried.values())
        return f"a budget of {max_cost:g} USD a query cannot be kept: the router needs at least {least:.4g} USD"
    most = max(mean(performance) for performance, _ in tried.values()) / single
    return f"that quality cannot be reached: expected at most {most:.4f} of the best single candidate's performance"


def _figures(performance: np.ndarray, cost: np.ndarray, single: np.ndarray, seed: int, draws: int = 2000) -> dict:
    seen = ~np.isnan(performance) & ~np.isnan(single)
    if not seen.any():
        raise UserError("the log has no query on which the router's choice and the best single candidate were measured")
    performance, cost, single = performance[seen], cost[seen], single[seen]
    rows = np.random.default_rng(seed).integers(0, len(cost), (draws, len(cost)))
    values = {
        "performance": (performance.mean(), performance[rows].mean(1)),
        "cost_usd": (cost.mean(), cost[rows].mean(1)),
        "quality": (performance.mean() / single.mean(), performance[rows].mean(1) / single[rows].mean(1)),
    }
    result: dict = {"queries": int(seen.sum())}
    for name, (value, drawn) in values.items():
        result[name] = float(value)
        result[f"{name}_ci95"] = [float(v) for v in np.quantile(drawn, [0.025, 0.975])]
    return result

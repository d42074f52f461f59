"""How good routers are: on a test split beside every anchor, and against each other by cross-validation."""

import time
from collections.abc import Sequence

import numpy as np

from ..bench.data import COLUMNS, RoutingData
from ..bench.rewards import SCENARIOS, Scaling, Scenario, available_scenarios, get_scenario, pick, reward
from ..bench.stats import aiq, bootstrap_ci, paired
from ..bench.store import query_overlap, read_log
from ..encoder import DEFAULT_ENCODER, NONE, embed_cached, load_encoder
from ..errors import UserError
from . import load_router
from .base import Predictions, Router
from .report import format_cv, format_evaluation
from .train import prepare, train_router

ANCHORS = ("random", "cheapest", "best-single", "best-per-task", "oracle")
SHARES = (0.95, 0.99, 1.0)
TIMED = 32  # queries that are encoded afresh to time the encoder


def evaluate_on_bench(router: str, bench: str, split: str = "test", scenario: str = "all") -> dict:
    """`evaluate_router` of a saved router on a split of a FusionBench; anchors and scaling come from its train split.

    Also reports ``seconds.load`` and ``leaked_queries``, the number of texts that stand in both splits.
    """
    start = time.perf_counter()
    model = load_router(router)
    load = time.perf_counter() - start
    tables = {s: read_log(bench, s, columns=COLUMNS) for s in ("train", split)}
    data = {s: RoutingData.from_table(t) for s, t in tables.items()}
    result = evaluate_router(model, data[split], data["train"], None if scenario == "all" else [scenario], split=split)
    result["seconds"]["load"] = load
    result["leaked_queries"] = 0 if split == "train" else query_overlap(tables["train"], tables[split])
    return result


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
        The dict of ``eval-router --json``: see the README. Costs are USD a query. Cells that were not measured are left
        out of means. ``seconds.encode`` is for all queries, measured afresh on a few of them; ``frontier`` and ``aiq``
        sweep the price of a dollar over predicted performance and cost; null without costs.
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
        embeddings = embed_cached(router.text_encoder, test.queries)
    encode = _encode_seconds(router, test.queries)
    start = time.perf_counter()
    predictions = _columns(router.predict(test.queries, embeddings), known)
    head = time.perf_counter() - start
    scaling = Scaling.fit(train)
    return {
        "split": split,
        "queries": len(test),
        "candidates": known,
        "scenarios": {n: _scenario(predictions, test, train, SCENARIOS[n], scaling) for n in names},
        **_frontier(predictions, test, train),
        "seconds": {"encode": encode, "head": head, "load": None},
    }


def _can(router: Router, scenario: Scenario) -> bool:
    return (router.config.has_cost or not scenario.beta) and (router.config.has_judge or scenario.score != "judge")


def _columns(predictions: Predictions, names: list[str]) -> Predictions:
    columns = [predictions.candidates.index(n) for n in names]
    raw, scaled = (
        {k: v[:, columns] for k, v in part.items()} for part in (predictions.raw, predictions.scaled)
    )
    return Predictions(names, raw, scaled, predictions.reasons)


def _encode_seconds(router: Router, queries: list[str]) -> float:
    """Seconds that encoding all queries takes, from a few spread over them."""
    if router.encoder is None:
        return 0.0
    some = queries[:: max(1, len(queries) // TIMED)][:TIMED]
    start = time.perf_counter()
    router.text_encoder.encode(some)
    return (time.perf_counter() - start) * len(queries) / len(some)


def choices(
    test: RoutingData, train: RoutingData, scenario: Scenario, scaling: Scaling
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Column that each anchor picks for every test query (int [n]; `random` has none), and the test reward [n, m]."""
    rewards, learned = reward(test, scenario, scaling), reward(train, scenario, scaling)
    price = _mean(train.cost, 0)
    n, names = len(test), test.candidates
    single = pick(_mean(learned, 0)[None], price, names)[0]
    found = {"best-single": np.full(n, single), "best-per-task": np.full(n, single)}
    if not np.isnan(price).all():
        found["cheapest"] = np.full(n, pick(-price[None], price, names)[0])
    for task in set(test.tasks) & set(train.tasks):
        rows = np.array(train.tasks) == task
        best = pick(_mean(learned[rows], 0)[None], _mean(train.cost[rows], 0), names)[0]
        found["best-per-task"][np.array(test.tasks) == task] = best
    found["oracle"] = pick(rewards, np.where(np.isnan(test.cost), price, test.cost), names)
    return found, rewards


def _mean(values: np.ndarray, axis: int | None = None):
    """nanmean without its warning: NaN where nothing was measured."""
    seen = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen, values, 0).sum(axis) / seen.sum(axis)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _figures(rewards: np.ndarray, data: RoutingData, picks: np.ndarray | None, rows=slice(None)) -> dict:
    """Mean reward, performance and cost of picks; of a random candidate where picks is None."""
    values = {"reward": rewards, "performance": data.performance, "cost_usd": data.cost}
    if picks is not None:
        line = np.arange(len(data))
        values = {k: v[line, picks] for k, v in values.items()}
    return {k: _number(_mean(v[rows])) for k, v in values.items()}


def _scenario(
    predictions: Predictions, test: RoutingData, train: RoutingData, scenario: Scenario, scaling: Scaling
) -> dict:
    anchors, rewards = choices(test, train, scenario, scaling)
    expected = predictions.reward(scenario.alpha, scenario.beta, scenario.score)
    picks = pick(expected, predictions.cost, test.candidates, tolerance=1e-6)
    tasks = np.array(test.tasks)
    got = rewards[np.arange(len(test)), picks]
    shown = {}
    for name in ANCHORS:
        if name == "random" or name in anchors:
            shown[name] = _figures(rewards, test, anchors.get(name))
        else:
            shown[name] = {"reward": None, "performance": None, "cost_usd": None}
        if name in ("cheapest", "best-single") and name in anchors:
            shown[name] = {"candidate": test.candidates[anchors[name][0]]} | shown[name]
    single = rewards[np.arange(len(test)), anchors["best-single"]]
    return {
        **_figures(rewards, test, picks),
        "ci95": [_number(v) for v in bootstrap_ci(got)[1:]],
        "vs_best_single": {k: _number(v) for k, v in paired(got, single).items()},
        "by_task": {
            str(t): _figures(rewards, test, picks, tasks == t) | {"queries": int((tasks == t).sum())}
            for t in np.unique(tasks)
        },
        "picks": {test.candidates[c]: int(k) for c, k in zip(*np.unique(picks, return_counts=True), strict=True)},
        "anchors": shown,
    }


def _frontier(predictions: Predictions, test: RoutingData, train: RoutingData) -> dict:
    """Operating points of the router over the price of a dollar, and what they are worth (measures.md: AIQ)."""
    nothing = {"frontier": [], "aiq": None, "aiq_singles": None, "cost_share_at": {str(s): None for s in SHARES}}
    if np.isnan(predictions.cost).all() or np.isnan(test.cost).all():
        return nothing
    line = np.arange(len(test))
    unit = max(float(_mean(predictions.cost)), 1e-12)
    points = set()
    for price in [0.0, *np.geomspace(1e-4, 1e3, 60), 1e6]:
        expected = predictions.performance - price / unit * predictions.cost
        picks = pick(expected, predictions.cost, test.candidates, tolerance=1e-6)
        points.add((float(_mean(test.cost[line, picks])), float(_mean(test.performance[line, picks]))))
    cost, quality = (np.array(v) for v in zip(*sorted(points), strict=True))
    singles = _mean(test.cost, 0), _mean(test.performance, 0)
    kept = ~np.isnan(singles[0]) & ~np.isnan(singles[1])
    end = max(cost.max(), singles[0][kept].max())
    best = int(np.nanargmax(_mean(train.performance, 0)))
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
        "aiq": aiq(cost, quality, end),
        "aiq_singles": aiq(singles[0][kept], singles[1][kept], end),
        "cost_share_at": share,
    }


def fold_of(data: RoutingData, folds: int, seed: int = 0) -> np.ndarray:
    """Fold of every query, int [n], stratified by task; it depends on query ids, not on row order.

    The only query of a task is -1: always trained on, never tested, since its task's scaling would be unknown.
    """
    rng = np.random.RandomState(seed)
    result = np.full(len(data), -1)
    ids, tasks = np.array(data.query_ids), np.array(data.tasks)
    start = 0
    for task in np.unique(tasks):
        rows = np.flatnonzero(tasks == task)
        rows = rows[np.argsort(ids[rows])]
        if len(rows) > 1:
            result[rng.permutation(rows)] = (np.arange(len(rows)) + start) % folds
            start += len(rows)
    return result


def cross_validate(
    data: RoutingData,
    kinds: Sequence[str],
    folds: int = 5,
    scenario: str = "performance",
    encoder: str = DEFAULT_ENCODER,
    task_labels: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> dict:
    """Router kinds against each other and the anchors, on the same held-out queries.

    Queries are embedded once. Anchors and scaling come from the training part of each fold.

    Returns:
        The dict of ``cv-router --json``. ``reward`` is the mean over held-out queries with its standard error ``se``
        and ``ci95``; ``vs`` holds paired differences to every other kind and to the best single candidate;
        ``fit_seconds`` is the mean over folds, embedding and text features left out (``prepare_seconds`` a fold).
    """
    trade = get_scenario(scenario)
    if scenario not in available_scenarios(data):
        raise UserError(f"scenario {scenario!r} cannot be measured on this log: it lacks costs or judge scores")
    if not 2 <= folds <= len(data):
        raise UserError(f"folds: expected 2 to {len(data)} (the number of queries), found {folds}")
    text_encoder = None if encoder == NONE else load_encoder(encoder)
    embeddings = None if text_encoder is None else embed_cached(text_encoder, data.queries, progress=progress)
    fold = fold_of(data, folds, seed)
    names = [*dict.fromkeys(kinds)]
    got = {name: np.full(len(data), np.nan) for name in (*names, *ANCHORS)}
    seconds, prepared = {name: [] for name in names}, []
    for f in _bar(range(folds), progress):
        inside, outside = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        train, test = data.subset(inside), data.subset(outside)
        anchors, rewards = choices(test, train, trade, Scaling.fit(train))
        line = np.arange(len(test))
        got["random"][outside] = _mean(rewards, 1)
        for name, picks in anchors.items():
            got[name][outside] = rewards[line, picks]
        start = time.perf_counter()
        part = None if embeddings is None else embeddings[inside]
        features = prepare(train, part, seed)
        prepared.append(time.perf_counter() - start)
        for name in names:
            start = time.perf_counter()
            router = train_router(name, train, text_encoder or NONE, task_labels, seed, features=features)
            seconds[name].append(time.perf_counter() - start)
            predictions = router.predict(test.queries, None if embeddings is None else embeddings[outside])
            expected = predictions.reward(trade.alpha, trade.beta, trade.score)
            picks = pick(expected, predictions.cost, test.candidates, tolerance=1e-6)
            got[name][outside] = rewards[line, picks]
    return _cv_result(got, names, seconds, prepared, folds, scenario, int((fold < 0).sum()))


def _bar(items, progress: bool):
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc="folds", unit="fold")


def _cv_result(got, names, seconds, prepared, folds, scenario, lone) -> dict:
    single, oracle = _mean(got["best-single"]), _mean(got["oracle"])
    span = oracle - single
    kinds = {}
    for name in names:
        mean, low, high = bootstrap_ci(got[name])
        measured = got[name][~np.isnan(got[name])]
        kinds[name] = {
            "reward": _number(mean),
            "se": _number(measured.std(ddof=1) / np.sqrt(len(measured))) if len(measured) > 1 else None,
            "ci95": [_number(low), _number(high)],
            "gap_recovered": float((mean - single) / span) if span > 0 else None,
            "fit_seconds": float(np.mean(seconds[name])),
            "vs": {
                other: {k: _number(v) for k, v in paired(got[name], got[other]).items()}
                for other in (*names, "best-single")
                if other != name
            },
        }
    return {
        "folds": folds,
        "scenario": scenario,
        "queries": int((~np.isnan(got["oracle"])).sum()),
        "lone_queries": lone,
        "prepare_seconds": float(np.mean(prepared)),
        "kinds": kinds,
        "anchors": {name: {"reward": _number(_mean(got[name]))} for name in ANCHORS},
    }


__all__ = [
    "choices",
    "cross_validate",
    "evaluate_on_bench",
    "evaluate_router",
    "fold_of",
    "format_cv",
    "format_evaluation",
]

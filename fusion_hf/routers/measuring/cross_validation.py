"""Router kinds against each other by cross-validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...encoders.cache import embed_cached
from ...encoders.encoder import DEFAULT_ENCODER, NONE
from ...encoders.opened import open_encoder
from ...errors import UserError
from ...logs.arrays import RoutingData
from ...logs.rewards import Scaling, Scenario, available_scenarios, get_scenario, pick
from ...logs.stats import bootstrap_ci, mean, number, paired
from ..base import Router
from ..decisions import TIE
from ..fit_encoder import fit_encoder
from ..kind import get_kind, kind_name
from ..train import bare_data, fit_router, prepare
from .anchors import ANCHORS, choices, shared
from .cascade_report import followed_reward

TASKS, QUERIES = "tasks", "queries"  # what is held out


def folds_of(data: RoutingData, folds: int | str, seed: int = 0) -> tuple[np.ndarray, int]:
    """Fold of every query, int [n], and how many there are: by `fold_of`, or for ``tasks`` one a task.

    Raises:
        UserError: Neither 2 to n folds nor ``tasks``; or a log of one task, of which none can be held out.
    """
    if folds == TASKS:
        names, fold = np.unique(data.tasks, return_inverse=True)
        if len(names) < 2:
            raise UserError(f"folds tasks: expected a log of at least two tasks, found one ({names[0]})")
        return fold, len(names)
    if not isinstance(folds, int) or not 2 <= folds <= len(data):
        raise UserError(f"folds: expected 2 to {len(data)} (the number of queries) or tasks, found {folds}")
    return fold_of(data, folds, seed), folds


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
    kinds: Sequence[str | type[Router]],
    folds: int | str = 5,
    scenario: str = "performance",
    encoder: str = DEFAULT_ENCODER,
    task_labels: bool = True,
    seed: int = 0,
    progress: bool = True,
    llms: Sequence[dict] | None = None,
    options: Mapping[str, dict] | None = None,
    answers: np.ndarray | None = None,
) -> dict:
    """Router kinds against each other and the anchors, on the same held-out queries.

    Queries are embedded once. Anchors and scaling come from the training part of each fold.

    Args:
        data: Log arrays.
        kinds: As in `fit_router`.
        folds: Their number; ``tasks`` holds out each task in turn, so that every query is of a task that training never
            saw (see `fusion_hf.logs.rewards.Scaling` for how it is measured).
        options: What the `learn` of a kind takes, by the kind's name.
        answers: Final answers, object [n, m] in the order of `data` (see `answers.log_answers`). A kind that reads
            answers learns from those of the other folds, and its plans are followed on those of its own fold, every
            call paid; without them it is told from the query alone.

    Returns:
        The dict of ``cv-router --json``. ``reward`` is the mean over the held-out queries with its standard error
        ``se`` and ``ci95``; ``vs`` holds paired differences to every other kind and to the best single candidate;
        ``fit_seconds`` is the mean over folds, embedding and text features left out (``prepare_seconds`` a fold). A
        line stands on the ``queries`` on which its choice and the best single candidate were both measured, and so do
        its ``gap_recovered`` and the ``best_single`` and ``oracle`` beside it. Where tasks are held out, ``by_task``
        holds the paired difference to the best single candidate in each.
    """
    held = held_out(
        data, kinds, folds, scenario, encoder, task_labels, seed, progress, llms=llms, options=options, answers=answers
    )
    result = _cv_result(held, scenario)
    if folds == TASKS:
        tasks, single = np.array(data.tasks), held.rewards["best-single"]
        for name, line in result["kinds"].items():
            more = {str(t): (held.rewards[name][tasks == t], single[tasks == t]) for t in np.unique(tasks)}
            line["by_task"] = {t: {k: number(v) for k, v in paired(*both).items()} for t, both in more.items()}
    return result | {"held_out": TASKS if folds == TASKS else QUERIES}


@dataclass
class HeldOut:
    """Rewards of held-out queries.

    Attributes:
        rewards: Name of a kind or anchor -> float64 [n]; NaN where it was not measured.
        fit_seconds: Kind -> seconds of training in each fold, embedding and text features left out.
        prepare_seconds: Seconds of text features in each fold.
        lone: Queries that were never held out.
        folds: Their number.
        failed: Kind -> why it could not be trained on this log.
    """

    rewards: dict[str, np.ndarray]
    fit_seconds: dict[str, list[float]]
    prepare_seconds: list[float]
    lone: int
    failed: dict[str, str]
    folds: int


def held_out(
    data: RoutingData,
    kinds: Sequence[str | type[Router]],
    folds: int | str,
    scenario: str,
    encoder: str,
    task_labels: bool,
    seed: int,
    progress: bool,
    llms: Sequence[dict] | None = None,
    options: Mapping[str, dict] | None = None,
    answers: np.ndarray | None = None,
    tolerant: bool = False,
) -> HeldOut:
    """What every kind and anchor earns on each query, trained on the other folds; see `cross_validate`.

    `tolerant`: a kind that cannot be trained on this log is left out and named, and the others go on.
    """
    trade = get_scenario(scenario)
    if scenario not in available_scenarios(data):
        raise UserError(f"scenario {scenario!r} cannot be measured on this log: it lacks costs or judge scores")
    fold, count = folds_of(data, folds, seed)
    opened = text_encoder = open_encoder(encoder)
    embeddings, texts = None, []
    classes = {kind_name(kind): get_kind(kind) for kind in kinds}
    names = list(classes)
    got = {name: np.full(len(data), np.nan) for name in (*names, *ANCHORS)}
    seconds, prepared, failed = {name: [] for name in names}, [], {}
    for f in _bar(range(count), progress):
        inside, outside = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        train, test = data.subset(inside), data.subset(outside)
        anchors, rewards = choices(test, train, trade, Scaling.fit(train))
        line = np.arange(len(test))
        got["random"][outside] = mean(rewards, 1)
        for name, picks in anchors.items():
            got[name][outside] = rewards[line, picks]
        if opened is not None:
            known, texts = texts, bare_data(data, train).queries
            text_encoder = fit_encoder(opened, bare_data(train), seed)
            if text_encoder is not opened or texts != known:
                embeddings = embed_cached(text_encoder, texts, progress=progress)
        start = time.perf_counter()
        part = None if embeddings is None else embeddings[inside]
        features = prepare(train, part, seed)
        prepared.append(time.perf_counter() - start)
        for name in (name for name in names if name not in failed):
            start = time.perf_counter()
            read = answers is not None and classes[name].needs_answers
            try:
                router = fit_router(
                    classes[name], train, text_encoder or NONE, task_labels, seed, features=features, llms=llms,
                    answers=answers[inside] if read else None, **(options or {}).get(name, {}),
                )  # fmt: skip
            except UserError as error:
                if not tolerant:
                    raise
                failed[name] = str(error)
                continue
            seconds[name].append(time.perf_counter() - start)
            # A kind that trained an encoder of its own needs embeddings of its own.
            own = None if text_encoder is None or router.encoder is not text_encoder.model else embeddings[outside]
            told = answers[outside] if read else None
            got[name][outside] = _earned(router, test, trade, rewards, told, Scaling.fit(train), own)
    return HeldOut(got, seconds, prepared, int((fold < 0).sum()), failed, count)


def _earned(
    router: Router, test: RoutingData, trade: Scenario, rewards: np.ndarray, answers: np.ndarray | None,
    scaling: Scaling, embeddings: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """What a router earns on each query of its fold: by its plans where it follows answers, else by its choice."""
    if answers is not None and getattr(router, "has_plans", False) and trade.score == "performance":
        return followed_reward(router, test, answers, trade, scaling, embeddings)
    predictions = router.predict(test.queries, embeddings).select(test.candidates)
    expected = predictions.reward(trade.alpha, trade.beta, trade.score)
    picks = pick(expected, predictions.cost, test.candidates, tolerance=TIE)
    return rewards[np.arange(len(test)), picks]


def _bar(items, progress: bool):
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc="folds", unit="fold", disable=None)


def _cv_result(held: HeldOut, scenario: str) -> dict:
    got, names = held.rewards, list(held.fit_seconds)
    lines = {name: line_of(got[name], got["best-single"], got["oracle"]) for name in (*names, *ANCHORS)}
    for name in names:
        lines[name]["fit_seconds"] = float(np.mean(held.fit_seconds[name]))
        lines[name]["vs"] = {
            other: {k: number(v) for k, v in paired(got[name], got[other]).items()}
            | {"queries": int((~np.isnan(got[name] - got[other])).sum())}
            for other in (*names, "best-single")
            if other != name
        }
    return {
        "folds": held.folds,
        "scenario": scenario,
        "queries": int((~np.isnan(got["oracle"])).sum()),
        "lone_queries": held.lone,
        "prepare_seconds": float(np.mean(held.prepare_seconds)),
        "kinds": {name: lines[name] for name in names},
        "anchors": {name: {k: lines[name][k] for k in ("reward", "queries")} for name in ANCHORS},
    }


def line_of(got: np.ndarray, single: np.ndarray, oracle: np.ndarray) -> dict:
    """Figures of one choice, all on the queries on which it and the best single candidate were measured."""
    rows = shared(got, single)
    reward, low, high = bootstrap_ci(got[rows])
    best, most = mean(single[rows]), mean(oracle[rows])
    return {
        "queries": int(rows.sum()),
        "reward": number(reward),
        "se": number(got[rows].std(ddof=1) / np.sqrt(rows.sum())) if rows.sum() > 1 else None,
        "ci95": [number(low), number(high)],
        "best_single": number(best),
        "oracle": number(most),
        "gap_recovered": float((reward - best) / (most - best)) if most - best > 1e-12 else None,
    }

"""Systems that choose query by query: saved routers in each scenario, and a router over all levels together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..encoders.cache import embed_cached
from ..encoders.encoder import DEFAULT_ENCODER, NONE, TextEncoder
from ..encoders.opened import open_encoder
from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.log import read_log
from ..logs.rewards import SCENARIOS, pick
from ..routers import Predictions, Router, get_kind, load_router
from ..routers.cascade.answers import log_answers
from ..routers.cascade.replay import AnsweredLog, Replay, replay
from ..routers.decisions import TIE
from ..routers.kinds.cascade import CascadeRouter
from ..routers.measuring.cross_validation import fold_of
from ..routers.train import fit_router
from .systems import Splits, System, picked_system

FOLDS = 5  # of the validation queries, for a router that learns from them


def router_systems(name: str, folder: str | Path, splits: Splits) -> list[System]:
    """A saved router in each scenario that the log can be measured on; a cascade also as it asks on.

    Raises:
        UserError: No router is there, or one of its candidates is in no log.
    """
    router = load_router(folder)
    unknown = sorted(set(router.candidates) - set(splits.test.candidates))
    if unknown:
        raise UserError(
            f"router {name}: its candidate {unknown[0]!r} is not in the log: add the log with its answers, or take "
            "the candidate out (fusion-hf remove-llm)"
        )
    # Queries are encoded once for all scenarios, and the comparison of another router finds them in the cache.
    test = predict(router, splits.test.queries)
    validation = None if splits.validation is None else predict(router, splits.validation.queries)
    return [
        _routed(f"{name} ({scenario})", "query", splits, (scenario, trade), str(folder), test, validation)
        for scenario, trade in _scenarios(router, splits).items()
    ] + _followed(name, router, splits)


def _followed(name: str, router: Router, splits: Splits) -> list[System]:
    """A cascade that is followed on the logged answers, every call paid; [] for routers that do not ask on."""
    if not isinstance(router, CascadeRouter) or not router.has_plans or splits.source is None:
        return []
    outcomes: dict[str, dict[str, Replay]] = {}
    scenarios = {n: trade for n, trade in _scenarios(router, splits).items() if trade["score"] == "performance"}
    for split, data in (("test", splits.test), ("partial_test", splits.validation)):
        if data is None:
            continue
        answers = log_answers(read_log(splits.source, split), data)
        embeddings = None if router.encoder is None else embed_cached(router.text_encoder, router.bare(data.queries))
        log, outlook = AnsweredLog(data, answers, router), router.outlook(data.queries, embeddings)
        choices = {n: router.pick(outlook, trade["alpha"], trade["beta"]) for n, trade in scenarios.items()}
        outcomes[split] = {n: replay(router, outlook, choice, log) for n, choice in choices.items()}
    nothing = np.full(len(splits.test), np.nan)
    result = []
    for scenario in scenarios:
        test, checked = outcomes["test"][scenario], outcomes.get("partial_test", {}).get(scenario)
        result.append(
            System(
                f"{name} ({scenario}, cascade)", "query", test.performance, test.cost, nothing, nothing, nothing,
                validation=None if checked is None else checked.performance,
                validation_cost=None if checked is None else checked.cost,
            )
        )  # fmt: skip
    return result


def predict(router: Router, queries: Sequence[str]) -> Predictions:
    """What a router expects of queries, their embeddings from the cache on disk."""
    embeddings = None if router.encoder is None else embed_cached(router.text_encoder, router.bare(queries))
    return router.predict(queries, embeddings)


def picks(predictions: Predictions, trade: dict, candidates: Sequence[str]) -> np.ndarray:
    """Place among `candidates` of the choice for every query under a trade-off (alpha, beta, score): int [n]."""
    expected = predictions.reward(**trade)
    places = np.array([list(candidates).index(c) for c in predictions.candidates])
    return places[pick(expected, predictions.cost, predictions.candidates, tolerance=TIE)]


def _scenarios(router: Router, splits: Splits) -> dict[str, dict]:
    """Trade-offs of the router, its own ones too, that it was trained for and the log can be measured on."""
    has_cost = router.config.has_cost and not np.isnan(splits.test.cost).all()
    has_judge = router.config.has_judge and not np.isnan(splits.test.judge).all()
    known = router.config.scenarios or {}  # in a saved configuration they are sorted by name
    order = [*(n for n in SCENARIOS if n in known), *(n for n in known if n not in SCENARIOS)]
    return {
        name: trade
        for name, trade in ((name, known[name]) for name in order)
        if (has_cost or not trade["beta"]) and (has_judge or trade["score"] != "judge")
    }


def _routed(
    name: str,
    level: str,
    splits: Splits,
    scenario: tuple[str, dict],
    folder: str,
    test: Predictions,
    validation: Predictions | list[tuple[np.ndarray, Predictions]] | None,
) -> System:
    """`validation` may be in parts: (rows, what a router that did not see them expects of them)."""
    names, (called, trade) = splits.test.candidates, scenario
    chosen = None
    if isinstance(validation, list):
        chosen = np.zeros(sum(len(rows) for rows, _ in validation), np.int64)
        for rows, part in validation:
            chosen[rows] = picks(part, trade, names)
    elif validation is not None:
        chosen = picks(validation, trade, names)
    spec = {"kind": "router", "router": folder, "scenario": called}
    return picked_system(name, level, splits, lambda data: picks(test, trade, names), spec, chosen)


def combination(
    kind: str, splits: Splits, out: str | Path, encoder: str | TextEncoder = DEFAULT_ENCODER
) -> list[System]:
    """A router over the candidates of all levels, one system a scenario; it is saved in `out` so that it can be used.

    It learns from train and from the validation queries, because a candidate of another log has often answered only
    these. What it scores on validation comes from routers that did not see the query (cross-fitting over folds), so
    that it compares with systems for which validation is new.

    Args:
        kind: A router kind that needs no answers.
        splits: The joined log (see `logged.join`).
        out: Folder of the router.
        encoder: See `fit_router`.
    """
    if get_kind(kind).needs_answers:
        raise UserError(f"combine: {kind!r}: expected a kind that needs no answers, such as fusion")
    data, fold = _training(splits)
    opened = encoder if isinstance(encoder, TextEncoder) else open_encoder(encoder)

    def train(rows: np.ndarray) -> Router:
        router = fit_router(kind, data.subset(rows), NONE if opened is None else opened, progress=False)
        if isinstance(encoder, str):
            router.config.encoder_name = router.config.training["settings"]["encoder"] = encoder
        return router

    router = train(np.ones(len(data), bool))
    router.save_pretrained(out)
    parts = None
    if splits.validation is not None:
        parts = []
        for f in range(FOLDS):
            held = np.flatnonzero(fold[-len(splits.validation) :] == f)
            if len(held):
                parts.append((held, predict(train(fold != f), [splits.validation.queries[i] for i in held])))
    test = predict(router, splits.test.queries)
    return [
        _routed(f"combined ({scenario})", "combined", splits, (scenario, trade), str(out), test, parts)
        for scenario, trade in _scenarios(router, splits).items()
    ]


def _training(splits: Splits) -> tuple[RoutingData, np.ndarray]:
    """Train and then validation rows, and the fold of each (-1: in training always).

    A train query that also stands in validation is left out: else a router would see what it is to be checked on.
    """
    if splits.validation is None:
        return splits.train, np.full(len(splits.train), -1)
    checked = splits.validation
    known = set(checked.queries) | set(checked.query_ids)
    pairs = zip(splits.train.queries, splits.train.query_ids, strict=True)
    train = splits.train.subset(np.array([q not in known and i not in known for q, i in pairs]))
    fold = fold_of(checked, FOLDS)
    # A task with one validation query is a fold of its own kind: that query is held out like any other.
    fold[fold < 0] = 0
    arrays = {n: np.concatenate([getattr(train, n), getattr(checked, n)]) for n in ("performance", "cost", "judge")}
    lists = {n: getattr(train, n) + getattr(checked, n) for n in ("query_ids", "queries", "tasks")}
    return replace(train, **lists, **arrays), np.concatenate([np.full(len(train), -1), fold])


def encoder_of(folders: Sequence[str]) -> str | TextEncoder:
    """The text encoder of the first of these routers, without a download; the default encoder without any router."""
    if not folders:
        return DEFAULT_ENCODER
    router = load_router(folders[0])
    if router.encoder is None:
        return NONE
    # Else the new router would say that its encoder came from the folder of the old one.
    router.encoder.name_or_path = router.config.encoder_name
    return router.text_encoder

"""The functions of the commands that measure routers: `eval_router`, `cv_router` and `calibrate`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, cast

from ...encoders.encoder import DEFAULT_ENCODER
from ...errors import UserError
from ...logs.store import query_overlap
from ...made import with_change
from ...outputs import check_folder
from ...results import Result
from ..base import Router
from ..kind import get_kind, kind_name
from ..kinds.cascade import CascadeRouter
from ..sources import (
    LogLike,
    Part,
    RouterLike,
    answers_of,
    embeddings_of,
    held_out_split,
    open_part,
    open_router,
    public_name,
    splits_of,
)
from .calibrate import calibrate_router, has_plans, remember
from .cascade_report import evaluate_cascade
from .cross_validation import cross_validate
from .evaluate import evaluate_router, fingerprint
from .report import format_calibration, format_cv, format_evaluation
from .served import evaluate_served


@dataclass
class Evaluation(Result):
    """What a router is worth on a split, beside every anchor; the fields of ``eval-router --json``.

    Attributes:
        split, queries, candidates: What it was measured on.
        unseen_tasks: Tasks of the split that training never saw; see `fusion_hf.logs.rewards.Scaling`.
        scenarios: By name: reward with ``ci95``, performance, ``cost_usd`` and ``queries``, also ``by_task`` and of the
            ``anchors``; the paired difference ``vs_best_single``; how often each candidate was picked.
        frontier, aiq, aiq_singles, cost_share_at: Over the weight of cost, on ``frontier_queries``.
        seconds: Time to load, to encode all queries, and to decide.
        bench, router: Name of the log, and hash of the router's files.
        leaked_queries: Texts that stand in the training split too.
        in_sample: Whether the router was trained on this split.
        cascade: What following the plans of a cascade brings, every call paid; None for other kinds.
    """

    split: str
    queries: int
    candidates: list[str]
    unseen_tasks: list[str]
    scenarios: dict[str, dict]
    frontier: list[dict]
    frontier_queries: int
    aiq: float | None
    aiq_singles: float | None
    cost_share_at: dict[str, float | None]
    seconds: dict[str, float | None]
    bench: str | None = None
    router: str | None = None
    leaked_queries: int = 0
    in_sample: bool = False
    cascade: dict | None = None

    def table(self) -> list[dict[str, Any]]:
        """A row a scenario and choice: the router, then the anchors."""
        return [
            {
                "scenario": name,
                "choice": choice,
                **{k: line[k] for k in ("reward", "performance", "cost_usd", "queries")},
            }
            for name, s in self.scenarios.items()
            for choice, line in {"router": s, **s["anchors"]}.items()
        ]

    def __str__(self) -> str:
        return format_evaluation(self.to_dict())


@dataclass
class CrossValidation(Result):
    """Router kinds against each other on held-out queries, as ``cv-router --json`` (see `cross_validate`)."""

    folds: int
    held_out: str
    scenario: str
    queries: int
    lone_queries: int
    prepare_seconds: float
    kinds: dict[str, dict]
    anchors: dict[str, dict]

    def table(self) -> list[dict[str, Any]]:
        """A row a kind, then a row an anchor."""
        rows = [
            {"choice": n, **{k: v for k, v in line.items() if k not in ("ci95", "vs", "by_task")}}
            for n, line in self.kinds.items()
        ]
        return rows + [{"choice": name, **line} for name, line in self.anchors.items()]

    def __str__(self) -> str:
        return format_cv(self.to_dict())


@dataclass
class Calibration(Result):
    """The trade-off that meets a budget or a quality, and what it was measured to do (see `calibrate_router`)."""

    split: str
    scenario: str
    alpha: float
    beta: float
    best_single: str
    queries: int
    performance: float
    performance_ci95: list[float]
    cost_usd: float
    cost_usd_ci95: list[float]
    quality: float
    quality_ci95: list[float]

    def __str__(self) -> str:
        return format_calibration(self.to_dict())


def eval_router(
    router: RouterLike,
    log: LogLike | None = None,
    *,
    split: str = "test",
    scenario: str = "all",
    served: str | PathLike[str] | None = None,
    trust_remote_code: bool = False,
) -> Result:
    """Measure a router on a split of a log, with every anchor; anchors and scaling come from the log's train split.

    The split may hold tasks that training never saw: the result names them.

    Args:
        router: Folder, Hub id, or a router.
        log: FusionBench folder or Hub id, or a dict of tables or arrays by split; with the split ``train``.
        split: The split that is measured.
        scenario: ``performance``, ``balance``, ``cost``, ``judge``, or ``all`` that the log can be measured on.
        served: Folder of `serve`, in place of `log`: estimate what the router would have earned on that traffic, where
            each request was answered by one candidate (see `evaluate_served`).
        trust_remote_code: Whether the code beside the checkpoint may run where its kind is not known here.

    Returns:
        An `Evaluation`; with `served` a `ServedEvaluation`.

    Raises:
        UserError: The log lacks a split, shares no candidate with the router, or cannot be measured in that scenario.
    """
    start = time.perf_counter()
    model = open_router(router, trust_remote_code)
    load = time.perf_counter() - start
    if (log is None) == (served is None):
        raise UserError("expected a log, or the folder of served traffic in its place")
    if served is not None:
        return evaluate_served(model, str(served), scenario)
    assert log is not None
    if not splits_of(log):
        raise UserError("expected a log with the split train and the one to measure, found a log without splits")
    test = open_part(log, split, responses=has_plans(model))
    train = test if split == "train" else open_part(log, "train")
    names = None if scenario == "all" else [scenario]
    embeddings = embeddings_of(model, test.data)
    result = evaluate_router(model, test.data, train.data, names, split=split, embeddings=embeddings)
    result["seconds"]["load"] = load
    # Of a folder the name only: figures are published, and a path is nobody's business.
    result |= {"bench": public_name(log), "router": None if isinstance(router, Router) else fingerprint(router)}
    result["in_sample"] = _in_sample(model, test, split)
    if split != "train" and train.table is not None and test.table is not None:
        result["leaked_queries"] = query_overlap(train.table, test.table)
    answers = answers_of(test) if has_plans(model) and set(model.candidates) <= set(test.data.candidates) else None
    if answers is not None:
        followed = cast(CascadeRouter, model)
        result["cascade"] = evaluate_cascade(followed, test.data, train.data, answers, names, embeddings)
    return Evaluation(**result)


def _in_sample(model: Router, test: Part, split: str) -> bool:
    made = model.config.training or {}
    if split == made.get("settings", {}).get("split", "train"):
        return True
    return made.get("log", {}).get("fingerprint") == test.data.fingerprint()


def cv_router(
    log: LogLike,
    *,
    kind: str | type[Router] | Sequence[str | type[Router]],
    encoder: str = DEFAULT_ENCODER,
    split: str = "train",
    folds: int | str = 5,
    scenario: str = "performance",
    task_labels: bool = True,
    seed: int = 0,
    option: Mapping[str, Any] | None = None,
) -> CrossValidation:
    """Compare router kinds by cross-validation, each with every other, the best single candidate and the anchors.

    Kinds that read answers learn from those of the other folds, and are followed on those of their own, every call
    paid.

    Args:
        log: See `fusion_hf.train_router`.
        kind: A kind or several; see `fusion_hf.train_router`.
        encoder: Text encoder, see `fusion_hf.train_router`; of a language model each fold chooses the layer.
        split: The split that is cut into folds.
        folds: Number of folds; or ``tasks`` to hold out each task in turn, as a task that training never saw.
        scenario: ``performance``, ``balance``, ``cost`` or ``judge``.
        task_labels: Whether the routers may see the log's task names.
        seed: Of the folds and of training.
        option: Options of kinds, such as ``{"encoder.layers": 2}``.

    Raises:
        UserError: Unknown kind or option, or a log that cannot be measured in that scenario.
    """
    kinds = [kind] if isinstance(kind, str | type) else list(kind)
    if not kinds:
        raise UserError("kind: expected at least one, found none")
    options = _options(option or {}, [kind_name(k) for k in kinds])
    reads_answers = any(get_kind(k).needs_answers for k in kinds)
    part = open_part(log, split, reads_answers)
    return CrossValidation(
        **cross_validate(
            part.data, kinds, folds=folds, scenario=scenario, encoder=encoder, task_labels=task_labels, seed=seed,
            llms=part.llms, options=options, answers=answers_of(part) if reads_answers else None,
        )
    )  # fmt: skip


def _options(given: Mapping[str, Any], kinds: list[str]) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for text, value in given.items():
        kind, dot, name = text.partition(".")
        if kind not in kinds or not dot or not name:
            raise UserError(f"option: expected KIND.NAME of a compared kind ({', '.join(kinds)}), found {text!r}")
        found.setdefault(kind, {})[name] = value
    return found


def calibrate(
    router: RouterLike,
    log: LogLike,
    *,
    max_cost: float | None = None,
    min_quality: float | None = None,
    split: str | None = None,
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    name: str = "calibrated",
    trust_remote_code: bool = False,
) -> Calibration:
    """Find the trade-off that meets a budget or a quality on held-out queries.

    Args:
        router: Folder, Hub id, or a router; a router gets the trade-off as a scenario.
        log: See `eval_router`.
        max_cost: Mean USD a query.
        min_quality: Share of the best single candidate's performance, such as 0.99.
        split: Queries that the router was not trained on; None for ``partial_test``, or else ``test``.
        out: Folder to save the router to, with the trade-off as a scenario.
        overwrite: Also write to a folder that holds something else.
        name: Name of that scenario.
        trust_remote_code: Whether the code beside the checkpoint may run where its kind is not known here.

    Raises:
        UserError: Not exactly one target, or one that cannot be met (with what can); no such split.
    """
    if (max_cost is None) == (min_quality is None):
        raise UserError("expected either a max_cost or a min_quality")
    if out is not None:
        check_folder(out, "router", overwrite)
    model, split = open_router(router, trust_remote_code), split or held_out_split(log)
    part = open_part(log, split, responses=has_plans(model))
    answers = answers_of(part) if has_plans(model) else None
    wanted = {"max_cost": max_cost, "min_quality": min_quality}
    found = calibrate_router(model, part.data, embeddings_of(model, part.data), answers, **wanted)
    result = {"split": split, "scenario": name, **found}
    remember(model, result, name)
    settings = {**wanted, "split": split, "name": name}
    model.config.training = with_change(model.config.training, "calibrate", settings, part.data.fingerprint())
    if out is not None:
        model.save_pretrained(out)
    return Calibration(**result)

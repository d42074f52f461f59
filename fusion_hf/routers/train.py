"""From a log to a trained router."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from ..encoders.beginnings import bare, shared_beginnings
from ..encoders.cache import embed_cached
from ..encoders.encoder import DEFAULT_ENCODER, TextEncoder
from ..encoders.joint import JointEncoder
from ..encoders.opened import open_encoder
from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.rewards import SCENARIOS, Scaling, available_scenarios
from ..logs.schema import split_candidate
from ..made import made
from .base import Router
from .examples import MOST, remember
from .features import fit_features, text_features
from .fit_encoder import fit_encoder
from .kind import get_kind, kind_name
from .sound import check_router
from .targets import Targets


def fit_router(
    kind: str | type[Router],
    data: RoutingData,
    encoder: str | TextEncoder = DEFAULT_ENCODER,
    task_labels: bool = True,
    seed: int = 0,
    embeddings: np.ndarray | None = None,
    features: tuple[dict[str, torch.Tensor], torch.Tensor] | None = None,
    progress: bool = True,
    llms: Sequence[dict] | None = None,
    answers: np.ndarray | None = None,
    examples: int = MOST,
    **options: Any,
) -> Router:
    """Train a router on log arrays. (`fusion_hf.train_router` takes a log from wherever it lies, and calls this.)

    The order of the queries and of the candidates in `data` does not matter.

    Args:
        kind: One of `KINDS`, the path of a Python file with a line ``ROUTER = …``, or a class of routers.
        data: The training split: at least two queries and one candidate. Missing cells (NaN) are fine.
        encoder: Name of the text encoder (see `fusion_hf.train_router`), ``none``, or one that is loaded already.
        task_labels: Whether the router may see which task a query belongs to. Without, scores and costs are scaled over
            the whole log.
        seed: Of every random choice.
        embeddings: float32 [n, e] of the queries of `bare_data` by this encoder, if they are known; else taken from the
            cache on disk.
        features: What `prepare` gave for exactly this data, to share between kinds.
        progress: Show a progress bar while queries are encoded.
        llms: Rows of the pool (the config ``llms`` of a FusionBench), for kinds that read what an LLM is said to be.
        answers: Final answers [n, m] in the order of `data`, for kinds that read answers (`Router.needs_answers`).
        examples: Training queries that the checkpoint carries to explain its decisions (the end of each text, its
            vector and its scores); 0 for none.
        options: What the kind's `learn` takes.

    Returns:
        A router in evaluation mode. Save it with ``save_pretrained(folder)``; ``config.training`` tells how it was
        made.

    Raises:
        UserError: Unknown kind or encoder, or a log from which nothing can be learned.
    """
    cls = get_kind(kind)
    _check(data)
    options = _all_options(cls, options)
    settings = {"kind": kind_name(cls), "encoder": _encoder_name(encoder), "task_labels": task_labels, "seed": seed}
    given = {"llms": llms is not None, "answers": answers is not None}
    training = made(settings | {"option": options}, _log_facts(data) | given, "transformers", "torch", "numpy")
    text_encoder = encoder if isinstance(encoder, TextEncoder) else open_encoder(encoder)
    shown = bare_data(data)
    if isinstance(text_encoder, JointEncoder) and text_encoder.axes is None:
        text_encoder, embeddings = fit_encoder(text_encoder, shown, seed, progress), None
    if text_encoder is not None and embeddings is None and features is None:
        embeddings = embed_cached(text_encoder, shown.queries, progress=progress)
    state, x = prepare(data, embeddings, seed) if features is None else features
    order = canonical(data)
    if answers is not None:
        answers = answers[order][:, np.argsort(data.candidates)]
    data = shown.subset(order).select(sorted(data.candidates))
    scaling = Scaling.fit(data if task_labels else _one_task(data))
    targets = _targets(data, scaling, task_labels, text_encoder, llms, answers)
    learned, buffers = _checked(cls, cls.learn(x.double().numpy(), targets, seed=seed, **options))
    if targets.tuned is not None:
        text_encoder, vectors = targets.tuned
        x = torch.cat([torch.from_numpy(vectors), x[:, targets.embedding :]], 1)
    buffers = state | buffers | remember(x.numpy(), targets.texts, data.performance, targets.embedding, examples)
    known = {"encoder_name": _encoder_name(encoder), "training": training, "options": learned}
    router = _assembled(cls, data, scaling, text_encoder, buffers, task_labels, known)
    if not _ours(cls):
        _check_head(router)
    return router


def _ours(cls: type[Router]) -> bool:
    return cls.__module__.startswith("fusion_hf.")


def _checked(cls: type[Router], found: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What `learn` of a kind gave; a `UserError` where a kind of somebody else gave something else."""
    if _ours(cls):
        return found
    kind = f"router kind {kind_name(cls)!r}"
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, dict) for part in found)):
        raise UserError(f"{kind}: expected learn to return options and buffers, two dicts, found {found!r:.60}")
    for name, buffer in found[1].items():
        if not isinstance(buffer, torch.Tensor):
            raise UserError(f"{kind}: expected a tensor as buffer {name!r}, found {type(buffer).__name__}")
    try:
        json.dumps(found[0])
    except (TypeError, ValueError) as error:
        raise UserError(f"{kind}: expected options that JSON can hold: {error}") from error
    return found


def _check_head(router: Router) -> None:
    kind = f"router kind {kind_name(type(router))!r}"
    try:
        check_router(router)
    except UserError as error:
        raise UserError(f"{kind}, what its head gives: {error}") from error
    except Exception as error:
        raise UserError(f"{kind}: its head fails: {type(error).__name__}: {error}") from error


def _assembled(
    cls: type[Router], data: RoutingData, scaling: Scaling, text_encoder: TextEncoder | None,
    buffers: dict[str, torch.Tensor], task_labels: bool, known: dict[str, Any],
) -> Router:  # fmt: skip
    """The router of what was learned; `known`: further fields of its configuration."""
    joint = text_encoder if isinstance(text_encoder, JointEncoder) else None
    if joint is not None:
        buffers = buffers | {f"encoder_{n}": torch.from_numpy(getattr(joint, n)) for n in ("middle", "axes")}
    config = cls.config_class(
        encoder_config=None if text_encoder is None or joint else text_encoder.model.config.to_dict(),
        encoders=joint.to_config() if joint else None,
        max_length=text_encoder.max_length if text_encoder else 0,
        candidates=data.candidates,
        tasks=sorted(set(data.tasks)) if task_labels else None,
        has_cost=not np.isnan(data.cost).all(),
        has_judge=not np.isnan(data.judge).all(),
        scenarios={name: asdict(s) for name, s in SCENARIOS.items()},
        scaling=asdict(scaling),
        trained_on=len(data),
        buffers={n: [str(b.dtype).removeprefix("torch."), list(b.shape)] for n, b in buffers.items()},
        **known,
    )
    router = cls(config)
    for name, value in buffers.items():
        getattr(router, name).copy_(value)
    if text_encoder is not None:
        router.encoder, router.tokenizer = text_encoder.model, text_encoder.tokenizer
    return router.eval()


def canonical(data: RoutingData) -> np.ndarray:
    """Order of the queries that does not depend on their order in `data`: by query id."""
    return np.argsort(np.array(data.query_ids), kind="stable")


def bare_data(data: RoutingData, train: RoutingData | None = None) -> RoutingData:
    """The queries of `data` as they are embedded: without long beginnings that many queries of `train` share.

    `train` is the training split; None where `data` itself is that.
    """
    return replace(data, queries=bare(data.queries, shared_beginnings((data if train is None else train).queries)))


def prepare(
    data: RoutingData, embeddings: np.ndarray | None, seed: int = 0
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """State of the text features and the features of the queries in `canonical` order (float32 [n, d]).

    `embeddings` are those of `bare_data`.
    """
    order = canonical(data)
    texts = [data.queries[i] for i in order]
    state = fit_features(texts, seed=seed)
    x = text_features(state, texts)
    if embeddings is not None:
        x = torch.cat([torch.from_numpy(np.asarray(embeddings, np.float32)[order]), x], 1)
    return state, x


def _check(data: RoutingData) -> None:
    if len(data) < 2 or not data.candidates:
        raise UserError(
            f"expected a log with at least 2 queries and 1 candidate, found {len(data)} and {len(data.candidates)}"
        )
    if np.isnan(data.performance).all():
        raise UserError("expected a log with performance, found none: grade it first (fusion-hf grade)")


def _all_options(cls: type[Router], given: dict) -> dict:
    """The options of a kind, given or by default; raises `UserError` for one that it does not have."""
    known = cls.option_defaults()
    wrong = sorted(set(given) - set(known))
    if wrong:
        raise UserError(f"kind {kind_name(cls)!r} has no option {wrong[0]!r}: expected {', '.join(known) or 'none'}")
    return known | given


def _encoder_name(encoder: str | TextEncoder) -> str:
    return encoder if isinstance(encoder, str) else getattr(encoder.model, "name_or_path", None) or ""


def _one_task(data: RoutingData) -> RoutingData:
    """The same log as if all queries were of one task, so that its labels cannot leak into the scaling."""
    return RoutingData(
        data.query_ids, data.queries, ["all"] * len(data), data.candidates, data.performance, data.cost, data.judge
    )


def _described(candidates: Sequence[str], llms: Sequence[dict]) -> list[dict]:
    """The pool's row of each candidate's LLM; {} where the pool does not know it."""
    known = {row["name"]: row for row in llms}
    return [known.get(name) or known.get(split_candidate(name)[0], {}) for name in candidates]


def _log_facts(data: RoutingData) -> dict[str, Any]:
    """What a checkpoint tells of the log that it learned from."""
    scored = int((~data.missing).sum())
    return {
        "fingerprint": data.fingerprint(), "queries": len(data), "candidates": len(data.candidates), "scored": scored
    }  # fmt: skip


def _targets(
    data: RoutingData, scaling: Scaling, task_labels: bool, text_encoder: TextEncoder | None,
    llms: Sequence[dict] | None, answers: np.ndarray | None,
) -> Targets:  # fmt: skip
    seen = data if task_labels else _one_task(data)
    names = [n for n in ("performance", "cost", "judge") if not np.isnan(getattr(data, n)).all()]
    return Targets(
        tasks=list(data.tasks) if task_labels else None,
        raw={n: getattr(data, n) for n in names},
        scaled={n: scaling.scaled(seen, n) for n in names},
        texts=list(data.queries),
        embedding=0 if text_encoder is None else text_encoder.size,
        candidates=data.candidates,
        text_encoder=text_encoder,
        llms=None if llms is None else _described(data.candidates, llms),
        answers=answers,
        scenarios={name: asdict(SCENARIOS[name]) for name in available_scenarios(data)},
    )

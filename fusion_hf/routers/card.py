"""The card of a router, from its own configuration and what `eval-router` measured."""

import json
import sys
from pathlib import Path
from typing import Any

from ..cards import PLACE, render_card
from ..encoders.encoder import DEFAULT_ENCODER, NONE, OFFLINE
from ..encoders.opened import base_names, is_local, public_name
from ..made import shown
from ..outputs import write_text
from .measuring.evaluate import fingerprint

EVALUATION = "eval.json"
"""Where the card of a router looks for its figures:  fusion-hf eval-router ROUTER BENCH --json ROUTER/eval.json"""


def write_router_card(folder: str | Path, repo_id: str = PLACE, evaluation: dict | None = None) -> None:
    """README.md of a router, from its own configuration and what `eval-router` measured.

    Args:
        evaluation: The result of `eval-router`; it is kept in the folder. None takes the one that is kept there, unless
            it measured other weights than lie there now.
    """
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config["model_type"].removeprefix("fusion_hf-")
    if evaluation is None:
        evaluation = _kept_evaluation(folder)
    else:
        evaluation = {**evaluation, "router": fingerprint(folder)}
        text = json.dumps(evaluation, indent=1, ensure_ascii=False)
        write_text(folder / EVALUATION, text + "\n")
    encoder = config["encoder_name"]
    bases = [] if encoder == NONE else [name for name in base_names(encoder) if not is_local(name)]
    text = render_card(
        "router",
        _router_header(config, kind, evaluation, bases),
        title=f"{kind} router",
        kind=kind,
        repo_id=repo_id,
        candidates=config["candidates"],
        scenarios=[name for name, s in config["scenarios"].items() if _possible(s, config)],
        encoder=public_name(encoder),
        queries=config["trained_on"],
        tasks=config["tasks"] or [],
        beginnings=(config["buffers"] or {}).get("beginnings", [None, [0]])[1][0],
        evaluation=evaluation,
        training=_training(config),
    )
    write_text(folder / "README.md", text)


def _training(config: dict) -> dict | None:
    """How the router was made; labels are an option where they are off, and the kind's own options stand last."""
    made = config.get("training")
    if not made:
        return None
    told = made["settings"]
    settings = {
        "kind": told["kind"], "encoder": public_name(told["encoder"]), "split": told.get("split", "train"),
        "seed": told["seed"], "no_task_labels": not told["task_labels"], "option": told["option"],
    }  # fmt: skip
    return shown({**made, "settings": settings}, "fusion-hf train-router LOG {} --out ROUTER")


def _possible(scenario: dict, config: dict) -> bool:
    """Whether the log that a router learned from had what a trade-off needs."""
    return bool((config["has_cost"] or not scenario["beta"]) and (config["has_judge"] or scenario["score"] != "judge"))


def _kept_evaluation(folder: Path) -> dict | None:
    file = folder / EVALUATION
    if not file.is_file():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    if kept.get("router") != fingerprint(folder):
        print(f"{EVALUATION} measured another router: its figures are left out of the card", file=sys.stderr)
        return None
    return kept


def _router_header(config: dict, kind: str, evaluation: dict | None, bases: list[str]) -> Any:
    from huggingface_hub import ModelCardData

    results = _results(evaluation)
    bases = [DEFAULT_ENCODER if name == OFFLINE else name for name in bases]  # the same weights, by checksum
    base = bases if len(bases) > 1 else next(iter(bases), None)
    log = config.get("trained_from")
    return ModelCardData(
        library_name="fusion_hf", license="apache-2.0", tags=["fusion_hf", "llm-routing"],
        pipeline_tag="text-classification", base_model=base, datasets=[log] if log else None,
        model_name=f"{kind} router" if results else None, eval_results=results or None,
    )  # fmt: skip


def _results(evaluation: dict | None) -> list:
    """The model-index of a router: reward and performance of each trade-off, and AIQ."""
    from huggingface_hub import EvalResult

    if evaluation is None:
        return []
    bench = evaluation.get("bench") or "FusionBench"
    figures = [
        (f"{what}, trade-off {name}", what, scenario[what])
        for name, scenario in evaluation["scenarios"].items()
        for what in ("reward", "performance")
    ]
    figures.append(("AIQ", "aiq", evaluation.get("aiq")))
    return [
        EvalResult(
            task_type="text-classification", task_name="LLM routing", dataset_type=bench, dataset_name=bench,
            dataset_split=evaluation["split"], metric_name=name, metric_type=what, metric_value=round(value, 6),
        )
        for name, what, value in figures if value is not None
    ]  # fmt: skip


CARDS = {"router": write_router_card}
"""Kind of folder -> what writes its README.md; see `fusion_hf.hub`."""

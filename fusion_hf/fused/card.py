"""The card of a fused system, from its configuration: what answers what, and what was measured on test."""

from pathlib import Path
from typing import Any

from ..cards import PLACE, render_card
from ..made import shown
from ..outputs import write_text
from ..routers import load_router
from .config import inside, read_config

SHOWN = 4
"""Candidates of a router that are named in the table; of more, their number is told."""


def write_fused_card(folder: str | Path, repo_id: str = PLACE) -> None:
    """README.md of the fused system in `folder`, as it will be called on the Hub."""
    folder = Path(folder)
    config = read_config(folder)
    asked = {name: _asked(spec, folder) for name, spec in config["systems"].items()}
    tasks = {
        name: {**entry, "asked": asked[entry["system"]], "test": entry["evidence"].get("test")}
        for name, entry in config["tasks"].items()
    }
    text = render_card(
        "fused",
        _header(config),
        title="Fused system",
        repo_id=repo_id,
        tasks=tasks,
        bench=config["bench"],
        best_single=config["best_single"],
        test=config["test"],
        verdict=_verdict(tasks),
        training=shown(config.get("training"), "fusion-hf autofuse LOG {} --out FUSED"),
    )
    write_text(folder / "README.md", text)


def _asked(spec: dict[str, Any], folder: Path) -> str:
    if spec["kind"] == "candidate":
        return f"`{spec['candidate']}`"
    names = load_router(inside(folder, spec["router"], "router")).candidates
    return ", ".join(f"`{name}`" for name in names) if len(names) <= SHOWN else f"one of {len(names)}"


def _verdict(tasks: dict[str, Any]) -> str:
    """On which tasks it beats the best single LLM, and on which it does not."""
    measured = {name: t["test"]["verdict"] for name, t in tasks.items() if t["test"]}
    beaten = [name for name, verdict in measured.items() if verdict == "better"]
    rest = [f"{name} ({verdict})" for name, verdict in measured.items() if verdict != "better"]
    text = f"It beats the best single LLM on {len(beaten)} of {len(measured)} tasks"
    return f"{text}; not on {', '.join(rest)}." if rest else f"{text}."


def _header(config: dict[str, Any]) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    bench, results = config["bench"], []
    for name, entry in config["tasks"].items():
        if entry["evidence"].get("test"):
            value = round(entry["evidence"]["test"]["performance"], 6)
            results.append(
                EvalResult(
                    task_type="text-generation", dataset_type=bench, dataset_name=bench, dataset_config=name,
                    dataset_split="test", metric_type="performance", metric_value=value,
                )
            )  # fmt: skip
    return ModelCardData(
        library_name="fusion_hf", license="apache-2.0", tags=["fusion_hf", "llm-fusion", "llm-routing"],
        pipeline_tag="text-generation", model_name="Fused system", eval_results=results or None,
        datasets=[bench] if bench.count("/") == 1 else None,
    )  # fmt: skip


CARDS = {"fused": write_fused_card}
"""Kind of folder -> what writes its README.md; see `fusion_hf.hub`."""

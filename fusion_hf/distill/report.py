"""``train_report.json`` and the model's card: what was trained, on what, how, and what it then scored."""

import json
from dataclasses import MISSING, fields
from pathlib import Path

from ..cards import PLACE, render_card
from ..made import local_name, shown, versions
from ..outputs import write_text
from .base_model import RELATIVE, REPORT, name_base

RESULTS = "results.json"


def train_report(trainer, arguments, seconds: float | None) -> dict:
    """Figures of a training run so far; `seconds` is None while it runs. `arguments`: see `settings_of`."""
    model_args = next(each for each in arguments if hasattr(each, "model_name_or_path"))
    history = trainer.state.log_history
    losses = [[log["step"], log["loss"]] for log in history if "loss" in log]
    parameters = [(p.numel(), p.requires_grad) for p in trainer.model.parameters()]
    return {
        "model": model_args.model_name_or_path,
        "method": "lora" if model_args.use_peft else "full",
        "parameters": sum(n for n, _ in parameters),
        "trained_parameters": sum(n for n, trained in parameters if trained),
        "world_size": trainer.accelerator.num_processes,
        # What Accelerate really did, not what its config file asked for: on a CPU it replaces FSDP by DDP.
        "distributed": trainer.accelerator.distributed_type.value,
        "device": str(trainer.accelerator.device),
        "attention": trainer.model.config._attn_implementation,
        "sequences": len(trainer.train_dataset),
        "tokens": _tokens(history),
        "steps": trainer.state.global_step,
        "final_loss": losses[-1][1] if losses else None,
        "losses": losses,
        "eval_losses": [[log["step"], log["eval_loss"]] for log in history if "eval_loss" in log],
        "eval_losses_by_domain": _by_domain(history),
        "seconds": None if seconds is None else round(seconds, 3),
        "settings": settings_of(*arguments),
        "versions": versions("trl", "peft", "transformers", "torch"),
    }


def _tokens(history: list[dict]) -> int | None:
    """Tokens of all steps: trl counts from zero again when a run is resumed."""
    total = last = 0
    for tokens in (int(log["num_tokens"]) for log in history if "loss" in log and "num_tokens" in log):
        total += last if tokens <= last else 0
        last = tokens
    return total + last or None


def _by_domain(history: list[dict]) -> dict[str, list]:
    """Domain -> [step, loss] pairs, from the keys ``eval_<domain>_loss`` that the Trainer logs."""
    curves: dict[str, list] = {}
    for log in history:
        for key in log:
            domain = key.removeprefix("eval_").removesuffix("_loss")
            if key == f"eval_{domain}_loss":
                curves.setdefault(domain, []).append([log["step"], log[key]])
    return curves


SHOWN = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "num_train_epochs", "max_steps",
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "packing", "bf16",
    "gradient_checkpointing", "teacher_model_name_or_path", "beta", "temperature", "seed", "lora_r", "lora_alpha",
    "lora_target_modules",
)  # fmt: skip
"""Settings that are told although they are the default."""
_PLACES = (  # where things are read, written and reported to, and what is reported as ``model`` and ``dataset``
    "output_dir", "logging_dir", "run_name", "project", "report_to", "disable_tqdm", "log_level", "push_to_hub",
    "resume_from_checkpoint", "model_name_or_path", "dataset_name", "gguf_file", "model_init_kwargs",
    "teacher_model_init_kwargs",
)  # fmt: skip


def settings_of(*arguments) -> dict:
    """What another run needs to repeat this one, as lines of a ``--config`` file beside the model and the dataset.

    Args:
        arguments: Dataclasses of arguments (trl's and ours), as they were parsed.
    """
    found = {}
    peft = any(getattr(each, "use_peft", False) for each in arguments)
    for field in (field for each in arguments for field in fields(each) if field.init):
        value = next(getattr(each, field.name) for each in arguments if hasattr(each, field.name))
        value = getattr(value, "value", value)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        told = field.name in SHOWN and (peft or not field.name.startswith("lora_"))
        if field.name in _PLACES or field.name.startswith("hub_") or not (told or value != default):
            continue
        if value not in (None, []) and _is_json(value):
            found[field.name] = value
    return found


def _is_json(value) -> bool:
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False


def write_report(folder: str | Path, report: dict) -> None:
    """Write ``train_report.json`` and the card that is rendered from it; figures of an earlier training go."""
    # The Trainer's pickled arguments say nothing that the report does not, and a pickle must not be published.
    (Path(folder) / "training_args.bin").unlink(missing_ok=True)
    (Path(folder) / RESULTS).unlink(missing_ok=True)
    # Said now: from another folder a relative path looks like an id of the Hub.
    report = {**report, "local": [key for key in ("model", "dataset") if _hub_id(report[key]) is None]}
    relative = name_base(folder)
    if relative is not None:
        report[RELATIVE] = relative
    write_text(Path(folder) / REPORT, json.dumps(report, indent=1) + "\n")
    write_adapter_card(folder)


def write_adapter_card(folder: str | Path, repo_id: str = PLACE) -> None:
    """README.md of a trained adapter or model, from its ``train_report.json`` and, where there is one, `RESULTS`.

    `RESULTS` is what `fusion_hf.distill.student.measure` returns.
    """
    folder = Path(folder)
    report = {"rows_by_task": {}, "eval_losses_by_domain": {}, "local": [], "data_fingerprint": None, "versions": {}}
    report |= json.loads((folder / REPORT).read_text(encoding="utf-8"))
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8")) if (folder / RESULTS).exists() else []
    hub = {key: None if key in report["local"] else _hub_id(report[key]) for key in ("model", "dataset")}
    text = render_card(
        "adapter",
        _header(report, results, hub),
        title=_title(report),
        repo_id=repo_id,
        base_model=hub["model"] or Path(report["model"]).name,
        dataset=hub["dataset"] or Path(report["dataset"]).name,
        report=report | {"settings": {k: _named(v) for k, v in report.get("settings", {}).items()}},
        training=shown(report.get("data_made"), "fusion-hf sft-data LOG {} --out SFT"),
        results=results,
    )
    write_text(folder / "README.md", text)


def write_model_card(folder: str | Path, repo_id: str = PLACE) -> None:
    """README.md of a model that `fusion_hf.distill` trained; nothing is known of any other, so it gets none."""
    if (Path(folder) / REPORT).is_file():
        write_adapter_card(folder, repo_id)


def _named(value):
    return local_name(value) if isinstance(value, str) else value


def _title(report: dict) -> str:
    return f"{Path(report['model']).name}, taught by many LLMs"


def _hub_id(name: str) -> str | None:
    """`name` where it is an id of the Hub; None for a folder, or the name of one."""
    return name if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists() else None


def _header(report: dict, results: list[dict], hub: dict):
    from huggingface_hub import ModelCardData

    figures = _model_index(results)
    return ModelCardData(
        library_name="peft" if report["method"] == "lora" else "transformers",
        tags=["fusion_hf", "distillation", report.get("kind", "sft")],
        pipeline_tag="text-generation",
        base_model=hub["model"],
        datasets=[hub["dataset"]] if hub["dataset"] else None,
        model_name=_title(report) if figures else None,
        eval_results=figures or None,
    )


def _model_index(results: list[dict]) -> list:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-generation", dataset_type="fusion_hf", dataset_name=f"FusionBench {task}",
            dataset_config=task, dataset_split=result["split"], metric_type="performance",
            metric_name=f"performance, {result['mode']} mode", metric_value=round(row["performance"], 6),
        )
        for result in results
        for task, row in [("all", result), *sorted(result["by_task"].items())]
    ]  # fmt: skip

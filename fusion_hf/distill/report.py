"""``train_report.json`` and the model's card: what was trained, on what, how, and what it then scored."""

import json
from pathlib import Path

from ..cards import render_card

REPORT = "train_report.json"
RESULTS = "results.json"


def train_report(trainer, model_args, seconds: float | None) -> dict:
    """Figures of a training run so far; `seconds` is None while it runs."""
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
        "settings": _settings(trainer.args, model_args),
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


def _settings(training_args, model_args) -> dict:
    """What another run needs to repeat this one."""
    names = ["learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "num_train_epochs", "max_steps"]
    names += ["per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "packing", "bf16"]
    names += ["gradient_checkpointing", "teacher_model_name_or_path", "beta", "temperature", "seed"]
    settings = {name: getattr(training_args, name) for name in names if hasattr(training_args, name)}
    settings = {name: getattr(value, "value", value) for name, value in settings.items()}
    if model_args.use_peft:
        settings |= {name: getattr(model_args, name) for name in ("lora_r", "lora_alpha", "lora_target_modules")}
    return settings


def write_report(folder: str | Path, report: dict) -> None:
    """Write ``train_report.json`` and the card that is rendered from it."""
    # The Trainer's pickled arguments say nothing that the report does not, and a pickle must not be published.
    (Path(folder) / "training_args.bin").unlink(missing_ok=True)
    (Path(folder) / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    write_adapter_card(folder)


def write_adapter_card(folder: str | Path) -> None:
    """README.md of a trained adapter or model, from its ``train_report.json`` and, where there is one, `RESULTS`.

    `RESULTS` is what `fusion_hf.distill.student.measure` returns.
    """
    folder = Path(folder)
    report = {"rows_by_task": {}, "eval_losses_by_domain": {}}
    report |= json.loads((folder / REPORT).read_text(encoding="utf-8"))
    results = folder / RESULTS
    local = {key: Path(report[key]).exists() for key in ("model", "dataset")}
    names = {key: Path(report[key]).name if local[key] else report[key] for key in local}
    header = {
        "library_name": "peft" if report["method"] == "lora" else "transformers",
        "tags": ["fusion_hf", "distillation", report.get("kind", "sft")],
        "pipeline_tag": "text-generation",
    }
    if not local["model"]:
        header["base_model"] = report["model"]
    if not local["dataset"]:
        header["datasets"] = [report["dataset"]]
    text = render_card(
        "adapter",
        header,
        title=f"{Path(report['model']).name}, taught by many LLMs",
        base_model=names["model"],
        dataset=names["dataset"],
        report=report,
        results=json.loads(results.read_text(encoding="utf-8")) if results.exists() else None,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")

"""Supervised fine-tuning of a student on the best answers of many LLMs, with trl under Accelerate.

```bash
python -m fusion_hf.distill.sft --dataset_name SFT --model_name_or_path MODEL --output_dir OUT --use_peft
accelerate launch --config_file examples/accelerate/multi_gpu.yaml -m fusion_hf.distill.sft --config recipe.yaml
torchrun --nproc_per_node 2 -m fusion_hf.distill.sft --config recipe.yaml --use_cpu
```

Every flag of trl's ``SFTConfig`` and ``ModelConfig`` works, also as a line of the YAML file that ``--config`` names.
The loss is on the completion only.
"""

import gc
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError, require

REPORT = "train_report.json"


@dataclass
class DistillArguments:
    """What trl's own argument classes do not have."""

    max_rows: int | None = field(
        default=None, metadata={"help": "Train on at most this many rows, drawn with --seed. Default: all of them."}
    )
    keep_long_rows: bool = field(
        default=False,
        metadata={
            "help": "Cut rows longer than --max_length instead of leaving them out. A cut answer teaches the student "
            "not to stop."
        },
    )


def make_parser(prog: str | None = None):
    """A `trl.TrlParser` over (ScriptArguments, SFTConfig, ModelConfig, DistillArguments)."""
    trl = require("trl", extra="train")
    require("peft", extra="train")
    import torch

    types = (trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig, DistillArguments)
    parser = trl.TrlParser(types, prog=prog or "python -m fusion_hf.distill.sft")
    # trl turns bf16 on unless told otherwise; without an accelerator that is an error, or slower.
    parser.set_defaults(bf16=torch.accelerator.is_available())
    return parser


def main(script_args, training_args, model_args, distill_args=None) -> dict:
    """Train, save the model or adapter with its tokenizer, and write ``train_report.json``; rank 0 alone writes.

    Args:
        script_args: `trl.ScriptArguments`; ``dataset_name`` is a folder, a Parquet file or a Hub id.
        training_args: `trl.SFTConfig`.
        model_args: `trl.ModelConfig`; with ``use_peft`` LoRA is trained on every linear layer unless
            ``lora_target_modules`` says otherwise.
        distill_args: `DistillArguments`.

    Returns:
        The report: dataset, teachers, rows, rows_too_long, world_size, tokens (of all epochs and ranks), steps,
        final_loss (the last one logged), losses ([step, loss] pairs), seconds, what was trained, and the settings.

    Raises:
        UserError: The dataset or the model is not there, or has not the form that training needs.
    """
    trl = require("trl", extra="train")
    distill_args = distill_args or DistillArguments()
    if not model_args.model_name_or_path:
        raise UserError("--model_name_or_path is missing: expected a model folder or a Hub id")
    rows = load_rows(script_args.dataset_name, script_args.dataset_config, script_args.dataset_train_split)
    wants_eval = str(getattr(training_args.eval_strategy, "value", training_args.eval_strategy)) != "no"
    test = None
    if wants_eval:
        test = load_rows(script_args.dataset_name, script_args.dataset_config, script_args.dataset_test_split)
    teachers = sorted(set(rows["llm"])) if "llm" in rows.column_names else []
    rows, test = (data and data.select_columns(["prompt", "completion"]) for data in (rows, test))
    tokenizer = _tokenizer(model_args, training_args)
    checkpoint = _checkpoint(training_args)
    with training_args.main_process_first(desc="dataset"):
        if distill_args.max_rows is not None and distill_args.max_rows < len(rows):
            rows = rows.shuffle(seed=training_args.seed).select(range(distill_args.max_rows))
        limit = None if distill_args.keep_long_rows else training_args.max_length
        rows, too_long = _drop_long(rows, tokenizer, limit)
    _model_options(training_args, model_args)
    training_args.completion_only_loss = True
    trainer = trl.SFTTrainer(
        model=model_args.model_name_or_path,
        args=training_args,
        train_dataset=rows,
        eval_dataset=test,
        processing_class=tokenizer,
        peft_config=trl.get_peft_config(model_args),
        quantization_config=trl.get_quantization_config(model_args),
    )
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - start
    trainer.save_model(training_args.output_dir)
    report = {"dataset": script_args.dataset_name, "teachers": teachers, "rows": len(rows), "rows_too_long": too_long}
    report |= _report(trainer, model_args, seconds)
    if trainer.is_world_process_zero():
        out = Path(training_args.output_dir)
        # The Trainer's pickled arguments say nothing that the report does not, and a pickle must not be published.
        (out / "training_args.bin").unlink(missing_ok=True)
        (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if training_args.push_to_hub:
        trainer.push_to_hub(dataset_name=script_args.dataset_name)
    _finish(trainer)
    return report


def _finish(trainer) -> None:
    """Leave the process group, the DDP wrapper first.

    If the wrapper is the group's last owner, torch (2.13) joins gloo's threads while it holds the GIL, and a thread
    that waits for the GIL to free a tensor is never joined: ranks on a CPU hung at exit in about every third run.
    """
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    gc.collect()
    trainer.accelerator.end_training()


def load_rows(name: str | None, config: str | None = None, split: str = "train"):
    """An SFT dataset with columns ``prompt`` and ``completion``: a folder, a Parquet file or a Hub id."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    if not name:
        raise UserError(
            "--dataset_name is missing: expected a folder of fusion-hf sft-data, a Parquet file or a Hub id"
        )
    try:
        if Path(name).is_file():
            rows = load_dataset("parquet", data_files={split: name}, split=split)
        else:
            rows = load_dataset(name, name=config, split=split)
    except (DatasetNotFoundError, OSError, ValueError) as error:
        raise UserError(f"dataset {name!r}, split {split!r} cannot be read: {_first_line(error)}") from error
    missing = {"prompt", "completion"} - set(rows.column_names)
    if missing:
        raise UserError(
            f"dataset {name!r}: expected columns prompt and completion, found {', '.join(rows.column_names)}: "
            "make it with fusion-hf sft-data"
        )
    if len(rows) == 0:
        raise UserError(f"dataset {name!r}, split {split!r} is empty: expected at least one row")
    return rows


def _tokenizer(model_args, training_args):
    """The student's tokenizer; also finds out early, and in one line, whether the model is there."""
    from transformers import AutoConfig, AutoTokenizer

    name, revision = model_args.model_name_or_path, model_args.model_revision
    options = {"revision": revision, "trust_remote_code": training_args.trust_remote_code}
    try:
        AutoConfig.from_pretrained(name, **options)
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"model {name!r} cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.chat_template and not training_args.chat_template_path:
        raise UserError(
            f"the tokenizer of {name!r} has no chat template: give one with --chat_template_path FILE.jinja"
        )
    return tokenizer


def _checkpoint(training_args) -> str | bool | None:
    """What to resume from: a checkpoint folder, the last one of the output folder (``last`` or ``true``), or None."""
    from transformers.trainer_utils import get_last_checkpoint

    wanted = training_args.resume_from_checkpoint
    if not wanted or str(wanted).lower() in ("false", "none"):
        return None
    if str(wanted).lower() in ("true", "last"):
        out = training_args.output_dir
        found = get_last_checkpoint(out) if os.path.isdir(out) else None
        if found is None:
            raise UserError(
                f"--resume_from_checkpoint {wanted}: {out} holds no checkpoint; leave the flag out to start"
            )
        return found
    if not os.path.isdir(wanted):
        raise UserError(f"--resume_from_checkpoint: expected a checkpoint folder, found nothing at {wanted}")
    return wanted


def _drop_long(rows, tokenizer, max_length: int | None):
    """(rows whose prompt and completion fit into `max_length` tokens, number left out)."""
    if max_length is None or not tokenizer.chat_template:
        return rows, 0

    def fits(batch):
        both = [_messages(p, "user") + _messages(c, "assistant") for p, c in zip(*batch.values(), strict=True)]
        lengths = [
            len(ids) for ids in tokenizer.apply_chat_template(both, tokenize=True, return_dict=True)["input_ids"]
        ]
        return [length <= max_length for length in lengths]

    kept = rows.filter(fits, batched=True, desc="leaving out rows longer than --max_length")
    if len(kept) == 0:
        raise UserError(f"all {len(rows)} rows are longer than --max_length {max_length} tokens: raise it")
    return kept, len(rows) - len(kept)


def _messages(value: str | list[dict], role: str) -> list[dict]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _model_options(training_args, model_args) -> None:
    options = {"revision": model_args.model_revision, "dtype": model_args.dtype}
    if model_args.attn_implementation:
        options["attn_implementation"] = model_args.attn_implementation
    training_args.model_init_kwargs = options | (training_args.model_init_kwargs or {})
    if model_args.use_peft and model_args.lora_target_modules is None:
        model_args.lora_target_modules = "all-linear"


def _report(trainer, model_args, seconds: float) -> dict:
    history = trainer.state.log_history
    losses = [[log["step"], log["loss"]] for log in history if "loss" in log]
    evals = [[log["step"], log["eval_loss"]] for log in history if "eval_loss" in log]
    tokens = [int(log["num_tokens"]) for log in history if "num_tokens" in log]
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
        "sequences": len(trainer.train_dataset),
        "tokens": tokens[-1] if tokens else None,
        "steps": trainer.state.global_step,
        "final_loss": losses[-1][1] if losses else None,
        "losses": losses,
        "eval_losses": evals,
        "seconds": round(seconds, 3),
        "settings": _settings(trainer.args, model_args),
    }


def _settings(training_args, model_args) -> dict:
    """What another run needs to repeat this one."""
    names = ["learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size"]
    names += ["gradient_accumulation_steps", "max_length", "packing", "bf16", "seed"]
    settings = {name: getattr(training_args, name) for name in names}
    if model_args.use_peft:
        settings |= {name: getattr(model_args, name) for name in ("lora_r", "lora_alpha", "lora_target_modules")}
    return settings


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def parse(argv: list[str] | None = None) -> tuple:
    """Parse flags and the optional ``--config`` YAML; a wrong one raises `UserError` (or exits 2, as argparse does)."""
    import yaml

    parser = make_parser()
    try:
        return parser.parse_args_and_config(args=argv, fail_with_unknown_args=True)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise UserError(f"arguments: {_first_line(error)}") from error


def run(argv: list[str] | None = None) -> int:
    """Parse, train, and return the exit code: 0, or 2 after one clear line on wrong input."""
    try:
        main(*parse(argv))
    except UserError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run())

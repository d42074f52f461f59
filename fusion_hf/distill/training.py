"""What the training scripts share: rows, tokenizer and checkpoint, with one clear line on wrong input."""

import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..gguf import load_tokenizer as pretrained_tokenizer
from ..gguf import split_gguf
from ..logs.store import config_files


@dataclass
class RowArguments:
    """Which rows a script trains on, beyond trl's own arguments."""

    max_rows: int | None = field(
        default=None, metadata={"help": "Train on at most this many rows, drawn with --seed. Default: all of them."}
    )


def load_rows(name: str | None, config: str | None = None, split: str = "train", columns=("prompt", "completion")):
    """A dataset with `columns`: a folder of ``fusion-hf sft-data``, a Parquet file or a Hub id."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    if not name:
        raise UserError(
            "--dataset_name is missing: expected a folder of fusion-hf sft-data, a Parquet file or a Hub id"
        )
    try:
        if Path(name).exists():  # by its files: `datasets` takes a folder for another of the same base name
            files = [name] if Path(name).is_file() else [str(f) for f in config_files(name, config, split)]
            rows = load_dataset("parquet", data_files={split: files}, split=split)
        else:
            rows = load_dataset(name, name=config, split=split)
    except (DatasetNotFoundError, OSError, ValueError) as error:
        raise UserError(f"dataset {name!r}, split {split!r} cannot be read: {first_line(error)}") from error
    if not set(columns) <= set(rows.column_names):
        raise UserError(
            f"dataset {name!r}: expected columns {' and '.join(columns)}, found {', '.join(rows.column_names)}: "
            "make it with fusion-hf sft-data"
        )
    if len(rows) == 0:
        raise UserError(f"dataset {name!r}, split {split!r} is empty: expected at least one row")
    return rows


def load_tokenizer(model_args, training_args, **options):
    """The student's tokenizer; also finds out early, and in one line, whether the model is there."""
    from transformers import AutoConfig

    name, revision = model_args.model_name_or_path, model_args.model_revision
    if not name:
        raise UserError("--model_name_or_path is missing: expected a model folder or a Hub id")
    where = {"revision": revision, "trust_remote_code": training_args.trust_remote_code}
    try:
        if split_gguf(name)[1] is None:
            AutoConfig.from_pretrained(name, **where)
        tokenizer = pretrained_tokenizer(name, **where, **options)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"model {name!r} cannot be loaded: {first_line(error)}") from error
    if not tokenizer.chat_template and not getattr(training_args, "chat_template_path", None):
        raise UserError(
            f"the tokenizer of {name!r} has no chat template: give one with --chat_template_path FILE.jinja"
        )
    return tokenizer


def checkpoint_of(training_args) -> str | None:
    """What to resume from: a checkpoint folder, the output folder's last whole one (``last``, ``true``), or None."""
    wanted = training_args.resume_from_checkpoint
    if not wanted or str(wanted).lower() in ("false", "none"):
        return None
    if str(wanted).lower() in ("true", "last"):
        found = _last_whole_checkpoint(Path(training_args.output_dir))
        if found is None:
            raise UserError(
                f"--resume_from_checkpoint {wanted}: {training_args.output_dir} holds no checkpoint; "
                "leave the flag out to start"
            )
        return str(found)
    if not os.path.isdir(wanted):
        raise UserError(f"--resume_from_checkpoint: expected a checkpoint folder, found nothing at {wanted}")
    return wanted


def _last_whole_checkpoint(out: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the Trainer writes ``trainer_state.json`` last."""
    numbered = {int(p.name.rpartition("-")[2]): p for p in out.glob("checkpoint-*") if p.name[11:].isdecimal()}
    for _, folder in sorted(numbered.items(), reverse=True):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return folder
    return None


def model_options(training_args, model_args) -> None:
    """Hand the flags of `trl.ModelConfig` to the trainer; flash attention where it can run and no flag differs."""
    options = {"revision": model_args.model_revision, "dtype": model_args.dtype}
    attention = model_args.attn_implementation or _flash_attention(training_args)
    if attention:
        options["attn_implementation"] = attention
    training_args.model_init_kwargs = options | (training_args.model_init_kwargs or {})
    if model_args.use_peft and model_args.lora_target_modules is None:
        model_args.lora_target_modules = "all-linear"


def _flash_attention(training_args) -> str | None:
    """The installed flash attention, if the model is trained in half precision on a GPU; else transformers' default."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    half = training_args.bf16 or training_args.fp16
    if half and not training_args.use_cpu and torch.cuda.is_available() and is_flash_attn_2_available():
        return "flash_attention_2"
    return None


def finish(trainer) -> None:
    """Leave the process group, the DDP wrapper first.

    If the wrapper is the group's last owner, torch (2.13) joins gloo's threads while it holds the GIL, and a thread
    that waits for the GIL to free a tensor is never joined: ranks on a CPU hung at exit in about every third run.
    """
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    gc.collect()
    trainer.accelerator.end_training()


def parse(parser, argv: list[str] | None = None) -> tuple:
    """Parse flags and the optional ``--config`` YAML; a wrong one raises `UserError` (or exits 2, as argparse does)."""
    import yaml

    try:
        return parser.parse_args_and_config(args=argv, fail_with_unknown_args=True)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise UserError(f"arguments: {first_line(error)}") from error


def run(script: Callable[[], object]) -> int:
    """Call `script` and return the exit code: 0, or 2 after one clear line on wrong input."""
    try:
        script()
    except UserError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Supervised fine-tuning of a student on the best answers of many LLMs, with trl under Accelerate.

```bash
python -m fusion_hf.distill.sft --dataset_name SFT --model_name_or_path MODEL --output_dir OUT --use_peft
accelerate launch --config_file examples/accelerate/multi_gpu.yaml -m fusion_hf.distill.sft --config recipe.yaml
torchrun --nproc_per_node 2 -m fusion_hf.distill.sft --config recipe.yaml --use_cpu
```

Every flag of trl's ``SFTConfig`` and ``ModelConfig`` works, also as a line of the YAML file that ``--config`` names.
The loss is on the completion only. With ``--eval_strategy`` the rows of ``--dataset_test_split`` (``validation`` in a
folder of ``fusion-hf sft-data``) are evaluated domain by domain.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError, require
from ..gguf import load_causal_lm, split_gguf
from ..made import log_record, read_made
from ..tasks import TASKS
from . import training
from .report import REPORT, train_report, write_report
from .training import finish, load_rows

__all__ = ["REPORT", "DistillArguments", "main", "make_parser", "parse", "run"]


@dataclass
class DistillArguments(training.RowArguments):
    """What trl's own argument classes do not have."""

    keep_long_rows: bool = field(
        default=False,
        metadata={
            "help": "Cut rows longer than --max_length instead of leaving them out. A cut answer teaches the student "
            "not to stop."
        },
    )
    gguf_file: str | None = field(
        default=None,
        metadata={
            "help": "The student's GGUF file in the folder or repository --model_name_or_path, which may also be the "
            "path of a .gguf file; needs the extra gguf."
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


def main(script_args, training_args, model_args, distill_args=None, **trainer_options) -> dict:
    """Train, save the model or adapter with its tokenizer, report and card; rank 0 alone writes.

    Args:
        script_args: `trl.ScriptArguments`; ``dataset_name`` is a folder, a Parquet file or a Hub id.
        training_args: `trl.SFTConfig`.
        model_args: `trl.ModelConfig`; with ``use_peft`` LoRA is trained on every linear layer unless
            ``lora_target_modules`` says otherwise.
        distill_args: `DistillArguments`.
        **trainer_options: More arguments of `trl.SFTTrainer` for callers from Python: ``callbacks``, or a ``model`` in
            place of the one that ``model_name_or_path`` names (which still gives the tokenizer).

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
    if distill_args.gguf_file:
        model_args.model_name_or_path = str(Path(model_args.model_name_or_path) / distill_args.gguf_file)
    rows = load_rows(script_args.dataset_name, script_args.dataset_config, script_args.dataset_train_split)
    wants_eval = str(getattr(training_args.eval_strategy, "value", training_args.eval_strategy)) != "no"
    test = None
    if wants_eval:
        test = load_rows(script_args.dataset_name, script_args.dataset_config, script_args.dataset_test_split)
    tokenizer = training.load_tokenizer(model_args, training_args)
    checkpoint = training.checkpoint_of(training_args)
    with training_args.main_process_first(desc="dataset"):
        rows = some_rows(rows, distill_args.max_rows, training_args.seed)
        limit = None if distill_args.keep_long_rows else training_args.max_length
        rows, too_long = _drop_long(rows, tokenizer, limit)
        test = test and by_domain(_drop_long(test, tokenizer, limit)[0])
    about = {"kind": "sft", "dataset": script_args.dataset_name, **describe(rows), "rows_too_long": too_long}
    about |= data_of(script_args.dataset_name, rows)
    chosen = (script_args, training_args, model_args, distill_args)
    training.model_options(training_args, model_args)
    training_args.completion_only_loss = True
    if split_gguf(model_args.model_name_or_path)[1] and "model" not in trainer_options:
        trainer_options["model"] = load_causal_lm(model_args.model_name_or_path, dtype=model_args.dtype)
    if "model" in trainer_options:
        training_args.model_init_kwargs = None  # it is built already
    else:
        trainer_options["model"] = model_args.model_name_or_path
        trainer_options["quantization_config"] = trl.get_quantization_config(model_args)
    trainer = with_report(trl.SFTTrainer, about, chosen)(
        args=training_args,
        train_dataset=rows.select_columns(["prompt", "completion"]),
        eval_dataset=test,
        processing_class=tokenizer,
        peft_config=trl.get_peft_config(model_args),
        **trainer_options,
    )
    return fit(trainer, checkpoint)


def fit(trainer, checkpoint: str | None) -> dict:
    """Train, save, write report and card, push where ``push_to_hub`` asks for it; returns the report."""
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.seconds = time.perf_counter() - start
    trainer.save_model(trainer.args.output_dir)
    trainer.create_model_card()
    report = trainer.report()
    if trainer.args.push_to_hub:
        trainer.push_to_hub()
    finish(trainer)
    return report


def with_report(trainer_class, about: dict, arguments):
    """A trl trainer whose card is ours, and that evaluates to one ``eval_loss`` over all domains as well."""

    class Trainer(trainer_class):
        seconds = None

        def report(self) -> dict:
            return about | train_report(self, arguments, self.seconds)

        def create_model_card(self, *args, **options):
            if self.is_world_process_zero():
                write_report(self.args.output_dir, self.report())

        def evaluate(self, eval_dataset=None, **options):
            metrics = super().evaluate(eval_dataset, **options)
            if eval_dataset is None and isinstance(self.eval_dataset, dict):
                sizes = {name: len(rows) for name, rows in self.eval_dataset.items()}
                loss = sum(n * metrics[f"eval_{name}_loss"] for name, n in sizes.items()) / sum(sizes.values())
                self.log({"eval_loss": loss})
                metrics["eval_loss"] = loss
            return metrics

    return Trainer


def some_rows(rows, most: int | None, seed: int):
    """At most `most` rows, drawn with `seed`."""
    return rows if most is None or most >= len(rows) else rows.shuffle(seed=seed).select(range(most))


def describe(rows) -> dict:
    """Teachers, number of rows and rows of each task, where the dataset says them."""
    known = rows.column_names
    return {
        "teachers": sorted(set(rows["llm"])) if "llm" in known else [],
        "rows": len(rows),
        "rows_by_task": dict(sorted(Counter(rows["task"]).items())) if "task" in known else {},
    }


def data_of(dataset: str, rows) -> dict:
    """The hash of the rows, and how their folder says that it was made."""
    record = log_record(rows.with_format("arrow")[:])
    return {"data_fingerprint": record["fingerprint"], "data_made": read_made(dataset)}


def by_domain(rows):
    """Domain -> its rows, for a loss a domain; a task that we do not know is its own. All rows if they have no task."""
    if "task" not in rows.column_names:
        return rows.select_columns(["prompt", "completion"])
    domains = [TASKS[task].domain if task in TASKS else task for task in rows["task"]]
    rows = rows.select_columns(["prompt", "completion"])
    return {name: rows.select([i for i, d in enumerate(domains) if d == name]) for name in sorted(set(domains))}


def _drop_long(rows, tokenizer, max_length: int | None):
    """(rows whose prompt and completion fit into `max_length` tokens, number left out)."""
    if max_length is None or not tokenizer.chat_template:
        return rows, 0

    def fits(prompts, completions):
        pairs = zip(prompts, completions, strict=True)
        both = [_messages(p, "user") + _messages(c, "assistant") for p, c in pairs]
        ids = tokenizer.apply_chat_template(both, tokenize=True, return_dict=True)["input_ids"]
        return [len(row) <= max_length for row in ids]

    columns = ["prompt", "completion"]
    kept = rows.filter(fits, input_columns=columns, batched=True, desc="leaving out rows longer than --max_length")
    if len(kept) == 0:
        raise UserError(f"all {len(rows)} rows are longer than --max_length {max_length} tokens: raise it")
    return kept, len(rows) - len(kept)


def _messages(value: str | list[dict], role: str) -> list[dict]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def parse(argv: list[str] | None = None) -> tuple:
    """The parsed arguments of `main`; see `fusion_hf.distill.training.parse`."""
    return training.parse(make_parser(), argv)


def run(argv: list[str] | None = None) -> int:
    """Parse, train, and return the exit code: 0, or 2 after one clear line on wrong input."""
    return training.run(lambda: main(*parse(argv)))


if __name__ == "__main__":
    sys.exit(run())

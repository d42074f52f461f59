"""On-policy distillation: the student answers, the teacher says at every token how likely it would have been.

```bash
python -m fusion_hf.distill.on_policy --dataset_name SFT --model_name_or_path STUDENT \
    --teacher_model_name_or_path TEACHER --output_dir OUT --use_peft
accelerate launch --config_file examples/accelerate/multi_gpu.yaml -m fusion_hf.distill.on_policy --config recipe.yaml
```

It is trl's ``DistillationTrainer`` (arXiv 2306.13649) on the prompts of the SFT data; the logged completions are not
used. Teacher and student must share a vocabulary. Every flag of ``DistillationConfig`` and ``ModelConfig`` works.
"""

import sys

from ..errors import UserError, require
from . import training
from .sft import data_of, describe, fit, some_rows, with_report
from .training import first_line


def make_parser(prog: str | None = None):
    """A `trl.TrlParser` over (ScriptArguments, DistillationConfig, ModelConfig, RowArguments)."""
    trl = require("trl", extra="train")
    require("peft", extra="train")
    import torch

    types = (trl.ScriptArguments, trl.DistillationConfig, trl.ModelConfig, training.RowArguments)
    parser = trl.TrlParser(types, prog=prog or "python -m fusion_hf.distill.on_policy")
    parser.set_defaults(bf16=torch.accelerator.is_available())
    return parser


def main(script_args, training_args, model_args, our_args=None) -> dict:
    """Train the student on its own answers and save it as `fusion_hf.distill.sft.main` does; returns the same report.

    Raises:
        UserError: A model or the dataset is not there, or the two models do not share a vocabulary.
    """
    trl = require("trl", extra="train")
    our_args = our_args or training.RowArguments()
    teacher = training_args.teacher_model_name_or_path
    if not teacher:
        raise UserError("--teacher_model_name_or_path is missing: expected a model folder or a Hub id")
    rows = training.load_rows(
        script_args.dataset_name, script_args.dataset_config, script_args.dataset_train_split, ("prompt",)
    )
    tokenizer = training.load_tokenizer(model_args, training_args, padding_side="left")
    check_vocabulary(tokenizer, teacher, training_args)
    checkpoint = training.checkpoint_of(training_args)
    rows = some_rows(_distinct(rows), our_args.max_rows, training_args.seed)
    about = {"kind": "on-policy", "dataset": script_args.dataset_name, **describe(rows), "teachers": [teacher]}
    about |= data_of(script_args.dataset_name, rows)
    training.model_options(training_args, model_args)
    student = training_args.model_init_kwargs
    options = {k: v for k, v in student.items() if k != "revision"} | {"revision": training_args.teacher_model_revision}
    training_args.teacher_model_init_kwargs = options | (training_args.teacher_model_init_kwargs or {})
    trainer = with_report(trl.DistillationTrainer, about, (script_args, training_args, model_args, our_args))(
        model=model_args.model_name_or_path,
        teacher_model=teacher,
        args=training_args,
        train_dataset=rows.select_columns(["prompt"]),
        processing_class=tokenizer,
        peft_config=trl.get_peft_config(model_args),
        quantization_config=trl.get_quantization_config(model_args),
    )
    return fit(trainer, checkpoint)


def _distinct(rows):
    """Every prompt once: the SFT data repeat it for each answer that was chosen."""
    first = {str(prompt): i for i, prompt in reversed(list(enumerate(rows["prompt"])))}
    return rows.select(sorted(first.values()))


def check_vocabulary(tokenizer, teacher: str, training_args) -> None:
    """Raise `UserError` unless the teacher's tokenizer has the same tokens with the same numbers."""
    from transformers import AutoTokenizer

    where = {"revision": training_args.teacher_model_revision, "trust_remote_code": training_args.trust_remote_code}
    try:
        other = AutoTokenizer.from_pretrained(teacher, **where)
    except (OSError, ValueError) as error:
        raise UserError(f"teacher {teacher!r} cannot be loaded: {first_line(error)}") from error
    ours, theirs = tokenizer.get_vocab(), other.get_vocab()
    if ours != theirs:
        different = len(set(ours.items()) ^ set(theirs.items()))
        raise UserError(
            f"teacher and student must share a vocabulary: {different} entries differ ({len(theirs)} and {len(ours)} "
            "tokens); learn from its answers with fusion_hf.distill.sft instead"
        )


def parse(argv: list[str] | None = None) -> tuple:
    """The parsed arguments of `main`; see `fusion_hf.distill.training.parse`."""
    return training.parse(make_parser(), argv)


def run(argv: list[str] | None = None) -> int:
    """Parse, train, and return the exit code: 0, or 2 after one clear line on wrong input."""
    return training.run(lambda: main(*parse(argv)))


if __name__ == "__main__":
    sys.exit(run())

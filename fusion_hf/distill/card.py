"""The card of an SFT dataset: what was kept, what was left out, and who taught."""

import pandas as pd
import yaml


def sft_card(dataset, counts: dict) -> str:
    """README.md with the YAML that `datasets` reads and a small table; every figure is counted from `dataset`."""
    frame = pd.DataFrame({name: dataset[name] for name in ("task", "llm", "mode", "rule")})
    chars = pd.Series([len(c[0]["content"]) for c in dataset["completion"]])
    header = {
        "pretty_name": "Best answers of many LLMs",
        "tags": ["fusion_hf", "sft", "distillation"],
        "task_categories": ["text-generation"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    rule = ", ".join(sorted(frame["rule"].unique()))
    dropped = "".join(f"| {reason} | {n} |\n" for reason, n in counts["dropped"].items())
    by_task = frame.assign(chars=chars).groupby("task")
    tasks = "".join(
        f"| {task} | {len(g)} | {(g['mode'] == 'think').sum()} | {g['chars'].median():.0f} |\n" for task, g in by_task
    )
    teachers = "".join(f"| {llm} | {n} |\n" for llm, n in frame["llm"].value_counts().sort_index().items())
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n# Best answers of many LLMs\n\n"
        f"{len(frame)} pairs of prompt and completion in TRL's conversational form, chosen from {counts['read']} log "
        f"rows by the rule `{rule}`. `llm`, `mode`, `performance` and `rank` say where each completion came from.\n\n"
        f"| task | rows | think | median characters |\n|---|---|---|---|\n{tasks}\n"
        f"| teacher | rows |\n|---|---|\n{teachers}\n"
        f"| left out because | rows |\n|---|---|\n{dropped}\n"
        "```python\nfrom datasets import load_dataset\n\n"
        'data = load_dataset("path/to/this/folder", split="train")\n```\n'
    )

"""The card of a training dataset: what was kept, what was left out, and who taught."""

import pandas as pd

from ..cards import PLACE, render_card
from ..made import shown
from .report import write_model_card

_HEAD = {
    "sft": "pairs of prompt and completion in TRL's conversational form, the best answers",
    "preference": "preferences in TRL's conversational form, the best answer of a prompt against the worst",
}


def data_card(
    dataset,
    counts: dict,
    files: dict[str, str],
    validation=None,
    tokenizer: str | None = None,
    training: dict | None = None,
) -> str:
    """README.md with the YAML that `datasets` reads and small tables; every figure is counted from the data.

    Args:
        dataset: The split ``train`` of `sft_dataset` or `preference_dataset`.
        counts: What came with it.
        files: Parquet file of each split.
        validation: The split ``validation`` or None.
        tokenizer: Who counted the column ``tokens``; None means the log did.
        training: How the rows were chosen; see `fusion_hf.made`.
    """
    from huggingface_hub import DatasetCardData

    form = "preference" if "chosen" in dataset.column_names else "sft"
    parts = [(name, part) for name, part in (("train", dataset), ("validation", validation)) if part is not None]
    data_files = [{"split": name, "path": path} for name, path in files.items()]
    header = DatasetCardData(
        pretty_name="Best answers of many LLMs", tags=["fusion_hf", "distillation", form],
        task_categories=["text-generation"], configs=[{"config_name": "default", "data_files": data_files}],
    )  # fmt: skip
    return render_card(
        "sft",
        header,
        repo_id=PLACE,
        kept=counts["kept"],
        read=counts["read"],
        dropped=counts["dropped"],
        form=_HEAD[form],
        unit="log rows" if form == "sft" else "prompts",
        rule=", ".join(sorted(set(dataset["rule"]))),
        sizes=" and ".join(f"{len(part)} of `{name}`" for name, part in parts),
        tables=_tables(parts, form, tokenizer).strip(),
        training=shown(training, "fusion-hf sft-data LOG {} --out SFT"),
    )


def _tables(parts: list, form: str, tokenizer: str | None) -> str:
    """Rows, think rows and tokens of each task and teacher, over all splits."""
    answer, llm = ("completion", "llm") if form == "sft" else ("chosen", "chosen_llm")
    names = ["task", llm, "mode", *(["tokens"] if form == "sft" else [])]
    frame = pd.concat([pd.DataFrame({n: part[n] for n in names}) for _, part in parts])
    frame["characters"] = [len(c[0]["content"]) for _, part in parts for c in part[answer]]
    frame["think"] = frame["mode"] == "think"
    text = ""
    for title, column in (("task", "task"), ("teacher", llm)):
        text += f"| {title} | rows | think rows | tokens | median characters |\n|---|---|---|---|---|\n"
        for name, rows in frame.groupby(column):
            text += f"| {name} | {len(rows)} | {rows['think'].sum()} | {_tokens(rows)} "
            text += f"| {rows['characters'].median():.0f} |\n"
        text += "\n"
    if form == "sft":
        by = f"the tokenizer of `{tokenizer}`" if tokenizer else "whoever counted them in the log"
        text += f"Tokens are those of the completions, by {by}; – where they were not counted.\n"
    return text


def _tokens(rows: pd.DataFrame) -> str:
    known = "tokens" in rows and rows["tokens"].notna().all()
    return str(int(rows["tokens"].sum())) if known else "–"


CARDS = {"adapter": write_model_card, "model": write_model_card}
"""Kind of folder -> what writes its README.md; see `fusion_hf.hub`. A dataset brings its own."""

"""The questions, from files on this machine: none of them stands in this repository.

``--source`` is a folder with any of

- ``<task>/``: rows in the columns of the task's source, named by split, as ``fusion-hf collect --source`` takes them;
- ``gsm8k/{train,test}.jsonl.gz``, ``code/HumanEval.jsonl.gz``, ``code/mbpp.jsonl.gz``: as their authors publish them;
- ``fusionbench_slice/queries_train.jsonl.gz``: the queries of LLMRouter's sample, split here by a hash of the question.
"""

import ast
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from fusion_hf.tasks import TASKS, Example
from fusion_hf.tasks.load import load_examples

SLICE = "fusionbench_slice/queries_train.jsonl.gz"
OWN = {"gsm8k": "gsm8k", "mbpp": "code/mbpp.jsonl.gz", "human_eval": "code/HumanEval.jsonl.gz"}
TRAIN_SHARE = 6  # tenths of the slice


def sample(task: str, split: str, limit: int, source: Path, prompt_version: str = "plain") -> list[Example]:
    """The first `limit` queries of a split by a hash, so that a larger sample holds every smaller one."""
    rows = _load(task, split, source, prompt_version)
    return sorted(rows, key=lambda e: hashlib.sha256(f"{task}/{e.source_id}".encode()).hexdigest())[:limit]


def _load(task: str, split: str, source: Path, prompt_version: str) -> list[Example]:
    own = source / OWN.get(task, task)
    if own.exists():
        return load_examples(task, split, source=own, prompt_version=prompt_version)
    if not (source / SLICE).exists():
        raise SystemExit(f"{source}: expected {own.relative_to(source)} or {SLICE} for {task}, found neither")
    rows = source_rows(task, split, source / SLICE)
    example = TASKS[task].example
    from fusion_hf.tasks import in_version

    return [in_version(TASKS[task], example(row, number), prompt_version) for number, row in enumerate(rows)]


def source_rows(task: str, split: str, path: Path) -> list[dict[str, Any]]:
    """Rows of the slice in the columns of the task's own source."""
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["task_name"] == task and _side(row["query"]) == split:
                found.append(_row(task, row))
    return [row for row in found if row is not None]


def _side(query: str) -> str:
    return "train" if int(hashlib.sha256(query.encode()).hexdigest(), 16) % 10 < TRAIN_SHARE else "test"


def _row(task: str, row: dict[str, Any]) -> dict[str, Any] | None:
    query, gold = row["query"], row["ground_truth"]
    if task == "math":
        return {"problem": query, "solution": gold}
    options = ast.literal_eval(row["choices"])
    if isinstance(options, list):
        options = {"text": options, "label": list("ABCDEFGHIJ")[: len(options)]}
    texts, labels = options["text"], options.get("label") or options["labels"]
    if gold not in labels:
        return None
    if task == "mmlu":
        return {"question": query, "choices": texts, "answer": labels.index(gold)}
    name = "question_stem" if task == "openbook_qa" else "question"
    identity = hashlib.sha256(query.encode()).hexdigest()[:12]
    return {name: query, "choices": {"text": texts, "label": labels}, "answerKey": gold, "id": identity}

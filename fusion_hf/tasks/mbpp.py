"""MBPP: short Python functions from a description and three tests (Austin et al., arXiv 2108.07732)."""

import json

from . import Example, Task


def example(row, index):
    tests = "\n".join(row["test_list"])
    query = (
        f"{row['text'].strip()}\nYour code must pass these tests:\n{tests}\n"
        "Write the Python function between [BEGIN] and [DONE]."
    )
    code = {"prompt": "", "setup": row.get("test_setup_code") or "", "tests": list(row["test_list"]), "entry_point": ""}
    return Example(str(row.get("task_id", index)), query, [json.dumps(code)])


TASK = Task(
    name="mbpp",
    domain="Code",
    description="Python functions from a one-sentence description; three tests are shown.",
    source="google-research-datasets/mbpp",
    licence="cc-by-4.0",
    config="full",
    splits={"train": "all", "test": "all"},
    row_id="task_id",
    rows={"train": (601, 974), "test": (11, 510)},
    metric="code_eval",
    example=example,
    max_tokens={"direct": 512, "think": 768},
)

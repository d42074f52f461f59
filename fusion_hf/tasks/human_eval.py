"""HumanEval: complete a Python function from its signature and docstring (Chen et al., arXiv 2107.03374)."""

import json

from . import Example, Task


def example(row, index):
    query = f"{row['prompt'].rstrip()}\nComplete the Python function. Write its body between [BEGIN] and [DONE]."
    code = {
        "prompt": row["prompt"],
        "setup": "",
        "tests": [row["test"], f"check({row['entry_point']})"],
        "entry_point": row["entry_point"],
    }
    return Example(str(row.get("task_id", index)), query, [json.dumps(code)])


TASK = Task(
    name="human_eval",
    domain="Code",
    description="Python functions to complete from their signature and docstring; hidden tests.",
    source="openai/openai_humaneval",
    licence="mit",
    config=None,
    splits={"train": "test", "test": "test"},
    row_id="task_id",
    rows={"train": (0, 113), "test": (114, 163)},
    metric="code_eval",
    example=example,
    max_tokens={"direct": 512, "think": 768},
)

"""BoolQ: yes/no questions about a passage (Clark et al., arXiv 1905.10044)."""

from . import Example, Task


def example(row, index):
    query = (
        f"Passage: {row['passage'].strip()}\nQuestion: {row['question'].strip()}?\n"
        "Answer the question from the passage with True or False."
    )
    return Example(str(index), query, [str(bool(row["answer"]))])


TASK = Task(
    name="boolq",
    domain="Reading",
    description="Naturally occurring yes/no questions about a passage.",
    source="google/boolq",
    licence="cc-by-sa-3.0",
    config=None,
    splits={"train": "train", "test": "validation"},
    metric="cem",
    example=example,
    max_tokens={"direct": 128, "think": 384},
)

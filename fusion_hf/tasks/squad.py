"""SQuAD: answers that stand in a passage (Rajpurkar et al., arXiv 1606.05250)."""

from . import Example, Task


def example(row, index):
    query = (
        f"Passage: {row['context'].strip()}\nQuestion: {row['question'].strip()}\n"
        "Answer the question from the passage, in as few words as possible."
    )
    return Example(str(row.get("id", index)), query, list(dict.fromkeys(row["answers"]["text"])))


TASK = Task(
    name="squad",
    domain="Reading",
    description="Questions about a passage; the answer is a span of it.",
    source="rajpurkar/squad",
    licence="cc-by-sa-4.0",
    config=None,
    splits={"train": "train", "test": "validation"},
    metric="cem",
    example=example,
    max_tokens={"direct": 128, "think": 384},
)

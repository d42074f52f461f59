"""HellaSwag: the most likely continuation of a situation (Zellers et al., arXiv 1905.07830)."""

from . import Example, Task
from ._choice import ANSWER_EXAMPLE, LETTERS, MAX_TOKENS, choice_query


def example(row, index):
    query = choice_query(f"Which continuation is the most likely?\n{row['ctx'].strip()}", row["endings"])
    return Example(str(row.get("ind", index)), query, [f"({LETTERS[int(row['label'])]})"])


TASK = Task(
    name="hellaswag",
    domain="Commonsense",
    description="The most likely continuation of a described situation, four options.",
    source="Rowan/hellaswag",
    licence="unknown",
    config=None,
    splits={"train": "train", "test": "validation"},
    metric="em_mc",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens=MAX_TOKENS,
)

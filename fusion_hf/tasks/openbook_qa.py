"""OpenBookQA: elementary science facts applied to new situations (Mihaylov et al., arXiv 1809.02789)."""

from . import Example, Task
from ._choice import ANSWER_EXAMPLE, MAX_TOKENS, choice_query, letter_of


def example(row, index):
    query = choice_query(row["question_stem"], row["choices"]["text"])
    return Example(str(row.get("id", index)), query, [letter_of(row["answerKey"], row["choices"]["label"])])


TASK = Task(
    name="openbook_qa",
    domain="Commonsense",
    description="Elementary science facts applied to new situations, four options.",
    source="allenai/openbookqa",
    licence="unknown",
    config="main",
    splits={"train": "train", "test": "test"},
    metric="em_mc",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens=MAX_TOKENS,
)

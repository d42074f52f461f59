"""CommonsenseQA: everyday knowledge, five options (Talmor et al., arXiv 1811.00937)."""

from . import Example, Task
from ._choice import ANSWER_EXAMPLE, MAX_TOKENS, choice_query, letter_of


def example(row, index):
    query = choice_query(row["question"], row["choices"]["text"])
    return Example(str(row.get("id", index)), query, [letter_of(row["answerKey"], row["choices"]["label"])])


TASK = Task(
    name="commonsense_qa",
    domain="Commonsense",
    description="Everyday commonsense questions with five options.",
    source="tau/commonsense_qa",
    licence="mit",
    config=None,
    splits={"train": "train", "test": "validation"},
    metric="em_mc",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens=MAX_TOKENS,
)

"""ARC-Challenge: grade-school science questions that retrieval gets wrong (Clark et al., arXiv 1803.05457)."""

from . import Example, Task
from ._choice import ANSWER_EXAMPLE, MAX_TOKENS, choice_query, letter_of


def example(row, index):
    query = choice_query(row["question"], row["choices"]["text"])
    return Example(str(row.get("id", index)), query, [letter_of(row["answerKey"], row["choices"]["label"])])


TASK = Task(
    name="arc_challenge",
    domain="Commonsense",
    description="Hard grade-school science questions, mostly four options.",
    source="allenai/ai2_arc",
    licence="cc-by-sa-4.0",
    config="ARC-Challenge",
    splits={"train": "train", "test": "test"},
    metric="em_mc",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens=MAX_TOKENS,
)

"""MMLU: knowledge in 57 subjects (Hendrycks et al., arXiv 2009.03300)."""

from . import Example, Task
from ._choice import ANSWER_EXAMPLE, LETTERS, MAX_TOKENS, choice_query


def example(row, index):
    return Example(str(index), choice_query(row["question"], row["choices"]), [f"({LETTERS[int(row['answer'])]})"])


TASK = Task(
    name="mmlu",
    domain="Popular",
    description="School, university and professional knowledge in 57 subjects, four options.",
    source="cais/mmlu",
    licence="mit",
    config="all",
    splits={"train": "auxiliary_train", "test": "test"},
    metric="em_mc",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens=MAX_TOKENS,
)

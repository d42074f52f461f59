"""TriviaQA, closed book (Joshi et al., arXiv 1705.03551)."""

from . import Example, Task


def example(row, index):
    aliases = list(row["answer"]["normalized_aliases"])
    return Example(str(row.get("question_id", index)), row["question"].strip(), aliases)


TASK = Task(
    name="trivia_qa",
    domain="World knowledge",
    description="Trivia questions answered from memory; many aliases count.",
    source="mandarjoshi/trivia_qa",
    licence="unknown",
    config="rc.nocontext",
    splits={"train": "train", "test": "validation"},
    metric="cem",
    example=example,
    max_tokens={"direct": 128, "think": 384},
)

"""GSM8K: grade-school word problems (Cobbe et al., arXiv 2110.14168)."""

from . import Example, Task

ANSWER_EXAMPLE = ", such as #### 42"


def example(row, index):
    query = f"{row['question'].strip()}\nEnd your answer with the number after ####{ANSWER_EXAMPLE}."
    return Example(str(index), query, [row["answer"].split("####")[-1].strip()])


TASK = Task(
    name="gsm8k",
    domain="Math",
    description="Grade-school arithmetic word problems that need two to eight steps and end in one number.",
    source="openai/gsm8k",
    licence="mit",
    config="main",
    splits={"train": "train", "test": "test"},
    metric="gsm8k",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens={"direct": 512, "think": 768},
)

"""Natural Questions: real search queries with short answers (Kwiatkowski et al., TACL 2019), as packed by FlashRAG."""

from . import Example, Task


def example(row, index):
    return Example(str(row.get("id", index)), row["question"].strip(), list(row["golden_answers"]))


TASK = Task(
    name="natural_qa",
    domain="World knowledge",
    description="Questions that people typed into a search engine; a short factual answer.",
    source="RUC-NLPIR/FlashRAG_datasets",
    licence="cc-by-sa-4.0",
    config="nq",
    splits={"train": "train", "test": "test"},
    metric="cem",
    example=example,
    max_tokens={"direct": 128, "think": 384},
)

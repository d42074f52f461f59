"""GPQA: graduate-level science questions (Rein et al., arXiv 2311.12022); the source is gated on the Hub."""

import hashlib

from . import Example, Task
from ._choice import ANSWER_EXAMPLE, LETTERS, MAX_TOKENS, choice_query


def example(row, index):
    options = [row["Correct Answer"], *(row[f"Incorrect Answer {i}"] for i in (1, 2, 3))]
    # The order must follow from the row alone, so that the reference letter can never drift from the options shown.
    key = hashlib.sha256(row["Question"].encode()).digest()
    order = sorted(range(4), key=lambda i: hashlib.sha256(key + bytes([i])).digest())
    query = choice_query(row["Question"], [str(options[i]).strip() for i in order])
    return Example(str(row.get("Record ID", index)), query, [f"({LETTERS[order.index(0)]})"])


TASK = Task(
    name="gpqa",
    domain="Popular",
    description="Graduate-level questions in biology, physics and chemistry, four options.",
    source="Idavidrein/gpqa",
    licence="cc-by-4.0",
    config="gpqa_main",
    splits={"train": "train", "test": "train"},
    metric="em_mc",
    example=example,
    answer_example=ANSWER_EXAMPLE,
    max_tokens=MAX_TOKENS,
)

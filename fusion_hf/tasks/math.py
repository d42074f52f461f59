r"""MATH: competition mathematics (Hendrycks et al., arXiv 2103.03874); the answer stands in ``\boxed{}``."""

from . import Example, Task


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}`` with balanced braces, or None."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for i, char in enumerate(text[start:], start):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return text[start:i]
    return None


def example(row, index):
    reference = last_boxed(row["solution"])
    if reference is None:
        raise ValueError(f"math row {index}: the solution has no \\boxed{{}} answer")
    return Example(str(index), f"{row['problem'].strip()}\nPut the final answer alone in \\boxed{{}}.", [reference])


TASK = Task(
    name="math",
    domain="Math",
    description="Competition mathematics whose final answer is one expression.",
    source="EleutherAI/hendrycks_math",
    licence="mit",
    config="algebra,counting_and_probability,geometry,intermediate_algebra,number_theory,prealgebra,precalculus",
    splits={"train": "train", "test": "test"},
    metric="math",
    example=example,
    max_tokens={"direct": 768, "think": 1024},
)

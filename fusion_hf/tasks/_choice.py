"""What the multiple-choice tasks share: the prompt, its limits, and the mapping of labels to letters."""

LETTERS = "ABCDEFGHIJ"
ANSWER_EXAMPLE = ", such as (A)"
MAX_TOKENS = {"direct": 256, "think": 512}


def choice_query(question: str, options: list[str]) -> str:
    """The question, its options as ``(A) …`` lines, and the request for one letter in parentheses."""
    lines = "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
    return (
        f"{question.strip()}\n{lines}\n"
        f"Choose the right option. End your answer with its letter in parentheses{ANSWER_EXAMPLE}."
    )


def letter_of(label: str, labels: list[str]) -> str:
    """``(letter)`` for a reference `label`, by its place among `labels` (so that 1-4 map to A-D)."""
    return f"({LETTERS[labels.index(label)]})"

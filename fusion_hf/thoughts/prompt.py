"""The prompt of the thought level: what was retrieved, then the query, unchanged (arXiv 2507.10540).

The query comes last and keeps its own answer format, so the same graders read the answer.
"""

from collections.abc import Sequence

from ..errors import UserError

STYLES = ("zero-shot", "few-shot", "thought")
_HEADERS = {
    "few-shot": "Here are similar questions with their answers:",
    "thought": "Here are similar questions with guidelines on how to solve them:",
}
_LABELS = {"few-shot": "Answer", "thought": "Guideline"}
_FOOTER = "Now answer this question:"


def build_prompt(query: str, examples: Sequence[tuple[str, str]], style: str = "thought") -> str:
    """Put retrieved examples before a query.

    Args:
        query: The query as it is asked without examples; it is never changed.
        examples: (question, text) pairs, the most similar last; the text is an answer for ``few-shot`` and a thought
            template for ``thought``.
        style: ``zero-shot`` (the query alone), ``few-shot`` or ``thought``.

    Returns:
        The text of the user message. Without examples it is the query.
    """
    if style not in STYLES:
        raise UserError(f"unknown style {style!r}: expected one of {', '.join(STYLES)}")
    if style == "zero-shot" or not examples:
        return query
    blocks = [f"Question: {question.strip()}\n{_LABELS[style]}: {text.strip()}" for question, text in examples]
    return "\n\n".join([_HEADERS[style], *blocks, f"{_FOOTER}\n{query}"])

"""Cover exact match: a reference answer stands in the response (SQuAD's normal form, Rajpurkar et al., 2016)."""

from collections.abc import Sequence

from ._final import answer_field, final_text
from ._grade import Grade, paper_normal
from ._truth import TRUTH, read_truth
from ._words import reference_stands, response_forms

__all__ = ["paper", "read_truth", "strict"]


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """A normalised reference answer is a substring of the normalised response, word boundaries or not."""
    text = paper_normal(response)
    for reference in ground_truth:
        if paper_normal(reference) in text:
            return Grade(1.0, reference, "stands in the response")
    return Grade(0.0, None, "no reference answer stands in the response")


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """A reference answer stands in the response as whole words; True/False questions are read for their verdict."""
    truths = {TRUTH.get(g.strip().lower()) for g in ground_truth}
    if None not in truths:
        verdict = read_truth(response, query)
        if verdict is None:
            return Grade(0.0, None, "neither true nor false could be read")
        return Grade(float(verdict in truths), str(verdict), "read as " + str(verdict))
    text = final_text(response, query)
    field = answer_field(text) if "</" in text or "{" in text else None
    forms = response_forms(text if field is None else field[0])
    for reference in ground_truth:
        if reference_stands(reference, forms):
            return Grade(1.0, reference, "stands in the response as whole words")
    return Grade(0.0, None, "no reference answer stands in the response as whole words")

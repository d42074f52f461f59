"""Worked examples in place of templates: the right answers themselves, for few-shot prompts of any task."""

from typing import Any

from .extract import worked_steps
from .solved import Draft, Drafts, Solved

MAX_WORDS = 200  # an example longer than that costs more than several short ones


class WorkedExamples:
    """Needs no LLM and keeps every solved query, those of tasks without worked steps too.

    The example is the best right answer that shows how it was reached, in at most `MAX_WORDS` words; where none does,
    the best right answer as it is, however bare.
    """

    name = "worked"
    prompt_version = "1"
    sees_all = True
    repeats = True  # "(B)" is the answer to many queries

    def drafts(self, solved: list[Solved], **running: Any) -> Drafts:
        """A draft for each query; nothing is asked, so nothing is paid."""
        nothing = {"resumed": 0, "input_tokens": 0, "output_tokens": 0, "usd": 0.0, "usd_total": 0.0}
        return Drafts([_draft(item) for item in solved], nothing)


def _draft(solved: Solved) -> Draft:
    short = [i for i, answer in enumerate(solved.answers) if len(answer.split()) <= MAX_WORDS]
    if not short:
        return Draft(None, "too long")
    shown = next((i for i in short if worked_steps(solved.answers[i], solved)), short[0])
    return Draft(solved.answers[shown].strip(), answer=shown)

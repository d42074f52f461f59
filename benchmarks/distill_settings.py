"""The rows of the table of `distill_evidence`: which answers a student learns from; and what they are measured on."""

from dataclasses import dataclass

from fusion_hf.distill import Choice
from fusion_hf.tasks import TASKS
from fusion_hf.tasks.modes import PLAIN_MODES as MODES

__all__ = ["BASE", "DOMAINS", "LABELS", "MODES", "Setting", "settings"]
BASE, LABELS = "zero-shot base", "reference answers only"
DOMAINS = list(dict.fromkeys(task.domain for task in TASKS.values()))


@dataclass(frozen=True)
class Setting:
    """One row of the table: which answers the student learns from (None: none)."""

    name: str
    choice: Choice | None


def settings(small: list[str]) -> list[Setting]:
    """Base, reference answers, and each rule at top 5 and 10 with either pool."""
    rows = [Setting(BASE, None), Setting(LABELS, Choice("baseline"))]
    for pool, llms in (("full", None), ("small", small)):
        for k in (5, 10):
            rows += [Setting(f"{rule} top-{k}, {pool} pool", Choice(rule, k, llms=llms)) for rule in
                     ("perf", "judge", "hybrid")]  # fmt: skip
    return rows

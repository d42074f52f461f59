"""A query that was solved, and what a summariser makes of it."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Solved:
    """A query with right answers, the best first.

    Attributes:
        key: The query's id in the log.
        answers: Full responses, the best first.
        candidates: Who gave them (candidate ids).
        rule: How they were chosen, such as ``perf:3``.
    """

    key: str
    task: str
    query: str
    ground_truth: list[str]
    metric: str
    answers: list[str]
    candidates: list[str]
    rule: str


@dataclass(frozen=True)
class Draft:
    """What a summariser made of one query.

    Attributes:
        text: The template, or None.
        reason: Why there is none.
        answer: Which of the answers is kept as the example answer (index).
        retried: Whether a first reply was refused.
    """

    text: str | None
    reason: str | None = None
    answer: int = 0
    retried: bool = False


class Drafts(NamedTuple):
    """A draft for every query, and what they took.

    Attributes:
        drafts: In the order of the queries.
        usage: ``resumed`` (replies that an earlier run paid for), ``input_tokens`` and ``output_tokens`` (None where a
            reply has no count), ``usd`` (of this run) and ``usd_total`` (earlier runs included; None without prices).
    """

    drafts: list[Draft]
    usage: dict[str, Any]


class Summariser(Protocol):
    """Makes templates from solved queries.

    Attributes:
        name: Goes into the provenance of every template.
        prompt_version: Goes into it as well; raise it when the instructions change.
        sees_all: Whether it wants all right answers, not only the top few.
    """

    name: str
    prompt_version: str
    sees_all: bool

    def drafts(self, solved: list[Solved], **running: Any) -> Drafts:
        """A draft for each; `running` are options of the collector (``max_usd``, ``concurrency``, ``progress``)."""

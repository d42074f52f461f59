"""An answer of a fused system, and how it is read from a row of the collector."""

from dataclasses import dataclass
from typing import Any

from .choice import FusedDecision


@dataclass(frozen=True)
class FusedAnswer:
    """An answer of a fused system.

    Attributes:
        text: The reply; empty where there is none.
        decision: Who was asked, and why.
        finish_reason, input_tokens, output_tokens, cost, latency_s: As in a log row; None where not measured.
        error: Why there is no reply, or None.
        tried: Candidates that were asked before this one, in vain.
    """

    text: str
    decision: FusedDecision
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    latency_s: float | None = None
    error: str | None = None
    tried: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON types."""
        return {**vars(self), "decision": self.decision.to_dict()}


def answer_of(chosen: FusedDecision, row: dict[str, Any] | None, lost: str) -> FusedAnswer:
    """The answer in a row of the collector; `lost` is the error where there is none."""
    if row is None or row.get("error") is not None:
        return FusedAnswer("", chosen, error=lost if row is None else row["error"])
    measured = ("finish_reason", "input_tokens", "output_tokens", "cost", "latency_s")
    return FusedAnswer(row["response"] or "", chosen, **{name: row[name] for name in measured})

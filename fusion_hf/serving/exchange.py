"""What a request is on its way through the server, and how the server treats all of them."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..fused.choice import FusedDecision
from ..fused.ranking import Ranking
from .clients import Client
from .request import ChatRequest
from .traffic import Call


@dataclass(frozen=True)
class Settings:
    """How a server answers.

    Attributes:
        explore: Probability with which a random affordable candidate is asked in place of the best.
        timeout_s: Seconds for a whole answer that is not streamed; None leaves it to each LLM.
        first_token_s: Seconds to the first token of a stream.
        stall_s: Seconds between two chunks of a stream.
    """

    explore: float = 0.0
    timeout_s: float | None = None
    first_token_s: float = 60.0
    stall_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.explore <= 1:
            raise UserError(f"explore: expected a probability from 0 to 1, found {self.explore!r}")
        for name in ("timeout_s", "first_token_s", "stall_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name}: expected seconds above 0, found {value!r}")


@dataclass
class Exchange:
    """A request on its way, and what became of it.

    Attributes:
        ranking: Who may answer; options are used up from the front.
        options: Candidates that are left.
        decision: Who was asked last.
        cost: USD of all calls so far; None where no price is known.
        tried: LLMs that failed.
        held: What the ledger has set aside, for `settle`.
        done: Whether the answer is in the log.
    """

    id: str
    client: Client
    request: ChatRequest
    ranking: Ranking
    options: list[FusedDecision]
    propensity: float | None
    explored: bool
    held: Any
    began: float = field(default_factory=time.perf_counter)
    decision: FusedDecision | None = None
    attempts: int = 0
    cost: float | None = None
    tried: list[str] = field(default_factory=list)
    done: bool = False

    def call(self) -> Call:
        """What the log keeps of the call that is going on."""
        first = self.attempts == 1
        return Call(
            self.id, self.client.name, self.ranking.task, self.decision, self.attempts,
            self.propensity if first else None, self.explored and first,
        )  # fmt: skip

    def headers(self) -> dict[str, str]:
        """What the client is told in headers."""
        d = self.decision
        told = {
            "candidate": d and d.candidate,
            "task": self.ranking.task,
            "expected-score": d and not math.isnan(d.performance) and f"{d.performance:.6g}",
            "expected-cost": d and d.cost is not None and f"{d.cost:.6g}",
            "cost": self.cost is not None and f"{self.cost:.8g}",
            "attempts": str(self.attempts),
            "explored": self.explored and "true",
        }
        shown = {f"x-fusion-{name}": str(value) for name, value in told.items() if value}
        return {"x-request-id": self.id, **{k: v.encode("ascii", "replace").decode() for k, v in shown.items()}}

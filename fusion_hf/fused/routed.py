"""A router and a pool as one system, with the face of a `FusedSystem`: rank candidates, say how they are asked."""

from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from ..llms.pool import LLM, Pool
from ..logs.schema import split_candidate
from ..routers import Router
from ..tasks.modes import RETRIEVED_MODES
from .asking import in_mode
from .ranking import Asked, Ranking, rank_by_router

NAME = "router"


class RoutedSystem:
    """What a single router chooses among.

    Args:
        router: Any kind.
        pool: How its LLMs are reached; candidates whose LLM it lacks are never chosen. None where it only decides, and
            something else asks.
        scenario: The trade-off of queries that name none.
    """

    def __init__(self, router: Router, pool: Pool | None, scenario: str = "performance"):
        router.trade_off(scenario)
        self.router, self.pool, self.scenario = router, pool, scenario
        if not self.candidates:
            raise UserError(
                f"the pool has none of the router's LLMs: expected one of {', '.join(router.candidates)}, found "
                f"{', '.join(pool or ())}"
            )

    @property
    def candidates(self) -> list[str]:
        """Candidates that can be asked: thought templates belong to a fused system."""
        split = {c: split_candidate(c) for c in self.router.candidates}
        reached = [c for c, (llm, _) in split.items() if self.pool is None or llm in self.pool]
        return [c for c in reached if split[c][1] not in RETRIEVED_MODES]

    @property
    def tasks(self) -> list[str]:
        """The tasks that it knows; [] where it learned without."""
        return list(self.router.config.tasks or [])

    @property
    def scenarios(self) -> list[str]:
        """Trade-offs that can be asked for."""
        config = self.router.config
        return [
            name
            for name, trade in (config.scenarios or {}).items()
            if (config.has_cost or not trade["beta"]) and (config.has_judge or trade["score"] != "judge")
        ]

    def may_send_key(self, llm: LLM) -> bool:
        """The pool is the user's own: always."""
        return True

    def rank(self, asked: Sequence[Asked], explain: bool = False) -> list[Ranking | UserError]:
        """See `FusedSystem.rank`."""
        return rank_by_router(self.router, asked, NAME, self.scenario, explain)

    def messages(self, candidate: str, chat: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The chat as it is sent to a candidate."""
        return in_mode(chat, split_candidate(candidate)[1])

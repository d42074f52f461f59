"""Is a template worth its tokens: a router that knows a model in direct and in thought mode decides, query by query.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModel

from ..errors import UserError
from ..tasks.modes import candidate_id, split_candidate


class Worth:
    """Queries -> whether thought mode is chosen over direct mode.

    Args:
        router: A router of fusion_hf, or its folder or Hub id.
        scenario: A trade-off of the router; None means ``balance``, or ``performance`` without costs in its log.
        llm: The LLM; None where the router's log has one in both modes.
    """

    def __init__(self, router: Any, scenario: str | None = None, llm: str | None = None):
        self.router = (
            AutoModel.from_pretrained(router, trust_remote_code=False) if isinstance(router, str | Path) else router
        )
        if not hasattr(self.router, "route"):
            raise UserError(f"router: expected a router of fusion_hf, found {type(self.router).__name__}")
        self.scenario = scenario or ("balance" if self.router.config.has_cost else "performance")
        known = self.router.candidates
        both = [c for c in known if split_candidate(c)[1] == "direct" and candidate_id(c, "thought") in known]
        if llm is None and len(both) == 1:
            llm = both[0]
        if llm not in both:
            found = f"several: {', '.join(both)}; pass candidate=NAME" if both and llm is None else ", ".join(both)
            raise UserError(
                f"router: expected a log with {llm or 'the model'} in direct and in thought mode; LLMs that it has in "
                f"both: {found or 'none'}"
            )
        self.candidates = [llm, candidate_id(llm, "thought")]

    def __call__(self, queries: Sequence[str]) -> list[bool]:
        """For each query, whether thought mode is worth it."""
        decisions = self.router.route(queries, self.scenario, candidates=self.candidates)
        return [split_candidate(decision.candidate)[1] == "thought" for decision in decisions]

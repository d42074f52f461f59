"""Sessions: which LLM has the beginning of a conversation in its cache, and what that is worth."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..llms.pool import Pool
from ..logs.schema import split_candidate

MOST, LASTS_S = 20_000, 600.0
"""Sessions that are remembered, and seconds after which an unused prompt cache is taken for gone."""


@dataclass
class _Session:
    llm: str
    tokens: int
    at: float


class Sessions:
    """Remembers who answered in a session, for as long as its prompt may be cached."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic):
        self.pool, self._clock = pool, clock
        self._known: OrderedDict[tuple[str, str], _Session] = OrderedDict()

    def saved(self, client: str, session: str | None, candidates: Iterable[str], tokens: int) -> dict[str, float]:
        """USD that candidates save by what they have cached of a prompt of `tokens` tokens.

        It is the part of the prompt that the session's LLM has read already, at the difference of its prices for
        cached and for new input; an LLM whose pool entry has no ``cached_input_price`` saves 0 USD, which decides only
        between equals.
        """
        known = self._known.get((client, session)) if session else None
        if known is None or known.llm not in self.pool or self._clock() - known.at > LASTS_S:
            return {}
        sent, cached, _, _ = self.pool[known.llm].prices
        usd = 0.0 if sent is None or cached is None else min(known.tokens, tokens) * max(0.0, sent - cached) / 1e6
        return {c: usd for c in candidates if split_candidate(c)[0] == known.llm}

    def answered(self, client: str, session: str | None, llm: str, input_tokens: int | None) -> None:
        """An LLM has answered, and holds the prompt now."""
        if not session:
            return
        self._known[client, session] = _Session(llm, input_tokens or 0, self._clock())
        self._known.move_to_end((client, session))
        if len(self._known) > MOST:
            self._known.popitem(last=False)

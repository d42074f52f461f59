"""A circuit breaker an LLM: one that fails again and again is left alone for a while, and then tried once."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..llms.backends import BackendError

COUNTED = ("connection", "server", "timeout", "bad_reply", "auth")
"""Errors that are the LLM's rather than the request's."""
FAILURES, FIRST_S, LONGEST_S = 5, 5.0, 300.0


@dataclass
class _State:
    failures: int = 0
    rest: float = FIRST_S
    open_at: float = 0.0
    trying: bool = False


class Breaker:
    """Says which LLMs may be asked.

    After `FAILURES` errors in a row an LLM rests, at first for `FIRST_S` seconds, then twice as long each time. The
    first request after that is a trial; while it lasts no other is sent. A 429 rests it as long as its Retry-After
    says.

    Args:
        clock: Seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._states: dict[str, _State] = {}

    def wait(self, llm: str) -> float:
        """Seconds until the LLM may be asked; 0 for now."""
        state = self._states.get(llm)
        if state is None:
            return 0.0
        if state.trying:
            return 1.0
        return max(0.0, state.open_at - self._clock())

    def begin(self, llm: str) -> None:
        """It is asked now."""
        state = self._states.get(llm)
        if state is not None and state.failures >= FAILURES:
            state.trying = True

    def success(self, llm: str) -> None:
        """It answered."""
        self._states.pop(llm, None)

    def failure(self, llm: str, error: BackendError) -> None:
        """It failed."""
        state = self._states.setdefault(llm, _State())
        state.trying = False
        if error.kind == "rate_limit":
            rest = 1.0 if error.retry_after is None else error.retry_after
            state.open_at = max(state.open_at, self._clock() + min(rest, LONGEST_S))
        if error.kind not in COUNTED:
            return
        state.failures += 1
        if state.failures >= FAILURES:
            state.open_at = self._clock() + state.rest
            state.rest = min(2 * state.rest, LONGEST_S)

    def left(self, llm: str) -> None:
        """Nobody waits for the answer any more: it says nothing about the LLM."""
        if llm in self._states:
            self._states[llm].trying = False

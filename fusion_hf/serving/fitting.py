"""Which candidates can take a request at all, and why the others cannot: before anything is routed."""

from collections.abc import Iterable

from ..llms.pool import Pool
from ..logs.schema import split_candidate
from .request import ChatRequest


def fitting(request: ChatRequest, candidates: Iterable[str], pool: Pool) -> tuple[list[str], dict[str, str]]:
    """(candidates that can take the request, candidate -> why it cannot).

    An ability or a context window that the pool file does not tell excludes nobody.
    """
    kept, out = [], {}
    for candidate in candidates:
        reason = _reason(request, candidate, pool)
        if reason is None:
            kept.append(candidate)
        else:
            out[candidate] = reason
    return kept, out


def _reason(request: ChatRequest, candidate: str, pool: Pool) -> str | None:
    name, mode = split_candidate(candidate)
    if name not in pool:
        return "the pool does not reach it"
    llm = pool[name]
    if llm.abilities is not None and (missing := sorted(request.needs - set(llm.abilities))):
        return f"it does not take {missing[0]}"
    if request.needs and llm.local:  # in this order: `local` reads a file
        return f"an LLM in this process does not take {min(request.needs)}"
    if llm.context_window is not None and request.tokens > llm.context_window:
        return f"about {request.tokens} tokens do not fit its context window of {llm.context_window}"
    if mode != "direct" and not request.plain_end:
        return f"mode {mode} needs a chat that ends with a user message"
    return None

"""How long an answer may be: by the task and the mode, unless the LLM's entry in the pool says otherwise."""

from typing import Any

from ..tasks import TASKS
from . import options
from .pool import LLM


def answer_limit(llm: LLM, task: str = "", mode: str = "direct") -> int | None:
    """Most tokens that an answer may have, reasoning included; None if nobody says.

    The first of these that there is: the LLM's `token_limits` for ``<task>/<mode>``, for the task, for the mode; the
    limit among its options (null leaves it to the server); the task's own. The LLM's `reasoning_tokens` are added,
    except to a limit among the options, which is the server's word for both.
    """
    for key in (f"{task}/{mode}", task, mode):
        if key in llm.token_limits:
            return llm.token_limits[key] + llm.reasoning_tokens
    sent = {**llm.options, **(llm.options.get("extra_body") or {})}
    if any(options.plain_name(name) in options.LIMITS for name in sent):
        return options.answer_limit(llm.options)
    limits = TASKS[task].max_tokens if task in TASKS else {}
    limit = limits.get(mode, limits.get("direct"))
    return None if limit is None else limit + llm.reasoning_tokens


def limit_option(llm: LLM, limit: int | None) -> dict[str, Any]:
    """The option of a chat that sends a limit which the LLM's own options do not send; {} where they do."""
    if limit is None or limit == options.answer_limit(llm.options):
        return {}
    return {"max_completion_tokens" if "max_completion_tokens" in llm.options else "max_tokens": limit}

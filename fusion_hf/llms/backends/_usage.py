"""Token counts of an answer: the server's, or an estimate that says that it is one."""

import functools
import math
from typing import Any

from ...errors import UserError
from ..pool import LLM

BYTES_PER_TOKEN = 4  # the usual rule of thumb for English, in UTF-8 bytes so that other scripts are not undercounted
RULE = f"bytes/{BYTES_PER_TOKEN}"


def count_usage(llm: LLM, usage: Any, messages: list[dict[str, str]], text: str) -> dict[str, Any]:
    """The fields `input_tokens`, `output_tokens`, `reasoning_tokens` and `usage_source` of a `Reply`.

    Counts of the server are taken as they are. A count that it does not give is estimated with the LLM's own tokenizer
    (`tokenizer` of its entry in the pool, else that of its model, if it is on this machine), otherwise as UTF-8
    bytes / 4, rounded up. Reasoning that the server hides cannot be estimated: `reasoning_tokens` stays None then.

    Args:
        llm: Who answered.
        usage: What the server said, in OpenAI's words; anything else counts as nothing.
        messages: The chat that was sent.
        text: What came back.
    """
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details")
    sent, got = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    reasoning = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    total = _count(usage.get("total_tokens"))
    if None not in (sent, got, total) and reasoning and total == sent + got + reasoning:
        got += reasoning  # a few servers leave reasoning out of completion_tokens; it is billed all the same
    source = "server"
    if sent is None or got is None:
        tokens, how = _counter(llm)
        source = f"estimated/{how}"
        sent = tokens("\n".join(m["content"] for m in messages)) if sent is None else sent
        got = tokens(text) if got is None else got
    return {"input_tokens": sent, "output_tokens": got, "reasoning_tokens": reasoning, "usage_source": source}


def check_tokenizer(llm: LLM) -> None:
    """Refuse, before anything is asked and paid, an LLM whose pool entry names a tokenizer that is not here."""
    if llm.tokenizer and _tokenizer(llm.tokenizer) is None:
        raise UserError(
            f"{llm.name}: expected its tokenizer {llm.tokenizer!r} on this machine, found none: download it, or leave "
            f"the field out ({RULE} is the estimate then)"
        )


def own_tokenizer(llm: LLM):
    """The tokenizer of an LLM, if its pool entry or its model names one that is on this machine; else None."""
    return _tokenizer(llm.tokenizer or llm.model_id)


def _counter(llm: LLM):
    """(function that counts the tokens of a text, its name)."""
    name = llm.tokenizer or llm.model_id
    tokenizer = own_tokenizer(llm)
    if tokenizer is None:
        return lambda text: math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN), RULE
    # A folder by its own name: where it lies on this machine is nobody's business.
    shown = name.rstrip("/").rsplit("/", 1)[-1] if name.startswith("/") else name
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False)), shown


@functools.lru_cache(maxsize=64)
def _tokenizer(name: str):
    """The tokenizer of a folder, or of a Hub id that is in the cache; None otherwise. Never downloads."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception:  # what is not a tokenizer fails in many ways; the caller says what it falls back to
        return None


def _count(value: Any) -> int | None:
    """A token count, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

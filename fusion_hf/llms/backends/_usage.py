"""Token counts of an answer: the server's, or an estimate that says that it is one."""

import functools
import json
import math
import re
from typing import Any

from ...errors import UserError
from ..options import MOST_TOKENS
from ..pool import LLM

BYTES_PER_TOKEN = 4  # the usual rule of thumb for English, in UTF-8 bytes so that other scripts are not undercounted
_MONEY = re.compile(r"[0-9]{1,10}(?:\.[0-9]{0,30})?(?:[eE]-?[0-9]{1,3})?")
RULE = f"bytes/{BYTES_PER_TOKEN}"


# Names in use for one count, in lower case without underscores: OpenAI's two interfaces, Anthropic, Vercel's SDK and
# Bedrock, Gemini, llama.cpp and Ollama.
SENT = ("prompttokens", "inputtokens", "prompttokencount", "inputtokencount", "promptevalcount", "tokensevaluated")
GOT = (
    "completiontokens", "outputtokens", "candidatestokencount", "outputtokencount", "evalcount", "generatedtokens",
    "generatedtokencount", "tokenspredicted", "predictedn",
)  # fmt: skip
TOTAL = ("totaltokens", "totaltokencount")
REASONING = ("reasoningtokens", "thoughtstokencount", "thinkingtokens")
CACHED = ("cachedtokens", "promptcachehittokens", "cachedinputtokens", "cachedcontenttokencount")
FRESH, KEPT = "promptn", "cachen"  # llama.cpp's timings: tokens that were read now, and those kept from before
ANTHROPIC_CACHE = ("cachereadinputtokens", "cachecreationinputtokens")  # beside its input_tokens, not part of them
DETAILS = (
    "completiontokensdetails", "outputtokensdetails", "prompttokensdetails", "inputtokensdetails",
    "billedunits", "tokens",  # Cohere's: what is billed counts before what was read
)  # fmt: skip


def count_usage(llm: LLM, usage: Any, messages: list[dict], text: str, reasoning: str = "") -> dict[str, Any]:
    """The fields `input_tokens`, `output_tokens`, `reasoning_tokens`, `cached_tokens`, `usage_source` of a `Reply`.

    Counts of the server are read under the names that servers use, also as floats or digits. Tokens that only the
    total shows are output: reasoning that a server leaves out of its other counts is billed all the same. A count that
    the server does not give, or that cannot be one, is estimated with the LLM's own tokenizer (`tokenizer` of its
    entry in the pool, else that of its model, if it is on this machine), otherwise as UTF-8 bytes / 4, rounded up.
    Reasoning that the server hides altogether cannot be estimated: `reasoning_tokens` stays None then.

    Args:
        llm: Who answered.
        usage: What the server said; anything but a mapping counts as nothing.
        messages: The chat that was sent.
        text: What came back.
        reasoning: Reasoning that came beside it; it was generated too.
    """
    counts = _counts(usage)
    sent, got, total = (_first(counts, names) for names in (SENT, GOT, TOTAL))
    thought, cached = _first(counts, REASONING), _first(counts, CACHED)
    beside = sum(counts.get(name, 0) for name in ANTHROPIC_CACHE)
    if sent is not None and ANTHROPIC_CACHE[0] in counts:
        cached = counts[ANTHROPIC_CACHE[0]] if cached is None else cached
        # Gateways that give OpenAI's names have added these to the prompt, unless only the total has them.
        if "prompttokens" not in counts or (beside and total == sent + (got or 0) + beside):
            sent += beside
    if sent is None and FRESH in counts:
        cached = counts.get(KEPT)
        sent = counts[FRESH] + (cached or 0)
    if total is not None and (sent is None) != (got is None) and total >= (sent or 0) + (got or 0):
        sent, got = (total - got, got) if sent is None else (sent, total - sent)
    if None not in (sent, got, total) and total > sent + got:
        thought = thought or total - sent - got
        got = total - sent
    elif None not in (got, thought) and thought > got:
        got += thought  # more than the whole is no part of it
    source = "server"
    if sent is None or got is None or max(sent, got) > MOST_TOKENS:
        tokens, how = _counter(llm)
        source = f"estimated/{how}"
        sent = tokens(chat_text(messages)) if sent is None or sent > MOST_TOKENS else sent
        got = tokens(f"{reasoning}{text}") if got is None or got > MOST_TOKENS else got
    return {
        "input_tokens": sent,
        "output_tokens": got,
        "reasoning_tokens": thought if thought is not None and thought <= got else None,
        "cached_tokens": cached if cached is not None and cached <= sent else None,
        "usage_source": source,
    }


def reported_cost(usage: Any) -> float | None:
    """USD that the server says the answer cost.

    It is ``usage.cost`` (OpenRouter) or its ``total_cost`` (Perplexity), ``estimated_cost`` (DeepInfra) or
    ``total_cost``; with a key of one's own (OpenRouter's ``is_byok``) what the provider behind it takes comes on top.
    """
    if not isinstance(usage, dict):
        return None
    cost = next((usage[name] for name in ("cost", "total_cost", "estimated_cost") if usage.get(name) is not None), None)
    cost = _usd(cost.get("total_cost") if isinstance(cost, dict) else cost)
    details = usage.get("cost_details")
    if cost is not None and usage.get("is_byok") is True and isinstance(details, dict):
        cost += _usd(details.get("upstream_inference_cost")) or 0.0
    return cost


def _usd(value: Any) -> float | None:
    """A sum of money, which some gateways write as a text, as JSON has no decimal numbers."""
    if isinstance(value, str) and _MONEY.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1e9 else None


def usage_of(reply: dict) -> Any:
    """Where a reply has its token counts: ``usage``, also Groq's, a choice's (Moonshot), or llama.cpp's timings."""
    groq, choices = reply.get("x_groq"), reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    places = (
        reply.get("usage"),
        *(p.get("usage") for p in (groq, choice) if isinstance(p, dict)),
        reply.get("timings"),
    )
    return next((place for place in places if isinstance(place, dict) and place), None)


def chat_text(messages: list[dict]) -> str:
    """All text of a chat, for a count: contents, the text of their parts, and calls of tools as JSON."""
    texts = []
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            texts.append(text if isinstance(text, str) else "")
        if message.get("tool_calls"):
            texts.append(json.dumps(message["tool_calls"], default=str))
    return "\n".join(texts)


def _counts(usage: Any) -> dict[str, int]:
    """Every token count of a usage by its plain name; what stands at the top counts before what stands in details."""
    found: dict[str, int] = {}
    usage = usage if isinstance(usage, dict) else {}
    plain = {str(name).replace("_", "").lower(): value for name, value in usage.items()}
    nested = [plain[name] for name in DETAILS if isinstance(plain.get(name), dict)]
    for part in (plain, *({str(k).replace("_", "").lower(): v for k, v in d.items()} for d in nested)):
        for name, value in part.items():
            if (count := _count(value)) is not None:
                found.setdefault(name, count)
    return found


def _first(counts: dict[str, int], names: tuple[str, ...]) -> int | None:
    return next((counts[name] for name in names if name in counts), None)


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
    """A token count, also as a whole float or in digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None

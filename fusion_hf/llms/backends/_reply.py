"""A chat completion in OpenAI's form, read the same way by every backend, with everything in it checked."""

import json
from typing import Any

from ...logs.logprobs import mean_logprob, token_logprobs
from ..pool import LLM
from . import BackendError, Reply, well_formed
from ._http import refusal
from ._secrets import clean, hide
from ._usage import count_usage, reported_cost, usage_of

FAILED = ("error", "abort", "aborted", "cancelled", "failed")  # finish reasons of an answer that was not finished
INSTEAD = ("tool_calls", "function_call", "refusal", "reasoning_content", "reasoning", "audio")
STOPS = {"eos_token": "stop", "stop_sequence": "stop"}  # Text Generation Inference's words -> OpenAI's
TEXTS, THOUGHTS = ("text", "output_text"), ("thinking", "reasoning", "reasoning.text", "reasoning_text")


def read_json(content: bytes) -> Any:
    """What a body says, or None for what is no JSON that can be read (nested too deep, numbers of 5,000 digits, …)."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def read_reply(
    llm: LLM, status: int, headers: Any, content: bytes, messages: list[dict], seconds: float, key: str | None
) -> Reply:
    """The answer in the body of a chat completion.

    Args:
        llm: Who was asked.
        status, headers, content: Of the response; `content` is whole and unpacked.
        messages: The chat that was sent.
        seconds: How long it took.
        key: Taken out of everything that the server says.

    Raises:
        BackendError: A refusal; a failure inside a reply of status 200, by what it says; or ``bad_reply``: no text
            where the answer belongs, or a value of the wrong type.
    """
    reply = read_json(content)
    if not 200 <= status < 300 or (isinstance(reply, dict) and reply.get("error")):
        raise refusal(status, headers, reply, content, key)
    try:
        choice = reply["choices"][0]
        _refuse_failure(choice, content, key)
        message = choice["message"]
        # A message may leave its content out where it has something else to say.
        text = message.get("content") if any(name in message for name in INSTEAD) else message["content"]
    except (TypeError, KeyError, IndexError, AttributeError):
        start = clean(content.decode(errors="replace"), key, 200)
        raise BackendError("bad_reply", f"expected choices[0].message.content, found {start!r}") from None
    reason = choice.get("finish_reason")
    # Null content is an answer without text: all tokens went into reasoning, a tool was called, or the model refused.
    text, thought = _parts(text)
    text = well_formed(text or _text(message.get("refusal"), "refusal"))
    thought = well_formed(_reasoning(message) or thought)
    served = reply.get("model")
    usage = usage_of(reply)
    return Reply(
        text=hide(text, key),
        finish_reason=STOPS.get(reason, hide(reason, key)) if isinstance(reason, str) else reason,
        latency_s=seconds,
        reasoning=hide(thought, key) or None,
        served_model=hide(served, key) if isinstance(served, str) and served else None,
        reported_cost=reported_cost(usage),
        mean_logprob=mean_logprob(token_logprobs(choice.get("logprobs"))),
        **count_usage(llm, usage, messages, text, thought),
    )


def _refuse_failure(choice: dict, content: bytes, key: str | None) -> None:
    """Some gateways send what went wrong behind them inside a choice, under status 200."""
    message, reason = choice.get("message"), choice.get("finish_reason")
    error = choice.get("error") or (message.get("error") if isinstance(message, dict) else None)
    if not error and not (isinstance(reason, str) and reason.lower() in FAILED):
        return
    found = refusal(200, {}, {"error": error or f"finish_reason {reason}"}, content, key)
    kind = "server" if found.kind == "bad_reply" else found.kind
    raise BackendError(kind, str(found), found.retry_after)


def _text(value: Any, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise BackendError("bad_reply", f"expected a text in message.{where}, found {type(value).__name__}")
    return value or ""


def _parts(content: Any) -> tuple[str, str]:
    """(text, reasoning) of a content: a text, null, or a list of parts."""
    if not isinstance(content, list):
        return _text(content, "content"), ""
    texts, thoughts, others = [], [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text" if "text" in part else None) if isinstance(part, dict) else type(part).__name__
        if kind in TEXTS:
            texts.append(_text(part.get("text"), "content[].text"))
        elif kind == "refusal":
            texts.append(_text(part.get("refusal"), "content[].refusal"))
        elif kind in THOUGHTS:
            thoughts.append(_thought(part))
        else:
            others.append(str(kind)[:40])
    if others and not texts:
        raise BackendError("bad_reply", f"expected a text in message.content, found parts of type {', '.join(others)}")
    return "".join(texts), "".join(thoughts)


def _reasoning(message: dict) -> str:
    """The reasoning that a server gives beside the answer, under one of the names in use."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(value := message.get(name), str) and value:
            return value
    details = message.get("reasoning_details")
    return "".join(_thought(part) for part in details if isinstance(part, dict)) if isinstance(details, list) else ""


def _thought(part: dict) -> str:
    for name in ("thinking", "text", "reasoning", "summary"):
        value = part.get(name)
        if isinstance(value, list):
            value = "".join(v["text"] for v in value if isinstance(v, dict) and isinstance(v.get("text"), str))
        if isinstance(value, str) and value:
            return value
    return ""

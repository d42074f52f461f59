"""One LLM asked once: whole answers and streams, passed through as they come, with their figures for the log.

An LLM behind an OpenAI endpoint gets the client's own body and its answer is handed on untouched but for ``model``.
Any other backend answers in words, which are put into OpenAI's form.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

from ..errors import UserError
from ..llms.backends import Backend, BackendError, Reply
from ..llms.backends._body import Body
from ..llms.backends._reply import read_json, read_reply
from ..llms.backends._secrets import clean, hide
from ..llms.backends.openai import LOGPROBS
from ..llms.backends.openai import Backend as OpenAIBackend
from ..llms.pool import LLM

PASSED = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop")
"""Of a client's fields, those that an LLM without an OpenAI endpoint understands."""


@contextmanager
def reading(key: str | None) -> Iterator[None]:
    """Errors of the connection as `BackendError`, without the key."""
    try:
        yield
    except TimeoutError as error:
        raise BackendError("timeout", "no answer in time") from error
    except aiohttp.ClientError as error:
        raise BackendError("connection", clean(f"{type(error).__name__}: {error}", key)) from error
    except (ValueError, LookupError) as error:  # a reply that aiohttp cannot make sense of
        raise BackendError("bad_reply", clean(f"{type(error).__name__}: {error}", key)) from None


def sent_body(backend: OpenAIBackend, body: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What an OpenAI endpoint gets: the pool's options, the client's fields over them, our model and messages."""
    options = dict(backend.options)
    extra = options.pop("extra_body", {})
    if "max_tokens" in body or "max_completion_tokens" in body:  # two names of one limit
        options = {k: v for k, v in options.items() if k not in ("max_tokens", "max_completion_tokens")}
    return {**options, **extra, **body, "model": backend.model, "messages": messages}


async def complete(
    llm: LLM, backend: Backend, body: dict[str, Any], messages: list[dict[str, Any]], timeout: float | None,
    logprobs: bool = False,
) -> tuple[dict[str, Any], Reply]:  # fmt: skip
    """A whole answer: (chat completion for the client, what the log keeps of it). Raises `BackendError`.

    Args:
        llm: Who is asked.
        backend: How.
        body: The client's fields.
        messages: The chat in the candidate's mode.
        timeout: Seconds for the whole answer; None means the LLM's own limit.
        logprobs: Measure the log-probability of the answer, where the LLM tells it; the client is told only what it
            asked for itself.
    """
    if logprobs and not body.get("logprobs"):
        try:
            answer, reply = await _complete(llm, backend, body, messages, timeout, LOGPROBS)
        except (BackendError, UserError) as error:
            if isinstance(error, BackendError) and error.kind != "bad_request":
                raise
            # An LLM, or a backend, that knows of none: it is asked without.
        else:
            for choice in answer["choices"]:
                if isinstance(choice, dict):  # of a second one nothing is known
                    choice.pop("logprobs", None)
            return answer, reply
    return await _complete(llm, backend, body, messages, timeout, {})


async def _complete(
    llm: LLM, backend: Backend, body: dict, messages: list[dict], timeout: float | None, more: dict[str, Any]
) -> tuple[dict[str, Any], Reply]:
    if not isinstance(backend, OpenAIBackend):
        reply = await _words(backend, body, messages, timeout, "logprobs" in more)
        return completion(llm.name, reply), reply
    began, key = time.perf_counter(), backend.key
    sent = sent_body(backend, body | more, messages)
    sent = {k: v for k, v in sent.items() if k not in ("stream", "stream_options")}
    with reading(key):
        async with backend.post(sent, aiohttp.ClientTimeout(total=timeout or backend.timeout)) as response:
            received = Body(response.headers.get("Content-Encoding"))
            async for part in response.content.iter_any():
                received.feed(part)
            content = received.finish()
    seconds = time.perf_counter() - began
    reply = read_reply(llm, response.status, response.headers, content, messages, seconds, key)
    if key:
        content = hide(content.decode("utf-8", "replace"), key).encode()
    answer = read_json(content)
    if not isinstance(answer, dict):
        raise BackendError("bad_reply", "expected a chat completion, found something else")
    return {**answer, "model": llm.name}, reply


async def _words(backend: Backend, body: dict, messages: list[dict], timeout: float | None, logprobs: bool) -> Reply:
    """The answer of a backend that speaks no OpenAI."""
    options = {name: body[name] for name in PASSED if body.get(name) is not None}
    options |= {"logprobs": True} if logprobs else {}
    if "max_completion_tokens" in options:
        options["max_tokens"] = options.pop("max_completion_tokens")
    texts = [{"role": m["role"], "content": _plain(m.get("content"))} for m in messages]
    return await backend.chat(texts, timeout=timeout, **options)


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or ""


def completion(name: str, reply: Reply) -> dict[str, Any]:
    """A reply as a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    return {
        "id": f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason or "stop"}],
        "usage": usage_of(reply),
    }


def usage_of(reply: Reply) -> dict[str, Any]:
    """Token counts in OpenAI's words."""
    sent, got = reply.input_tokens or 0, reply.output_tokens or 0
    return {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got}


def chunks_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """A whole chat completion as the chunks of a stream: text, end, usage."""
    common = {k: answer.get(k) for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks = []
    for choice in answer.get("choices") or []:
        place = {"index": choice.get("index", 0)}
        delta = {k: v for k, v in (choice.get("message") or {}).items() if v is not None}
        if isinstance(delta.get("tool_calls"), list):
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(delta["tool_calls"])]
        chunks.append(common | {"choices": [place | {"delta": delta, "finish_reason": None}]})
        chunks.append(common | {"choices": [place | {"delta": {}, "finish_reason": choice.get("finish_reason")}]})
    return [*chunks, common | {"choices": [], "usage": answer.get("usage")}]


def encode(chunk: dict[str, Any]) -> bytes:
    """A chunk as a server-sent event."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"

"""A streamed answer, by which a slow server can be told from a dead one, and the completion that it adds up to."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from ...logs.logprobs import token_logprobs
from . import BackendError

FIRST_TOKEN_S, NEXT_TOKEN_S = 600.0, 120.0
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
"""What a request says to be streamed, with the server's count of tokens at the end."""
EVENTS = "text/event-stream"


async def in_time(parts: AsyncIterator[bytes], first_s: float, next_s: float) -> AsyncIterator[bytes]:
    """The parts as they arrive.

    Raises:
        BackendError: Kind ``timeout``: nothing within `first_s` seconds, or nothing more for `next_s`.
    """
    limit, said = first_s, f"not a word within {first_s:g} s"
    while True:
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            if not clock.expired():
                raise  # the limit of the whole answer
            raise BackendError("timeout", said) from error
        yield part
        limit, said = next_s, f"no more words for {next_s:g} s, in the middle of the answer"


def whole(content: bytes) -> bytes:
    """The chat completion, as JSON, that the events of a stream add up to; an error among them is passed on as it is.

    Raises:
        BackendError: Kind ``connection``: the stream ended before its answer did.
    """
    reply: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant", "content": None}
    texts: dict[str, list[str]] = {}
    reason, failure, usage, ended = None, None, None, False
    logprobs: list[float] = []
    for event in _events(content):
        if event == "[DONE]":
            ended = True
            continue
        try:
            chunk = json.loads(event)
        except (ValueError, RecursionError):
            raise BackendError("bad_reply", "an event of the stream is no JSON") from None
        if not isinstance(chunk, dict):
            raise BackendError("bad_reply", "an event of the stream is no object")
        if chunk.get("error"):
            return event.encode()
        reply |= {k: v for k, v in chunk.items() if k != "choices" and v is not None}
        for choice in _choices(chunk):
            _add(message, texts, choice.get("message") if "delta" not in choice and not texts else choice.get("delta"))
            usage = choice.get("usage") or usage
            logprobs += token_logprobs(choice.get("logprobs"))
            reason = choice.get("finish_reason") or reason
            failure = choice.get("error") or failure
    if not ended and reason is None and failure is None:
        raise BackendError("connection", "the stream ended before the answer did")
    for name, parts in texts.items():
        said = "".join(parts)
        # Parts of a list (reasoning) may come before the words.
        message[name] = [*message[name], said] if isinstance(message.get(name), list) else said
    choice = {"index": 0, "message": message, "finish_reason": reason, "error": failure, "usage": usage}
    if logprobs:
        choice["logprobs"] = {"token_logprobs": logprobs}
    reply["choices"] = [choice]
    return json.dumps(reply).encode()


def _events(content: bytes) -> list[str]:
    """The data of the server-sent events; lines of one event are joined, comments are none.

    Some servers forget the empty line between events: lines that are JSON by themselves are events of their own.
    """
    events: list[list[str]] = [[]]
    for line in content.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if not line:
            events.append([])
        elif line.startswith("data:"):
            events[-1].append(line[5:].removeprefix(" "))
    return [event for lines in events if lines for event in (lines if _apart(lines) else ["\n".join(lines)])]


def _apart(lines: list[str]) -> bool:
    return len(lines) > 1 and all(line == "[DONE]" or (line[:1], line.rstrip()[-1:]) == ("{", "}") for line in lines)


def _choices(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the first choice, the only one that is asked for."""
    found = chunk.get("choices")
    if not isinstance(found, list):
        return []
    return [choice for choice in found if isinstance(choice, dict) and choice.get("index") in (0, None)]


def _add(message: dict[str, Any], texts: dict[str, list[str]], delta: Any) -> None:
    """Put the next words where they belong: texts and lists grow, anything else is replaced.

    The words are joined at the end: a text that is made longer word by word takes quadratic time.
    """
    for name, value in delta.items() if isinstance(delta, dict) else ():
        if name != "role" and isinstance(value, str):
            texts.setdefault(name, []).append(value)
        elif isinstance(value, list) and isinstance(message.get(name), list):
            message[name].extend(value)
        elif value is not None:
            message[name] = value

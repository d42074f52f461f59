"""An answer that comes chunk by chunk: server-sent events of an LLM, checked, counted and handed on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp

from ..llms.backends import Backend, BackendError, Reply, well_formed
from ..llms.backends._body import LARGEST, Body
from ..llms.backends._http import refusal
from ..llms.backends._reply import read_json, read_reply
from ..llms.backends._secrets import clean, hide
from ..llms.backends._usage import count_usage, reported_cost
from ..llms.backends.openai import Backend as OpenAIBackend
from ..llms.pool import LLM
from ..logs.logprobs import mean_logprob, token_logprobs
from .upstream import chunks_of, complete, reading, sent_body

TEXTS = ("content", "refusal")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")


class StreamedAnswer:
    """A stream that is being read: `chunks`, and what came so far for the log.

    Attributes:
        started: Whether a first token has come.
        finish_reason: The last one that was said.
    """

    def __init__(self, llm: LLM, messages: list[dict[str, Any]]):
        self.llm, self.messages = llm, messages
        self.began = time.perf_counter()
        self.started = False
        self.finish_reason: str | None = None
        self.usage: Any = None
        self.served: str | None = None
        self._text: list[str] = []
        self._thought: list[str] = []
        self._logprobs: list[float] = []
        self._whole: Reply | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        """Take notes of a chunk."""
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        if isinstance(chunk.get("model"), str):
            self.served = self.served or chunk["model"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if not isinstance(delta, dict):
                raise BackendError("bad_reply", "expected choices[].delta in a chunk, found none")
            self._take(delta)
            self._logprobs += token_logprobs(choice.get("logprobs"))
            if isinstance(choice.get("finish_reason"), str):
                self.finish_reason, self.started = choice["finish_reason"], True

    def _take(self, delta: dict[str, Any]) -> None:
        for names, kept in ((TEXTS, self._text), (THOUGHTS, self._thought)):
            for name in names:
                if isinstance(delta.get(name), str) and delta[name]:
                    kept.append(delta[name])
                    self.started = True
                    break
        if delta.get("tool_calls") or delta.get("function_call"):
            self.started = True

    def whole(self, reply: Reply) -> None:
        """The answer came at once."""
        self._whole = reply

    def reply(self) -> Reply:
        """What came, for the log; counts that the server did not send are estimated."""
        if self._whole is not None:
            return self._whole
        text, thought = well_formed("".join(self._text)), well_formed("".join(self._thought))
        return Reply(
            text=text,
            finish_reason=self.finish_reason,
            latency_s=time.perf_counter() - self.began,
            reasoning=thought or None,
            served_model=self.served,
            reported_cost=reported_cost(self.usage),
            mean_logprob=mean_logprob(self._logprobs),
            **count_usage(self.llm, self.usage, self.messages, text, thought),
        )


@asynccontextmanager
async def opened(
    llm: LLM, backend: Backend, body: dict[str, Any], messages: list[dict[str, Any]], first_s: float, stall_s: float
) -> AsyncIterator[tuple[StreamedAnswer, AsyncIterator[dict[str, Any]]]]:
    """(answer, its chunks): entered when the first token is there, so that another LLM may still be asked before.

    Args:
        llm: Who is asked.
        backend: How.
        body: The client's fields.
        messages: The chat in the candidate's mode.
        first_s: Seconds to the first token at most.
        stall_s: Seconds between two chunks at most.

    Raises:
        BackendError: On entering, or while the chunks are read.
    """
    answer = StreamedAnswer(llm, messages)
    source = _chunks(answer, backend, body, messages, stall_s)
    async with aclosing(source):
        early: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(first_s):
                while not answer.started:
                    early.append(await anext(source))
        except TimeoutError:
            raise BackendError("timeout", f"no first token within {first_s:g} s") from None
        except StopAsyncIteration:
            pass  # an empty answer

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            for chunk in early:
                yield chunk
            async for chunk in source:
                yield chunk

        yield answer, chunks()


async def _chunks(
    answer: StreamedAnswer, backend: Backend, body: dict[str, Any], messages: list[dict[str, Any]], stall_s: float
) -> AsyncIterator[dict[str, Any]]:
    llm = answer.llm
    if not isinstance(backend, OpenAIBackend):
        whole, reply = await complete(llm, backend, body, messages, None)
        answer.whole(reply)
        answer.started = True
        for chunk in chunks_of(whole):
            yield chunk
        return
    key = backend.key
    sent = sent_body(backend, body, messages)
    usage = sent.get("stream_options") if isinstance(sent.get("stream_options"), dict) else {}
    sent |= {"stream": True, "stream_options": {**usage, "include_usage": True}}
    with reading(key):
        timeout = aiohttp.ClientTimeout(total=None, sock_read=stall_s)
        async with backend.post(sent, timeout, packed=False) as response:
            if response.status != 200 or "text/event-stream" not in response.headers.get("Content-Type", ""):
                content = await _whole(response)
                reply = read_reply(
                    llm, response.status, response.headers, content, messages, time.perf_counter() - answer.began, key
                )
                answer.whole(reply)
                answer.started = True
                for chunk in chunks_of({**read_json(content), "model": llm.name}):
                    yield chunk
                return
            async for chunk in _events(response, key):
                answer.add(chunk)
                if "model" in chunk:
                    chunk["model"] = llm.name
                yield chunk
    if answer.finish_reason is None:
        raise BackendError("connection", "the stream ended before the answer did")


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    received = Body(response.headers.get("Content-Encoding"))
    async for part in response.content.iter_any():
        received.feed(part)
    return received.finish()


async def _events(response: aiohttp.ClientResponse, key: str | None) -> AsyncIterator[dict[str, Any]]:
    """The chunks in a stream of server-sent events, up to ``[DONE]``."""
    rest, size = b"", 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LARGEST:
            raise BackendError("bad_reply", f"a stream of more than {LARGEST >> 20} MiB")
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # comments that keep the connection open, names of events, blank lines
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            yield _chunk(data, key)


def _chunk(data: bytes, key: str | None) -> dict[str, Any]:
    if key:
        data = hide(data.decode("utf-8", "replace"), key).encode()
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise BackendError(
            "bad_reply", f"expected JSON in a chunk, found {clean(data[:200].decode(errors='replace'), key)!r}"
        )
    if chunk.get("error"):
        raise refusal(200, {}, chunk, data, key)
    return chunk

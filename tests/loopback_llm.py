"""A real chat endpoint on 127.0.0.1 that answers, delays, fails or cuts the connection as a test tells it.

``python tests/loopback_llm.py`` runs it alone and prints its address, for measurements.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Act:
    """What the server does with one request."""

    text: str | None = "It is 42."
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None  # sent as it is, instead of a chat completion
    delay: float = 0.0
    cut: str | None = None  # "before" any byte, or in the "middle" of the body
    usage: dict[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    )
    finish_reason: str = "stop"
    message: dict[str, Any] = field(default_factory=dict)  # further fields of the message
    pause: float = 0.0  # of a stream, between two chunks
    stall: float = 0.0  # of a stream, before its last word
    logprobs: float | None = None  # of every word, where the request asks for log-probabilities
    bad_chunk: int | None = None  # of a stream: the place of a chunk that is no JSON


@dataclass
class Seen:
    """A request as it came."""

    at: float
    prompt: str
    body: dict[str, Any]
    headers: dict[str, str]


class LoopbackLLM:
    """The server, in a thread of its own. Use it in a ``with`` statement.

    Args:
        behave: (prompt, how often it was asked before) -> `Act`; the default answers at once.
        remember: Keep what was asked; a measurement of a million rows does not.
        notices: End a request when its client hangs up.
    """

    def __init__(
        self,
        behave: Callable[[str, int], Act] = lambda prompt, times: Act(),
        remember: bool = True,
        notices: bool = False,
    ):
        self.behave, self.remember, self.notices = behave, remember, notices
        self.seen: list[Seen] = []
        self.answered: Counter[str] = Counter()
        self.garbled = 0  # of those: bodies that were no chat completion
        self.in_flight = self.peak = 0
        self.clients: set[tuple] = set()  # addresses of the connections that were made
        self._times: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "LoopbackLLM":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=self.notices)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        prompt = prompt if isinstance(prompt, str) else json.dumps(prompt)
        if not self.remember:
            return await self._act(request, self.behave(prompt, 0), body)
        self.seen.append(Seen(time.monotonic(), prompt, body, dict(request.headers)))
        self.clients.add(request.transport.get_extra_info("peername"))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            act = self.behave(prompt, self._times[prompt])
            self._times[prompt] += 1
            if act.delay:
                await asyncio.sleep(act.delay)
            return await self._act(request, act, body)
        finally:
            self.in_flight -= 1

    async def _act(self, request: web.Request, act: Act, body: dict[str, Any]) -> web.StreamResponse:
        if act.cut == "before":
            _abort(request)
            return web.Response()
        if body.get("stream") and act.status == 200 and act.cut != "before" and act.body is None:
            return await self._stream(request, act, body)
        text = act.body
        if text is None and act.status >= 300:
            text = json.dumps({"error": {"message": f"status {act.status} as told", "code": None}})
        if text is None:
            message = {"role": "assistant", "content": act.text, **act.message}
            reply = {"id": "x", "object": "chat.completion", "model": body["model"]}
            reply["choices"] = [{"index": 0, "message": message, "finish_reason": act.finish_reason}]
            reply["choices"][0] |= _logprobs(act, body, (act.text or "").split())
            if act.usage is not None:
                reply["usage"] = act.usage
            text = json.dumps(reply)
        if act.cut == "middle":
            response = web.StreamResponse(headers={"Content-Length": str(len(text.encode()))})
            await response.prepare(request)
            await response.write(text.encode()[:20])
            await asyncio.sleep(0.02)
            _abort(request)
            return response
        if act.status == 200 and self.remember:
            self.answered[str(body["messages"][-1]["content"])] += 1
            self.garbled += act.body is not None
        return web.Response(text=text, status=act.status, headers={"Content-Type": "application/json", **act.headers})

    async def _stream(self, request: web.Request, act: Act, body: dict[str, Any]) -> web.StreamResponse:
        """The same answer word by word, as server-sent events."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **act.headers})
        await response.prepare(request)
        common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

        def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
            return common | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

        words = [part for part in (act.text or "").replace(" ", "\0 ").split("\0") if part]
        chunks = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in words)]
        for one, word in zip(chunks[1:], words, strict=True):
            one["choices"][0] |= _logprobs(act, body, [word])
        chunks += [chunk(dict(act.message))] if act.message else []
        chunks.append(chunk({}, act.finish_reason))
        if act.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            chunks.append(common | {"choices": [], "usage": act.usage})
        for number, one in enumerate(chunks):
            if act.cut == "middle" and number == len(words):
                _abort(request)
                return response
            if act.stall and number == len(words):
                await asyncio.sleep(act.stall)
            data = "{no json" if number == act.bad_chunk else json.dumps(one)
            await response.write(f"data: {data}\n\n".encode())
            if act.pause:
                await asyncio.sleep(act.pause)
        await response.write(b"data: [DONE]\n\n")
        if self.remember:
            self.answered[str(body["messages"][-1]["content"])] += 1
        return response


def _logprobs(act: Act, body: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """The field of a choice, in OpenAI's form."""
    if act.logprobs is None or not body.get("logprobs"):
        return {}
    return {"logprobs": {"content": [{"token": w, "logprob": act.logprobs, "top_logprobs": []} for w in words]}}


def _abort(request: web.Request) -> None:
    if request.transport is not None:  # else the client has gone already
        request.transport.abort()


def free_port() -> int:
    """A port on which nothing listens."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


if __name__ == "__main__":
    with LoopbackLLM(remember=False) as server:
        print(server.url, flush=True)
        threading.Event().wait()

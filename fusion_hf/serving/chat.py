"""``POST /v1/chat/completions`` as an ASGI application of its own: no layer between the socket and the engine."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from .clients import Client
from .engine import Engine
from .errors import ServeError
from .exchange import Exchange
from .request import ChatRequest, read_request
from .upstream import chunks_of, encode

logger = logging.getLogger(__name__)
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
LARGEST_BODY = 32 << 20
DISCARD_S = 10.0
DONE = b"data: [DONE]\n\n"


class GoneError(Exception):
    """The client has hung up before its request was whole."""


async def read_body(scope: dict[str, Any], receive: Receive, most: int) -> bytes:
    """The body of a request; `ServeError` 413 where it is larger than `most`."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    parts, size = [], int(length) if length.isdigit() else 0
    if size > most:
        if size <= 4 * most and b"expect" not in headers:
            await _discard(receive)  # who is still sending would see a reset connection, and not the refusal
        raise ServeError(413, f"expected a body of at most {most} bytes, found {size}", code="too_large")
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise ServeError(413, f"expected a body of at most {most} bytes, found more", code="too_large")
        if not message.get("more_body"):
            return b"".join(parts)


async def _discard(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while (await receive()).get("more_body"):
                pass


async def respond(
    send: Send, status: int, body: bytes, headers: dict[str, str], kind: str = "application/json"
) -> None:
    """A whole response."""
    await _start(send, status, {"content-type": kind, "content-length": str(len(body)), **headers})
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    pairs = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


class ChatEndpoint:
    """Answers chat requests.

    Args:
        engine: Who answers.
        client_of: The client of a request by its headers; raises `ServeError` 401.
        most: Bytes of a body at most.
    """

    def __init__(self, engine: Engine, client_of: Callable[[dict[str, Any]], Client], most: int = LARGEST_BODY):
        self.engine, self.client_of, self.most = engine, client_of, most

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        begun = False

        async def sending(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self.engine.metrics.in_flight.inc()
        try:
            try:
                client = self.client_of(scope)
                content = await read_body(scope, receive, self.most)
                request = read_request(content, self.engine.names(), self.engine.system.scenarios)
                await self._watched(receive, self._answer(request, client, sending))
            except ServeError as error:
                await self._refuse(error, send)
            except GoneError:
                pass
            except Exception:
                logger.exception("a request failed in the server itself")
                if begun:
                    raise  # the connection is closed, so that nobody takes half an answer for a whole one
                await self._refuse(ServeError(500, "the server failed; its log says why", "server_error"), send)
        finally:
            self.engine.metrics.in_flight.dec()

    async def _refuse(self, error: ServeError, send: Send) -> None:
        self.engine.metrics.requests.labels("", str(error.status)).inc()
        await respond(send, error.status, error.body(), error.headers())

    async def _watched(self, receive: Receive, work: Any) -> None:
        """Do the work, and cancel it, and with it what goes on upstream, when the client hangs up."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                return
            task.result()
        finally:
            for one in (task, gone):
                if not one.done():
                    one.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await one

    async def _answer(self, request: ChatRequest, client: Client, send: Send) -> None:
        exchange = await self.engine.begin(request, client)
        status = 499  # what a log calls a client that hung up
        try:
            if request.stream and (exchange.ranking.chain is None or exchange.explored or request.needs):
                status = await self._stream(exchange, send)
            else:
                body = await self.engine.answer(exchange)
                await self._whole(exchange, body, send)
                status = 200
        except ServeError as error:
            status = error.status
            await respond(send, status, error.body(), {**exchange.headers(), **error.headers()})
        finally:
            await asyncio.shield(self.engine.end(exchange, status))

    async def _whole(self, exchange: Exchange, body: dict[str, Any], send: Send) -> None:
        if exchange.request.stream:  # of a cascade, whose answers have to be whole before one is chosen
            await _start(send, 200, {"content-type": "text/event-stream", **exchange.headers()})
            events = [encode(c) for c in chunks_of(body) if c["choices"] or exchange.request.wants_usage]
            await send({"type": "http.response.body", "body": b"".join([*events, DONE])})
            return
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        await respond(send, 200, content, exchange.headers())

    async def _stream(self, exchange: Exchange, send: Send) -> int:
        """Send a stream; the status that the figures show."""
        begun = False
        try:
            async with self.engine.stream(exchange) as (answer, chunks):
                headers = {"content-type": "text/event-stream", "cache-control": "no-cache", **exchange.headers()}
                await _start(send, 200, headers)
                begun = True
                async for chunk in chunks:
                    # The chunk with the usage is for us, unless the client asked for it too.
                    if chunk.get("choices") or exchange.request.wants_usage:
                        await send({"type": "http.response.body", "body": encode(chunk), "more_body": True})
                self.engine.answered(exchange, answer.reply())
        except ServeError as error:
            if not begun:
                raise
            # The status is out already: the error is an event, and no [DONE] follows.
            await send({"type": "http.response.body", "body": encode(error.to_dict())})
            return error.status
        await send({"type": "http.response.body", "body": DONE})
        return 200


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

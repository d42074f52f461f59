"""The process that listens: its address, its limits, and how it ends."""

import logging
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import UserError
from .access import is_loopback

logger = logging.getLogger(__name__)
MOST_HEADERS = 64 << 10
HEADERS_S = 20.0


class LimitedProtocol(HttpToolsProtocol):
    """HTTP with a limit for the size of a request's head, and for the time that it may take."""

    def connection_made(self, transport: Any) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._head = 0  # bytes of the head so far; -1 while a body is read or answered
        self._timer = self.loop.call_later(HEADERS_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._head >= 0:
            self._head += len(data)
            if self._head > MOST_HEADERS and not 0 <= data.find(b"\r\n\r\n") <= MOST_HEADERS:
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n")
                self.transport.close()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """See `httptools`."""
        self._head = -1
        self._timer.cancel()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See `httptools`."""
        super().on_message_complete()
        self._head = 0

    def on_message_begin(self) -> None:
        """See `httptools`."""
        self._timer.cancel()
        self._timer = self.loop.call_later(HEADERS_S, self._late)
        super().on_message_begin()

    def _late(self) -> None:
        if self._head >= 0 and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """A server whose process goes on after a signal has ended it in order."""

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        if sockets and not self.should_exit:
            name, port = sockets[0].getsockname()[:2]
            print(f"serving on http://{f'[{name}]' if ':' in name else name}:{port}/v1", flush=True)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Finish what is in flight."""
        await super().shutdown(sockets)
        self._captured_signals.clear()  # uvicorn would send them to the process again


def check_address(host: str, port: int, has_clients: bool) -> None:
    """Refuse an open address without a key."""
    if not 0 <= port <= 65535:
        raise UserError(f"port: expected a number from 0 to 65535, found {port}")
    if not is_loopback(host) and not has_clients:
        raise UserError(
            f"host: {host} can be reached from elsewhere, so clients need keys: give --clients FILE or set "
            "FUSION_HF_SERVE_KEYS=NAME:TOKEN, or listen on 127.0.0.1"
        )


def run(app: Any, host: str, port: int, drain_s: float) -> None:
    """Listen until SIGTERM or Ctrl-C; then take no new requests and finish those in flight, for `drain_s` at most."""
    config = uvicorn.Config(
        app, host=host, port=port, http=LimitedProtocol, ws="none", lifespan="on", access_log=False,
        server_header=False, log_level="warning", timeout_graceful_shutdown=max(1, round(drain_s)),
        timeout_keep_alive=30,
    )  # fmt: skip
    Server(config).run(sockets=[config.bind_socket()])

"""A server on 127.0.0.1 that sends any bytes: what no HTTP library would let a test send."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any


class RawServer:
    """The server, in a thread of its own. Use it in a ``with`` statement.

    Args:
        behave: (prompt, headers) -> what to send: bytes, seconds to wait, a coroutine function that is given the
            writer, ``abort`` (cut the connection) or ``close`` (after what was sent).
    """

    def __init__(self, behave: Callable[[str, dict[str, str]], list]):
        self.behave = behave
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "RawServer":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _stop(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, RuntimeError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if ": " in line)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        prompt = body["messages"][-1]["content"] if "messages" in body else body["inputs"]
        self.seen.append(prompt)
        self.headers.append(headers)
        stay = True
        for act in self.behave(prompt, headers):
            if act == "abort":
                writer.transport.abort()
                return False
            if act == "close":
                stay = False
            elif isinstance(act, float):
                await asyncio.sleep(act)
            elif callable(act):
                await act(writer)
            else:
                writer.write(act)
                await writer.drain()
        return stay


def http(body: str | bytes, status: str = "200 OK", headers=(), kind="application/json", length=None) -> bytes:
    """A response; `length` is what its Content-Length says."""
    body = body if isinstance(body, bytes) else body.encode()
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogatepass") + body


COUNTED = {"prompt_tokens": 10, "completion_tokens": 5}


def completion(
    text: Any = "ok", usage: Any = COUNTED, finish: Any = "stop", message=(), choice=(), **more: Any
) -> dict:
    """A chat completion, with any values."""
    reply = {"choices": [{"message": {"content": text, **dict(message)}, "finish_reason": finish, **dict(choice)}]}
    return reply | ({} if usage is None else {"usage": usage}) | more

"""Text Generation Inference's HTTP API on 127.0.0.1, after its published OpenAPI schema.

The replies and the refusals have the schema's fields; the answers are made of the prompt, a byte a token.
"""

import asyncio
import json
import threading
from typing import Any

from aiohttp import web

MAX_TOTAL = 512
STATUS = {"validation": 422, "generation": 424, "overloaded": 429, "incomplete_generation": 500}


class TGI:
    """The server, in a thread of its own. Use it in a ``with`` statement.

    A prompt that begins with ``!overloaded`` (or another key of `STATUS`) is refused so; ``!slow`` waits, ``!odd``
    answers with something else than the schema says, ``!uncounted`` leaves the prompt out of the details, as servers
    do that have it cached.

    `most`: tokens of a prompt and its answer together.
    """

    def __init__(self, most: int = MAX_TOTAL) -> None:
        self.most = most
        self.seen: list[dict[str, Any]] = []  # bodies, with the path and the headers of their request
        self.sent: list[tuple[str, Any]] = []  # (name in the schema, reply)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "TGI":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/", self._root)
        app.router.add_post("/generate", self._generate)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    async def _root(self, request: web.Request) -> web.Response:
        """The compatible route of the published image: one element of a list."""
        return await self._generate(request, as_list=True)

    async def _generate(self, request: web.Request, as_list: bool = False) -> web.Response:
        body = await self._body(request)
        prompt, parameters = body["inputs"], body.get("parameters", {})
        limit = parameters.get("max_new_tokens") or 100
        if parameters.get("temperature") == 0:
            return self._refuse("validation", "Input validation error: `temperature` must be strictly positive")
        if (early := await self._trouble(prompt, limit)) is not None:
            return early
        text, reason = _answer(prompt, limit)
        reply: dict[str, Any] = {"generated_text": text}
        if parameters.get("details"):
            counted = parameters.get("decoder_input_details") and "!uncounted" not in prompt
            reply["details"] = {
                "finish_reason": "eos_token" if reason == "stop" else "length",
                "generated_tokens": len(text.encode()),
                "prefill": [_token(c, False) for c in prompt] if counted else [],
                "seed": None,
                "tokens": [_token(c, True) for c in text],
            }
        self.sent.append(("GenerateResponse", reply))
        return web.json_response([reply] if as_list else reply)

    async def _chat(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        prompt, limit = body["messages"][-1]["content"], body.get("max_tokens") or 100
        if (early := await self._trouble(prompt, limit)) is not None:
            return early
        text, reason = _answer(prompt, limit)
        sent, got = len(prompt.encode()), len(text.encode())
        reply = {
            "object": "chat.completion",
            "id": "",
            "created": 1706270835,
            "model": "tiny",
            "system_fingerprint": "3.3.5-native",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None}
                | {"finish_reason": reason}
            ],
            "usage": {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got},
        }
        self.sent.append(("ChatCompletion", reply))
        return web.json_response(reply)

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body = json.loads(await request.text())
        self.seen.append({"path": request.path, "headers": dict(request.headers), **body})
        return body

    async def _trouble(self, prompt: str, limit: int) -> web.Response | None:
        kind = prompt.split()[0].removeprefix("!") if prompt.startswith("!") else None
        if kind in STATUS:
            return self._refuse(kind, {"overloaded": "Model is overloaded"}.get(kind, f"Request failed: {kind}"))
        if kind == "slow":
            await asyncio.sleep(5)
        if kind == "odd":
            return web.json_response({"answer": 42})
        if kind == "html":
            return web.Response(text="<html>hello</html>", content_type="text/html")
        if kind == "key":
            return web.json_response({"error": "Invalid token sk-secret", "error_type": "auth"}, status=401)
        if (size := len(prompt.encode())) + limit > self.most:
            text = (
                f"`inputs` tokens + `max_new_tokens` must be <= {self.most}. Given: {size} `inputs` tokens and {limit}"
            )
            return self._refuse("validation", f"Input validation error: {text} `max_new_tokens`")
        return None

    def _refuse(self, kind: str, message: str) -> web.Response:
        reply = {"error": message, "error_type": kind}
        self.sent.append(("ErrorResponse", reply))
        headers = {"Retry-After": "7"} if kind == "overloaded" else {}
        return web.json_response(reply, status=STATUS[kind], headers=headers)


def _answer(prompt: str, limit: int) -> tuple[str, str]:
    """(what the model writes, why it ends): the prompt backwards, cut after `limit` tokens."""
    whole = prompt.removeprefix("!uncounted ").encode("ascii", "replace")[::-1]
    return whole[:limit].decode(), "stop" if len(whole) < limit else "length"


def _token(text: str, generated: bool) -> dict[str, Any]:
    token = {"id": ord(text), "text": text, "logprob": -0.34}
    return token | {"special": False} if generated else token

"""Any chat endpoint that speaks OpenAI's protocol: hosted ones, vLLM, TGI, `transformers serve`, llama.cpp, …"""

import asyncio
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from ..pool import LLM
from . import BackendError, Reply
from ._body import ACCEPTED, Body
from ._options import known_options, read_key
from ._reply import read_reply
from ._secrets import clean
from ._stream import ASKED, EVENTS, FIRST_TOKEN_S, NEXT_TOKEN_S, in_time, whole
from ._usage import check_tokenizer

NOT_SENT = (
    "concurrency",
    "timeout",
    "stream",
    "first_token_timeout",
    "next_token_timeout",
)  # options in the pool that are ours, not the server's
# What OpenAI's protocol knows, and what its well-known servers (vLLM, TGI, llama.cpp, OpenRouter) add to it; without
# `n`, because one answer is read and all would be paid.
SENT = (
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop",
    "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "response_format",
    "reasoning_effort", "reasoning", "verbosity", "service_tier", "store", "metadata", "user", "chat_template_kwargs",
    "guided_choice", "guided_json", "guided_regex", "min_tokens", "ignore_eos", "skip_special_tokens", "provider",
    "thinking", "enable_thinking", "max_new_tokens", "logprobs", "top_logprobs",
)  # fmt: skip
LOGPROBS = {"logprobs": True, "top_logprobs": 1}
"""What asks for log-probabilities. Without the second field llama.cpp adds 20 other tokens to each one, 2 kB."""
STALE_S = 2.0  # seconds in which a connection that was closed before it was used again has told so
SILENCE = {"first": FIRST_TOKEN_S, "next": NEXT_TOKEN_S}
KNOWN = (*SENT, "extra_body", *NOT_SENT)


@dataclass
class _Shared:
    """One connection pool for all LLMs behind one address."""

    session: aiohttp.ClientSession
    users: int = 0


# A session belongs to one event loop; an entry goes when its loop does.
_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


class Backend:
    """A chat endpoint at `base_url`.

    Options in the pool are sent with every request (``max_tokens``, ``temperature``, …) except ``concurrency``
    (requests in flight at this address) and ``timeout`` (seconds for one answer; 300, with ``stream`` no limit). Fields
    that are not in `SENT` go into the mapping ``extra_body``, which is laid over the request; any other name is a
    `UserError`.

    ``stream: true`` asks for the words as they come. A server that is slow is then left to finish, and one that is dead
    is told by its silence: ``first_token_timeout`` (seconds; 600, waiting in the server's queue included) and
    ``next_token_timeout`` (120). The server has to count the tokens of a stream (``stream_options``, as llama.cpp,
    vLLM, Ollama and OpenAI do); otherwise they are estimated.

    ``logprobs: true`` asks for the log-probability of every token; the log keeps their mean (``mean_logprob``).
    """

    def __init__(self, llm: LLM):
        known_options(llm.options, KNOWN, llm.name)
        check_tokenizer(llm)
        self.llm, self.name = llm, llm.name
        self.endpoint = llm.base_url.rstrip("/")
        self.model = llm.model_id
        self.options = {k: v for k, v in llm.options.items() if k not in NOT_SENT}
        if self.options.get("logprobs") is True:
            self.options = LOGPROBS | self.options
        self.concurrency = llm.options.get("concurrency")
        self.stream = bool(llm.options.get("stream", False))
        self.timeout = llm.options.get("timeout", None if self.stream else 300)
        self.silence = tuple(llm.options.get(f"{name}_token_timeout", default) for name, default in SILENCE.items())
        self._shared: _Shared | None = None
        self._key = read_key(llm)
        self._headers = {"Accept-Encoding": ACCEPTED}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"

    async def chat(self, messages: list[dict[str, Any]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Send one chat. `timeout` is in seconds for the whole answer; other options go to the server."""
        known_options(options, KNOWN, self.name)
        body = {"model": self.model, "messages": messages, **self.options, **options}
        body |= body.pop("extra_body", {})
        if self.stream:
            body |= ASKED
        began = time.perf_counter()
        limit = timeout or self.timeout
        try:
            response, content = await self._receive(body, limit)
        except TimeoutError as error:
            advice = (
                "" if self.stream else "; a server that is slow, not dead, needs options.stream or a longer timeout"
            )
            raise BackendError("timeout", f"no answer within {limit or self.silence[0]:g} s{advice}") from error
        except aiohttp.ClientError as error:
            raise BackendError("connection", clean(f"{type(error).__name__}: {error}", self._key)) from error
        except (ValueError, LookupError) as error:  # a reply that aiohttp cannot make sense of
            raise BackendError("bad_reply", clean(f"{type(error).__name__}: {error}", self._key)) from None
        seconds = time.perf_counter() - began
        return read_reply(self.llm, response.status, response.headers, content, messages, seconds, self._key)

    async def _receive(self, body: dict[str, Any], limit: float | None) -> tuple[aiohttp.ClientResponse, bytes]:
        """The response and its whole body, which for a stream is the completion that it adds up to."""
        # The first word is waited for as long as the headers, for some servers send these with it and some before.
        first, following = self.silence if self.stream else (None, None)
        began = time.perf_counter()
        async with self.post(body, aiohttp.ClientTimeout(total=limit, sock_read=first)) as response:
            received = Body(response.headers.get("Content-Encoding"))
            parts = response.content.iter_any()
            if self.stream:
                parts = in_time(parts, max(0.0, first - (time.perf_counter() - began)), following)
            async for part in parts:
                received.feed(part)
            content = received.finish()
        streamed = response.headers.get("Content-Type", "").startswith(EVENTS) and response.status == 200
        return response, whole(content) if streamed else content

    @asynccontextmanager
    async def post(
        self, body: dict[str, Any], timeout: aiohttp.ClientTimeout, packed: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The raw response to a body. It is not unpacked, and no redirect is followed.

        A server may close a connection that it had kept open just as the next request goes out on it, so a request that
        such a connection ends at once and without a word is sent again. On a new connection, or after `STALE_S`, when
        the server may have worked and will bill it, that is an error.
        """
        how = {"headers": self._headers if packed else self._headers | {"Accept-Encoding": "identity"}}
        how |= {"json": body, "timeout": timeout, "allow_redirects": False}
        response = None
        while response is None:
            used, began = {"before": False}, time.perf_counter()
            try:
                response = await self._session().post(
                    f"{self.endpoint}/chat/completions", trace_request_ctx=used, **how
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not used["before"] or time.perf_counter() - began > STALE_S:
                    raise
        async with response:
            yield response

    @property
    def key(self) -> str | None:
        """The key that is sent; None without one. It must never be shown."""
        return self._key

    async def close(self) -> None:
        """Leave the connection pool; the last one out closes it."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.users -= 1
            if shared.users == 0:
                _SESSIONS[asyncio.get_running_loop()].pop(self.endpoint, None)
                await shared.session.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._shared is None:
            sessions = _SESSIONS.setdefault(asyncio.get_running_loop(), {})
            if self.endpoint not in sessions:
                # The caller bounds what is in flight, so the connector does not.
                connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
                # Unpacked here, within a limit: aiohttp has none.
                session = aiohttp.ClientSession(
                    connector=connector, proxy=_proxy(self.endpoint), auto_decompress=False, trace_configs=[_reuse()]
                )
                sessions[self.endpoint] = _Shared(session)
            self._shared = sessions[self.endpoint]
            self._shared.users += 1
        return self._shared.session


def _reuse() -> aiohttp.TraceConfig:
    """What notes in a request's ``trace_request_ctx`` that its connection was used before."""

    async def note(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
        context.trace_request_ctx["before"] = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note)
    return trace


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address. Looked up once: aiohttp would do so for every request."""
    parts = urllib.parse.urlsplit(url)
    return None if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies().get(parts.scheme)

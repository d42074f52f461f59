"""Any chat endpoint that speaks OpenAI's protocol: hosted ones, vLLM, TGI, `transformers serve`, llama.cpp, …"""

import asyncio
import datetime
import email.utils
import json
import math
import os
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiohttp

from ...errors import UserError
from . import BackendError, Reply

if TYPE_CHECKING:
    from ..pool import LLM

NOT_SENT = ("concurrency", "timeout")  # options in the pool that are ours, not the server's
TOO_LONG = re.compile(
    r"context[ _](length|window)|maximum (context|prompt|input)|prompt is too long|too many tokens", re.IGNORECASE
)


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
    (requests in flight at this address) and ``timeout`` (seconds for one answer; 300).
    """

    def __init__(self, llm: "LLM"):
        self.name = llm.name
        self.endpoint = llm.base_url.rstrip("/")
        self.model = llm.model_id
        self.options = {k: v for k, v in llm.options.items() if k not in NOT_SENT}
        self.concurrency = llm.options.get("concurrency")
        self.timeout = llm.options.get("timeout", 300)
        self._shared: _Shared | None = None
        self._key = None
        if llm.api_key_env:
            self._key = os.environ.get(llm.api_key_env, "").strip()
            if not self._key:
                raise UserError(
                    f"{llm.name}: expected its key in the environment variable {llm.api_key_env}, found none: "
                    f"export {llm.api_key_env}=…"
                )
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}

    async def chat(self, messages: list[dict[str, str]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Send one chat. `timeout` is in seconds for the whole answer; other options go to the server."""
        body = {"model": self.model, "messages": messages, **self.options, **options}
        began = time.perf_counter()
        try:
            async with self._session().post(
                f"{self.endpoint}/chat/completions",
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=timeout or self.timeout),
                allow_redirects=False,
            ) as response:
                status, headers, content = response.status, response.headers, await response.read()
        except TimeoutError as error:
            raise BackendError("timeout", f"no answer within {timeout or self.timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise BackendError("connection", self._clean(f"{type(error).__name__}: {error}")) from error
        seconds = time.perf_counter() - began
        try:
            reply = json.loads(content)
        except ValueError:
            reply = None
        if status >= 300 or (isinstance(reply, dict) and reply.get("error") and not reply.get("choices")):
            raise self._refusal(status, headers, reply, content)
        return self._read(reply, content, seconds)

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
                session = aiohttp.ClientSession(connector=connector, proxy=_proxy(self.endpoint))
                sessions[self.endpoint] = _Shared(session)
            self._shared = sessions[self.endpoint]
            self._shared.users += 1
        return self._shared.session

    def _refusal(self, status: int, headers: Any, reply: Any, content: bytes) -> BackendError:
        """What went wrong, from the status and the body of an error."""
        error = reply.get("error") if isinstance(reply, dict) else None
        if status < 300 and isinstance(error, dict) and str(error.get("code", "")).isdigit():
            status = int(error["code"])  # some gateways send the real status inside a 200
        code = str(error.get("code", "")) if isinstance(error, dict) else ""
        message = error.get("message") if isinstance(error, dict) else error
        text = self._clean(str(message or content[:300].decode(errors="replace") or "no message"))
        text = f"HTTP {status}: {text}"
        if 300 <= status < 400:
            return BackendError("bad_request", f"{text}; it redirects to {headers.get('Location')}: use that base_url")
        if status == 429:
            return BackendError("rate_limit", text, retry_seconds(headers.get("Retry-After")))
        if status == 408:
            return BackendError("timeout", text)
        if status >= 500:
            return BackendError("server", text, retry_seconds(headers.get("Retry-After")))
        if status in (401, 403):
            return BackendError("auth", text)
        if status < 300:
            return BackendError("bad_reply", text)
        if code == "context_length_exceeded" or TOO_LONG.search(text):
            return BackendError("context_length", text)
        return BackendError("bad_request", text)

    def _read(self, reply: Any, content: bytes, seconds: float) -> Reply:
        try:
            choice = reply["choices"][0]
            message = choice["message"]
            text = message["content"]
        except (TypeError, KeyError, IndexError):
            start = self._clean(content[:200].decode(errors="replace"))
            raise BackendError("bad_reply", f"expected choices[0].message.content, found {start!r}") from None
        if isinstance(text, list):
            text = "".join(part.get("text") or "" for part in text if isinstance(part, dict))
        usage = _mapping(reply.get("usage"))
        details = _mapping(usage.get("completion_tokens_details"))
        return Reply(
            # Null content is an answer without text: all tokens went into reasoning, or the model refused in words.
            text=_well_formed(text or message.get("refusal") or ""),
            finish_reason=choice.get("finish_reason"),
            input_tokens=_count(usage.get("prompt_tokens")),
            output_tokens=_count(usage.get("completion_tokens")),
            reasoning_tokens=_count(details.get("reasoning_tokens")),
            latency_s=seconds,
        )

    def _clean(self, text: str) -> str:
        """One line without the key, which some servers repeat in their errors."""
        text = " ".join(text.split())
        return text.replace(self._key, "***") if self._key else text


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address. Looked up once: aiohttp would do so for every request."""
    parts = urllib.parse.urlsplit(url)
    return None if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies().get(parts.scheme)


def retry_seconds(header: str | None) -> float | None:
    """Seconds to wait from a Retry-After header: a number, or an HTTP date; None if there is none to read."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (moment - datetime.datetime.now(moment.tzinfo)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    """A token count, or None for anything else: what was not measured is not guessed."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _well_formed(text: str) -> str:
    """The text without half characters, which servers send when they cut an answer between two tokens."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

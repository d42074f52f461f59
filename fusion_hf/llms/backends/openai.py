"""Any chat endpoint that speaks OpenAI's protocol: hosted ones, vLLM, TGI, `transformers serve`, llama.cpp, …"""

import asyncio
import json
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from ..pool import LLM
from . import BackendError, Reply
from ._http import clean, refusal, well_formed
from ._options import known_options, read_key
from ._usage import check_tokenizer, count_usage

NOT_SENT = ("concurrency", "timeout")  # options in the pool that are ours, not the server's
# What OpenAI's protocol knows, and what its well-known servers (vLLM, TGI, llama.cpp, OpenRouter) add to it; without
# `n`, because one answer is read and all would be paid.
SENT = (
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop",
    "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "response_format",
    "reasoning_effort", "reasoning", "verbosity", "service_tier", "store", "metadata", "user", "chat_template_kwargs",
    "guided_choice", "guided_json", "guided_regex", "min_tokens", "ignore_eos", "skip_special_tokens", "provider",
    "thinking", "enable_thinking", "max_new_tokens",
)  # fmt: skip
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
    (requests in flight at this address) and ``timeout`` (seconds for one answer; 300). Fields that are not in `SENT`
    go into the mapping ``extra_body``, which is laid over the request; any other name is a `UserError`.
    """

    def __init__(self, llm: LLM):
        known_options(llm.options, KNOWN, llm.name)
        check_tokenizer(llm)
        self.llm, self.name = llm, llm.name
        self.endpoint = llm.base_url.rstrip("/")
        self.model = llm.model_id
        self.options = {k: v for k, v in llm.options.items() if k not in NOT_SENT}
        self.concurrency = llm.options.get("concurrency")
        self.timeout = llm.options.get("timeout", 300)
        self._shared: _Shared | None = None
        self._key = read_key(llm)
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}

    async def chat(self, messages: list[dict[str, str]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Send one chat. `timeout` is in seconds for the whole answer; other options go to the server."""
        known_options(options, KNOWN, self.name)
        body = {"model": self.model, "messages": messages, **self.options, **options}
        body |= body.pop("extra_body", {})
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
            raise BackendError("connection", clean(f"{type(error).__name__}: {error}", self._key)) from error
        seconds = time.perf_counter() - began
        try:
            reply = json.loads(content)
        except ValueError:
            reply = None
        if status >= 300 or (isinstance(reply, dict) and reply.get("error") and not reply.get("choices")):
            raise refusal(status, headers, reply, content, self._key)
        return self._read(reply, content, seconds, messages)

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

    def _read(self, reply: Any, content: bytes, seconds: float, messages: list[dict[str, str]]) -> Reply:
        try:
            choice = reply["choices"][0]
            message = choice["message"]
            text = message["content"]
        except (TypeError, KeyError, IndexError):
            start = clean(content[:200].decode(errors="replace"), self._key)
            raise BackendError("bad_reply", f"expected choices[0].message.content, found {start!r}") from None
        if isinstance(text, list):
            text = "".join(part.get("text") or "" for part in text if isinstance(part, dict))
        # Null content is an answer without text: all tokens went into reasoning, or the model refused in words.
        text = well_formed(text or message.get("refusal") or "")
        counts = count_usage(self.llm, reply.get("usage"), messages, text)
        return Reply(text=text, finish_reason=choice.get("finish_reason"), latency_s=seconds, **counts)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address. Looked up once: aiohttp would do so for every request."""
    parts = urllib.parse.urlsplit(url)
    return None if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies().get(parts.scheme)

"""huggingface_hub's `AsyncInferenceClient`: Inference Providers, Inference Endpoints, and Text Generation Inference."""

import asyncio
import inspect
import time
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from ...errors import UserError
from ...logs.logprobs import mean_logprob, token_logprobs
from ..pool import LLM
from . import BackendError, Reply
from ._body import ACCEPTED, Body
from ._chat import plain_chat
from ._http import refusal
from ._options import known_options, read_key
from ._reply import STOPS, read_json, read_reply
from ._secrets import clean, hide
from ._usage import check_tokenizer, count_usage

APIS = ("chat_completion", "text_generation")
NOT_SENT = ("api", "provider", "bill_to", "concurrency", "timeout")  # options that are ours or the client's
NOT_OPTIONS = ("self", "messages", "prompt", "model", "stream", "stream_options", "details")


class _Received(Exception):
    """The whole response to a request of the client."""

    def __init__(self, status: int, headers: Any, content: bytes):
        self.status, self.headers, self.content = status, headers, content


class _Client(AsyncInferenceClient):
    """The client makes the request; the reply is read here.

    Its own way of sending follows redirects, with the prompt, to any host, and reads and unpacks a body of any size.
    """

    async def _get_async_client(self) -> httpx2.AsyncClient:
        if self._async_client is None:
            client = await super()._get_async_client()
            # On an error, huggingface_hub's hook reads the body at once, whatever it unpacks to.
            client.event_hooks = {**client.event_hooks, "response": []}
        return self._async_client

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        client = await self._get_async_client()
        async with client.stream(
            "POST", request_parameters.url, json=request_parameters.json, data=request_parameters.data,
            headers={**request_parameters.headers, "Accept-Encoding": ACCEPTED}, timeout=None, follow_redirects=False,
        ) as response:  # fmt: skip
            received = Body(response.headers.get("Content-Encoding"))
            async for part in response.aiter_raw(1 << 16):
                received.feed(part)
        raise _Received(response.status_code, response.headers, received.finish())


class Backend:
    """A model at `base_url` (``http://host:port`` or with ``/v1``), or at an Inference Provider without `base_url`.

    Options in the pool: the parameters of the client's method, and

    - ``api``: ``chat_completion`` (the default), or ``text_generation``, the own protocol of Text Generation Inference.
      That one applies no chat template: the contents of the messages are sent as plain text, joined by line breaks.
      ``max_tokens`` is sent as ``max_new_tokens``, and a ``temperature`` of 0 as greedy decoding.
    - ``provider`` (``auto``) and ``bill_to``: see `huggingface_hub.InferenceClient`.
    - ``concurrency`` (requests in flight) and ``timeout`` (seconds for one answer; 300).

    The key is that of `api_key_env`. Without it a provider gets the token that huggingface_hub finds, and a `base_url`
    gets none: the user's Hub token goes to no server that the user did not name for it.
    """

    def __init__(self, llm: LLM):
        options = dict(llm.options)
        self.api = options.get("api", APIS[0])
        if self.api not in APIS:
            raise UserError(f"{llm.name}: expected api one of {', '.join(APIS)}, found {self.api!r}")
        if self.api == "text_generation" and not llm.base_url:
            raise UserError(f"{llm.name}: expected base_url because api is 'text_generation', found None")
        if constants.is_offline_mode():
            raise UserError(
                f"{llm.name}: expected the Hub to be on line, found HF_HUB_OFFLINE=1, which blocks huggingface_hub's "
                "client even for this machine: unset it, or use the backend 'openai'"
            )
        self._known = (*_parameters(self.api), *NOT_SENT)
        known_options(options, self._known, llm.name)
        check_tokenizer(llm)
        self.llm, self.name = llm, llm.name
        self.options = {k: v for k, v in options.items() if k not in NOT_SENT}
        self.concurrency = options.get("concurrency")
        self.timeout = options.get("timeout", 300)
        self._key = read_key(llm)
        common = {"timeout": None, "bill_to": options.get("bill_to")}  # the whole answer is timed here
        if llm.base_url:
            self.endpoint = llm.base_url.rstrip("/")
            self._client = _Client(base_url=self.endpoint, api_key=self._key or "none", **common)
        else:
            provider = options.get("provider", "auto")
            self.endpoint = f"provider:{provider}"
            self._client = _Client(provider=provider, api_key=self._key, **common)
            self._key = self._key or get_token()  # what the client sends is also what it may hear back

    async def chat(self, messages: list[dict[str, Any]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Send one chat. `timeout` is in seconds for the whole answer; other options go to the client's method."""
        known_options(options, self._known, self.name)
        limit = timeout or self.timeout
        ask, read = (
            (self._complete, read_reply) if self.api == "chat_completion" else (self._generate, self._read_generated)
        )
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit):
                await ask(messages, {**self.options, **options})
        except _Received as received:
            seconds = time.perf_counter() - began
            response = (received.status, received.headers, received.content)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise BackendError("timeout", f"no answer within {limit:g} s") from error
        except httpx2.HTTPError as error:
            raise BackendError("connection", clean(f"{type(error).__name__}: {error}", self._key)) from error
        except (ValueError, TypeError, LookupError, AttributeError, httpx2.InvalidURL, HfHubHTTPError) as error:
            # What the client refuses to send, and what the Hub says when it is asked who serves the model.
            raise BackendError("bad_request", clean(f"{type(error).__name__}: {error}", self._key)) from None
        return read(self.llm, *response, messages, seconds, self._key)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _complete(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
        await self._client.chat_completion(messages, model=self.llm.model_id, **options)

    async def _generate(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
        if "max_tokens" in options:
            options["max_new_tokens"] = options.pop("max_tokens")
        if "temperature" in options:
            # The server refuses a temperature of 0.
            greedy = not options["temperature"]
            options = options | {"do_sample": not greedy, "temperature": None if greedy else options["temperature"]}
        if isinstance(options.get("stop"), str):
            options["stop"] = [options["stop"]]
        options.setdefault("decoder_input_details", True)  # without it the server does not count the prompt
        prompt = "\n".join(message["content"] for message in plain_chat(messages, self.name))
        await self._client.text_generation(prompt, details=True, return_full_text=False, **options)

    @staticmethod
    def _read_generated(
        llm: LLM, status: int, headers: Any, content: bytes, messages: list[dict], seconds: float, key: str | None
    ) -> Reply:
        """The answer in a body of Text Generation Inference's own protocol; see `read_reply`."""
        reply = read_json(content)
        reply = reply[0] if isinstance(reply, list) and reply else reply
        if not 200 <= status < 300 or (isinstance(reply, dict) and reply.get("error")):
            raise refusal(status, headers, reply, content, key)
        text = reply.get("generated_text") if isinstance(reply, dict) else None
        if not isinstance(text, str):
            start = clean(content.decode(errors="replace"), key, 200)
            raise BackendError("bad_reply", f"expected generated_text, found {start!r}")
        details = reply.get("details") if isinstance(reply.get("details"), dict) else {}
        # An empty prefill means that the server did not count the prompt, for there is no prompt without tokens.
        prefill = details.get("prefill")
        sent = len(prefill) if isinstance(prefill, list) and prefill else None
        usage = {"prompt_tokens": sent, "completion_tokens": details.get("generated_tokens")}
        reason = details.get("finish_reason")
        reason = STOPS.get(reason, hide(reason, key)) if isinstance(reason, str) else reason
        counts = count_usage(llm, usage, messages, text)
        mean = mean_logprob(token_logprobs(details.get("tokens")))
        return Reply(text=hide(text, key), finish_reason=reason, latency_s=seconds, mean_logprob=mean, **counts)


def _parameters(api: str) -> tuple[str, ...]:
    """The options that a method of the client takes."""
    names = inspect.signature(getattr(AsyncInferenceClient, api)).parameters
    extra = ("max_tokens",) if api == "text_generation" else ()
    return (*extra, *(n for n in names if n not in (*NOT_OPTIONS, "return_full_text")))

"""huggingface_hub's `AsyncInferenceClient`: Inference Providers, Inference Endpoints, and Text Generation Inference."""

import asyncio
import inspect
import json
import time
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from ...errors import UserError
from ..pool import LLM
from . import BackendError, Reply
from ._http import clean, refusal, well_formed
from ._options import known_options, read_key
from ._usage import check_tokenizer, count_usage

APIS = ("chat_completion", "text_generation")
NOT_SENT = ("api", "provider", "bill_to", "concurrency", "timeout")  # options that are ours or the client's
NOT_OPTIONS = ("self", "messages", "prompt", "model", "stream", "stream_options", "details")
STOPS = {"eos_token": "stop", "stop_sequence": "stop"}  # Text Generation Inference's words -> OpenAI's


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
            self._client = AsyncInferenceClient(base_url=self.endpoint, api_key=self._key or "none", **common)
        else:
            provider = options.get("provider", "auto")
            self.endpoint = f"provider:{provider}"
            self._client = AsyncInferenceClient(provider=provider, api_key=self._key, **common)

    async def chat(self, messages: list[dict[str, str]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Send one chat. `timeout` is in seconds for the whole answer; other options go to the client's method."""
        known_options(options, self._known, self.name)
        limit = timeout or self.timeout
        ask = self._complete if self.api == "chat_completion" else self._generate
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit):
                fields = await ask(messages, {**self.options, **options})
        except (TimeoutError, InferenceTimeoutError) as error:
            raise BackendError("timeout", f"no answer within {limit:g} s") from error
        except httpx2.TransportError as error:
            raise BackendError("connection", clean(f"{type(error).__name__}: {error}", self._key)) from error
        except Exception as error:
            # The errors of text_generation hide the response that caused them.
            for cause in (error, error.__cause__):
                if isinstance(cause, HfHubHTTPError) and cause.response is not None:
                    raise self._refusal(cause.response) from error
            # The client reads a reply without checking it first.
            if isinstance(error, (ValueError, TypeError, KeyError, IndexError, AttributeError)):
                raise BackendError("bad_reply", clean(f"{type(error).__name__}: {error}", self._key)) from error
            raise
        return Reply(latency_s=time.perf_counter() - began, **fields)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _complete(self, messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, Any]:
        reply = await self._client.chat_completion(messages, model=self.llm.model_id, **options)
        if reply.get("error") and not reply.get("choices"):  # a gateway's error inside a 200
            content = json.dumps(reply).encode()
            raise refusal(200, {}, reply, content, self._key)
        choice = reply.choices[0]
        text = well_formed(choice.message.content or choice.message.get("refusal") or "")
        counts = count_usage(self.llm, reply.get("usage"), messages, text)
        return {"text": text, "finish_reason": STOPS.get(choice.finish_reason, choice.finish_reason), **counts}

    async def _generate(self, messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, Any]:
        if "max_tokens" in options:
            options["max_new_tokens"] = options.pop("max_tokens")
        if "temperature" in options:
            # The server refuses a temperature of 0.
            greedy = not options["temperature"]
            options = options | {"do_sample": not greedy, "temperature": None if greedy else options["temperature"]}
        if isinstance(options.get("stop"), str):
            options["stop"] = [options["stop"]]
        options.setdefault("decoder_input_details", True)  # without it the server does not count the prompt
        prompt = "\n".join(m["content"] for m in messages)
        reply = await self._client.text_generation(prompt, details=True, return_full_text=False, **options)
        details = reply.details
        usage = {}
        if details is not None:
            # An empty prefill means that the server did not count the prompt, for there is no prompt without tokens.
            usage = {"prompt_tokens": len(details.prefill) or None, "completion_tokens": details.generated_tokens}
        reason = details.finish_reason if details is not None else None
        text = well_formed(reply.generated_text)
        return {"text": text, "finish_reason": STOPS.get(reason, reason)} | count_usage(self.llm, usage, messages, text)

    def _refusal(self, response: httpx2.Response) -> BackendError:
        try:
            reply = response.json()
        except (ValueError, httpx2.ResponseNotRead):
            reply = None
        try:
            content = response.content
        except httpx2.ResponseNotRead:
            content = b""
        return refusal(response.status_code, response.headers, reply, content, self._key)


def _parameters(api: str) -> tuple[str, ...]:
    """The options that a method of the client takes."""
    names = inspect.signature(getattr(AsyncInferenceClient, api)).parameters
    extra = ("max_tokens",) if api == "text_generation" else ()
    return (*extra, *(n for n in names if n not in (*NOT_OPTIONS, "return_full_text")))

"""How an LLM is reached. A backend is a file in this folder with a class ``Backend``, found by its file name.

One that loads its model in this process has a line ``LOCAL = True``.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from ... import plugins
from ..options import MOST_TOKENS
from ..pool import LLM
from ._options import known_options
from ._usage import count_usage

# Kind of error -> whether the same request may succeed later.
KINDS = {
    "rate_limit": True,
    "server": True,
    "timeout": True,
    "connection": True,
    "bad_reply": True,
    "auth": False,
    "bad_request": False,
    "context_length": False,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Half characters, which servers send when they cut a text between two tokens, become "\ufffd".

    Attributes:
        text: What the LLM wrote; may be empty.
        finish_reason: ``stop``, ``length``, or the server's own word; None if it gave none.
        input_tokens: As counted by the backend; None means not measured.
        output_tokens: The same, reasoning and the end token included.
        reasoning_tokens: The part of `output_tokens` that was reasoning; None means not measured.
        latency_s: Seconds from sending to the whole answer; for a batched local model, those of its batch.
        usage_source: ``server`` if the engine that answered counted the tokens, ``estimated/<tokenizer or rule>`` if
            at least one count is ours (see `fusion_hf.llms.backends._usage`), None without counts.
        cached_tokens: The part of `input_tokens` that the server had cached; None means not measured.
        reasoning: Reasoning that the server gives beside the text; what stands inside the text stays there.
        served_model: The model that the server says has answered; None if it does not say.
        reported_cost: USD that the server says the answer cost; None if it does not say.
        mean_logprob: Mean log-probability of the answer's tokens in nats, at most 0; None means not measured.

    Raises:
        BackendError: Kind ``bad_reply``, for a value that no log row can hold.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    latency_s: float
    usage_source: str | None = None
    cached_tokens: int | None = None
    reasoning: str | None = None
    served_model: str | None = None
    reported_cost: float | None = None
    mean_logprob: float | None = None

    def __post_init__(self) -> None:
        for name, most in (("text", None), ("reasoning", None), ("finish_reason", 100), ("served_model", 200)):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "text"):
                raise BackendError("bad_reply", f"expected {name} to be a text, found {type(value).__name__}")
            if value:
                object.__setattr__(self, name, well_formed(value[:most]))
        for name in ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and 0 <= value <= MOST_TOKENS):
                raise BackendError("bad_reply", f"expected {name} from 0 to {MOST_TOKENS}, found {value!r:.40}")
        for name in ("latency_s", "reported_cost"):
            value = getattr(self, name)
            if value is None and name == "reported_cost":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise BackendError("bad_reply", f"expected {name} to be a number of at least 0, found {value!r:.40}")
        value = self.mean_logprob
        if value is not None and not (isinstance(value, float) and -math.inf < value <= 0):
            raise BackendError("bad_reply", f"expected mean_logprob to be a number of at most 0, found {value!r:.40}")


def well_formed(text: str) -> str:
    """The text without halves of surrogate pairs, which no file holds."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class BackendError(Exception):
    """A request that got no answer.

    Attributes:
        kind: A key of `KINDS`.
        retry_after: Seconds that the server asked to wait, or None.
    """

    def __init__(self, kind: str, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after

    @property
    def may_retry(self) -> bool:
        """Whether the same request may succeed later."""
        return KINDS[self.kind]


class Backend(Protocol):
    """What every backend offers.

    Attributes:
        endpoint: What requests share (a server, a device); limits hold for an endpoint.
        concurrency: How many requests it likes in flight at once; None leaves it to the caller.
    """

    endpoint: str
    concurrency: int | None

    async def chat(self, messages: list[dict[str, str]], **options: Any) -> Reply:
        """Answer a chat. `options` override those of the pool. Raises `BackendError`."""
        ...

    async def close(self) -> None:
        """Give back connections and memory. A closed backend may not be used again."""
        ...


def open_backend(llm: LLM) -> Backend:
    """The backend of an LLM, ready to chat. Raises `UserError` for a missing key, model or package."""
    return plugins.load("backends", llm.backend).Backend(llm)


__all__ = ["KINDS", "Backend", "BackendError", "Reply", "count_usage", "known_options", "open_backend"]

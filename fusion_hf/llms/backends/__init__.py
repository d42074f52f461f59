"""How an LLM is reached. A backend is a file in this folder with a class ``Backend``, found by its file name.

One that loads its model in this process has a line ``LOCAL = True``.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from ... import plugins
from ..pool import LLM

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
    """One answer.

    Attributes:
        text: What the LLM wrote; may be empty.
        finish_reason: ``stop``, ``length``, or the server's own word; None if it gave none.
        input_tokens: As counted by the backend; None means not measured.
        output_tokens: The same, reasoning and the end token included.
        reasoning_tokens: The part of `output_tokens` that was reasoning; None means not measured.
        latency_s: Seconds from sending to the whole answer; for a batched local model, those of its batch.
        usage_source: ``server`` if the engine that answered counted the tokens, ``estimated/<tokenizer or rule>`` if
            at least one count is ours (see `fusion_hf.llms.backends._usage`), None without counts.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    latency_s: float
    usage_source: str | None = None


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

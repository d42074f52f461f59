"""What a client is told when there is no answer: an HTTP status and an error in OpenAI's form."""

import json
import math
from typing import Any

from ..llms.backends import BackendError

STATUS = {
    "rate_limit": (429, "rate_limit_error"),
    "server": (502, "upstream_error"),
    "timeout": (504, "timeout"),
    "connection": (502, "upstream_error"),
    "bad_reply": (502, "upstream_error"),
    "auth": (502, "upstream_error"),
    "bad_request": (400, "invalid_request_error"),
    "context_length": (400, "invalid_request_error"),
}
"""Kind of a `BackendError` -> status and type. A key that an LLM refuses is ours, so no 401 reaches the client."""


class ServeError(Exception):
    """A request that gets no answer.

    Attributes:
        status: HTTP status.
        kind: OpenAI's ``error.type``.
        code: OpenAI's ``error.code``, for programs; None where the type says it all.
        retry_after: Seconds after which it is worth asking again; None where it is not said.
        more: Further fields of the error (``attempts``, say).
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        code: str | None = None,
        retry_after: float | None = None,
        **more: Any,
    ):
        super().__init__(message)
        self.status, self.kind, self.code, self.retry_after, self.more = status, kind, code, retry_after, more

    @classmethod
    def of(cls, error: BackendError, **more: Any) -> "ServeError":
        """What the client is told of the last LLM's error."""
        status, kind = STATUS[error.kind]
        code = "context_length_exceeded" if error.kind == "context_length" else error.kind
        # The reason names variables and addresses of ours.
        told = "this server has no key that the LLM takes; its log says why" if error.kind == "auth" else str(error)
        return cls(status, told, kind, code, error.retry_after, **more)

    def to_dict(self) -> dict[str, Any]:
        """The body in OpenAI's form."""
        return {"error": {"message": str(self), "type": self.kind, "code": self.code, "param": None, **self.more}}

    def body(self) -> bytes:
        """The same as bytes."""
        return json.dumps(self.to_dict()).encode()

    def headers(self) -> dict[str, str]:
        """Headers that belong to the error."""
        return {} if self.retry_after is None else {"Retry-After": str(math.ceil(self.retry_after))}

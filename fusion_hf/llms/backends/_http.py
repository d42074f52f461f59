"""What chat servers say, read the same way by every backend that speaks HTTP."""

import datetime
import email.utils
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from . import BackendError
from ._secrets import clean

TOO_LONG = re.compile(
    r"context[ _](length|window)|maximum (context|prompt|input|model)|prompt is too long|too many tokens"
    # Text Generation Inference: "`inputs` tokens + `max_new_tokens` must be <= 4096", "`inputs` must have less than …"
    r"|`inputs` (tokens \+|must have less than)",
    re.IGNORECASE,
)


def refusal(status: int, headers: Mapping[str, str], reply: Any, content: bytes, key: str | None) -> BackendError:
    """What went wrong, from the status and the body of an error."""
    error = reply.get("error") if isinstance(reply, dict) else None
    code = _code(error)
    if status < 300 and code.isdecimal() and len(code) == 3:
        status = int(code)  # some gateways send the real status inside a 200
    text = f"HTTP {status}: {_message(error, content, key)}"
    if 300 <= status < 400:
        place = clean(str(headers.get("Location")), key)
        return BackendError("bad_request", f"{text}; it redirects to {place}: use that base_url")
    if status == 429:
        return BackendError("rate_limit", text, retry_seconds(headers.get("Retry-After")))
    if status in (408, 504):
        return BackendError("timeout", text)
    # 424 is how Text Generation Inference says that its model failed on the way.
    if status >= 500 or status == 424:
        return BackendError("server", text, retry_seconds(headers.get("Retry-After")))
    if status in (401, 403):
        return BackendError("auth", text)
    if status < 300:
        return BackendError("bad_reply", text)
    if code == "context_length_exceeded" or TOO_LONG.search(text):
        return BackendError("context_length", text)
    return BackendError("bad_request", text)


def _code(error: Any) -> str:
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and not isinstance(code, bool) and 0 < code < 10**6:
        return str(code)
    return code[:100] if isinstance(code, str) and code.isascii() else ""


def _message(error: Any, content: bytes, key: str | None) -> str:
    """What a server says in an error, one line, at most 300 characters, without the key."""
    said = error.get("message") if isinstance(error, dict) else error
    if said and not isinstance(said, str):
        try:
            said = json.dumps(said, default=str)
        except (ValueError, RecursionError):
            said = ""
    return clean(said or content.decode(errors="replace") or "no message", key)


def retry_seconds(header: str | None) -> float | None:
    """Seconds to wait from a Retry-After header: a number, or an HTTP date; None if there is none to read."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
            seconds = (moment - datetime.datetime.now(moment.tzinfo)).total_seconds()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

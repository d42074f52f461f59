"""What chat servers say, read the same way by every backend that speaks HTTP."""

import datetime
import email.utils
import math
import re
from collections.abc import Mapping
from typing import Any

from . import BackendError

TOO_LONG = re.compile(
    r"context[ _](length|window)|maximum (context|prompt|input|model)|prompt is too long|too many tokens"
    # Text Generation Inference: "`inputs` tokens + `max_new_tokens` must be <= 4096", "`inputs` must have less than …"
    r"|`inputs` (tokens \+|must have less than)",
    re.IGNORECASE,
)


def refusal(status: int, headers: Mapping[str, str], reply: Any, content: bytes, key: str | None) -> BackendError:
    """What went wrong, from the status and the body of an error."""
    error = reply.get("error") if isinstance(reply, dict) else None
    if status < 300 and isinstance(error, dict) and str(error.get("code", "")).isdigit():
        status = int(error["code"])  # some gateways send the real status inside a 200
    code = str(error.get("code", "")) if isinstance(error, dict) else ""
    message = error.get("message") if isinstance(error, dict) else error
    text = clean(str(message or content[:300].decode(errors="replace") or "no message"), key)
    text = f"HTTP {status}: {text}"
    if 300 <= status < 400:
        return BackendError("bad_request", f"{text}; it redirects to {headers.get('Location')}: use that base_url")
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


def clean(text: str, key: str | None) -> str:
    """One line without the key, which some servers repeat in their errors."""
    text = " ".join(text.split())
    return text.replace(key, "***") if key else text


def well_formed(text: str) -> str:
    """The text without half characters, which servers send when they cut an answer between two tokens."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

"""Errors that the user can act on, and the import of optional packages."""

import importlib
import re
from types import ModuleType


class UserError(ValueError):
    """Wrong input. The message is one line that says what was expected, what was found and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingPackage(UserError, ImportError):
    """An optional package is not installed; the message holds the line that installs it."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra of fusion_hf installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{module} cannot be imported ({error}): install it with  pip install 'fusion_hf[{extra}]'"
        ) from error


# Upload addresses are signed in their query.
_QUERY = re.compile(r"\?\S+")
_TROUBLE = "the Hub has trouble: try again later"
_ADVICE = {
    400: "it does not accept what was sent",
    401: "no such repository for this token: set HF_TOKEN, or log in with  hf auth login",
    403: "the token may not do that there: set another HF_TOKEN, or log in with  hf auth login",
    404: "no such repository or revision (a private one needs HF_TOKEN or  hf auth login)",
    409: "somebody else changes the repository right now: try again",
    412: "somebody else changed the repository meanwhile: try again",
    413: "it is too large for one request",
    429: "too many requests: try again later",
}


def hub_reason(error: BaseException) -> str:
    """Why the Hub, or the way to it, refused, in one line: status, what it said, and what to do. Holds no URL query."""
    chain = [error]
    while chain[-1].__cause__ is not None and len(chain) < 5:
        chain.append(chain[-1].__cause__)
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    response = next((r for r in (getattr(e, "response", None) for e in chain) if r is not None), None)
    if response is None:
        if type(chain[-1]).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            text = f"{text} ({chain[-1] or type(chain[-1]).__name__}): the connection was cut, or there is none"
        if "xet-write-token" in text:
            text += ": a Hub without Xet storage needs HF_HUB_DISABLE_XET=1"
        return _QUERY.sub("", text)[:600]
    said = response.headers.get("X-Error-Message") or getattr(chain[-1], "server_message", None) or ""
    advice = _ADVICE.get(response.status_code, _TROUBLE if response.status_code >= 500 else "")
    wait = response.headers.get("Retry-After")
    if response.status_code == 429 and wait:
        advice = f"too many requests: try again in {wait} s"
    return ", ".join(part for part in (f"{response.status_code} {response.reason_phrase}", said[:200], advice) if part)

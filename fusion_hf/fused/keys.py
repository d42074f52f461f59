"""Which API keys a system's own pool may have sent, and where to: somebody else may have written its addresses."""

from collections.abc import Collection
from urllib.parse import urlsplit

from ..errors import UserError
from ..llms.pool import LLM, Pool

YOURS = "name a pool file of your own with --pool (pool=)"


def key_and_host(llm: LLM) -> str | None:
    """The variable whose key an LLM of a pool is sent, and where to, as ``VARIABLE=HOST``; None for none.

    A host without encryption shows it (``http://…``). Without an address it is ``provider:NAME`` of the Inference
    Providers, or ``backend:NAME``.
    """
    if llm.api_key_env:
        return f"{llm.api_key_env}={_host(llm)}"
    if llm.backend == "inference_client" and llm.base_url is None:
        return f"HF_TOKEN={_host(llm)}"
    return None


def _host(llm: LLM) -> str:
    if llm.base_url:
        parts = urlsplit(llm.base_url)
        return parts.netloc if parts.scheme == "https" else f"{parts.scheme}://{parts.netloc}"
    if llm.backend == "inference_client":
        return f"provider:{llm.options.get('provider', 'auto')}"
    return f"backend:{llm.backend}"


def allowed_keys(pool: Pool, keys: Collection[str]) -> frozenset[str]:
    """`keys`, once each is a pair that `pool` uses.

    Raises:
        UserError: One is not: a typing error, or the pool has changed since.
    """
    used = sorted({key for key in map(key_and_host, pool.values()) if key is not None})
    if not isinstance(keys, list | tuple | set | frozenset) or not all(isinstance(key, str) for key in keys):
        raise UserError(f"keys: expected a list of VARIABLE=HOST, found {keys!r}")
    for key in keys:
        if key not in used:
            raise UserError(f"keys: expected one of {', '.join(used) or 'none'}, which the pool uses, found {key!r}")
    return frozenset(keys)


def refusal(pool: Pool, llm: str) -> str:
    """Why an LLM is not asked, and what to say so that it is."""
    used = sorted({key for key in map(key_and_host, pool.values()) if key is not None})
    return (
        f"{llm}: this system's own pool would send API keys of yours to addresses in it. If you trust them, say so "
        f"with {' '.join(f'--keys {key}' for key in used)} (keys={used}), or {YOURS}"
    )

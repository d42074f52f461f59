"""The options of an LLM in the pool, checked before anything is asked: what they may say, and what they let it cost."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import UserError

MOST_TOKENS = 2**31 - 1  # what the log's int32 holds; no answer has more

# Names without underscores, in lower case, because servers take several spellings.
LIMITS = ("maxtokens", "maxcompletiontokens", "maxnewtokens", "maxoutputtokens", "maxtokenstosample", "npredict",
          "numpredict")  # fmt: skip
THINKING = ("budgettokens", "thinkingbudget", "reasoningbudget")  # tokens that some servers give beside the limit
SEVERAL = ("n", "bestof", "numreturnsequences", "numcompletions", "numgenerations", "numcandidates", "candidatecount")
OURS = ("messages", "prompt", "input", "inputs", "model", "stream", "streamoptions", "extrabody")
# What lets a server charge for more than the tokens of one answer of this LLM; no cap could hold then.
UNPRICED = ("models", "fallbacks", "route", "plugins", "websearch", "websearchoptions", "enablesearch")
# What these are by the prices of the pool, or below; other values cost more.
PRICED = {"servicetier": ("auto", "default", "flex", "standard_only"), "modalities": (["text"],)}
TIMES = ("timeout", "first_token_timeout", "next_token_timeout")  # seconds
MOST_CONCURRENCY, MOST_NODES, MOST_DEPTH = 10_000, 10_000, 20


def plain_name(name: Any) -> str:
    """The name without underscores and hyphens, in lower case."""
    return str(name).replace("_", "").replace("-", "").lower()


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that no LLM can be asked with, or that would pay for what nobody reads.

    Raises:
        UserError: It names the option: a number that is not finite; a limit of tokens that is no whole number from 1
            on; several answers a question; a field that the request has itself in ``extra_body``; a value that is
            neither text, number, list nor mapping.
    """
    body = options.get("extra_body")
    if body is not None and not isinstance(body, Mapping):
        raise UserError(f"options.extra_body: expected a mapping, found {type(body).__name__}")
    for path, name, value in _walk(options):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not (-1e18 < value < 1e18):
            raise UserError(f"options.{path}: expected a finite number, found {value!r:.40}")
        plain, top = plain_name(name), path in (name, f"extra_body.{name}")
        if value is None:
            continue
        if plain in (*LIMITS, *THINKING):
            _whole(path, value, MOST_TOKENS)
        elif top and plain in SEVERAL and not (number and value == 1):
            raise UserError(f"options.{path}: expected 1, found {value!r:.40}: one answer is read, and all are paid")
        elif path.startswith("extra_body.") and top and plain in OURS and value is not False:
            raise UserError(f"options.{path}: expected no such field, the request has it already")
        elif path == "concurrency":
            _whole(path, value, MOST_CONCURRENCY)
        elif path in (*TIMES, "temperature") and not (number and value >= 0 and (value or path not in TIMES)):
            raise UserError(f"options.{path}: expected a number {'above' if path in TIMES else 'of at least'} 0, "
                            f"found {value!r:.40}")  # fmt: skip


def check_capped(name: str, options: Mapping[str, Any]) -> None:
    """Refuse, under a cap in USD, options whose price nobody knows beforehand."""
    for path, key, value in _walk(options):
        tool = key == "type" and path.startswith(("tools", "extra_body.tools")) and path.count("[") == 1
        plain = plain_name(key)
        dearer = plain in PRICED and value is not None and value not in PRICED[plain]
        if (plain in UNPRICED and value not in (None, False)) or dearer or (tool and value != "function"):
            raise UserError(
                f"max_usd cannot hold with options.{path} of {name}, which servers charge for by prices that are not "
                "in the pool: take it out, or ask without max_usd"
            )


def answer_limit(options: Mapping[str, Any]) -> int | None:
    """Most tokens that an answer may have by these options; None if they do not say."""
    sent = {**options, **(options.get("extra_body") or {})}
    limits = [value for name, value in sent.items() if plain_name(name) in LIMITS and value is not None]
    if not limits:
        return None
    top = set(map(str, sent))
    thinking = [
        value for path, name, value in _walk({k: v for k, v in sent.items() if k != "extra_body"})
        if value is not None and (plain_name(name) in THINKING or (plain_name(name) in LIMITS and path not in top))
    ]  # fmt: skip
    return max(limits) + max(thinking, default=0)


def _whole(path: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        name = path.rsplit(".", 1)[-1]
        large = isinstance(value, int) and value > most
        limit = f"at most {most}" if large else "at least 1"
        raise UserError(f"options.{path}: expected {name} to be a whole number of {limit}, found {value!r:.40}")


def _walk(options: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(path, last name, value) of everything in nested options, within limits that no real ones reach."""
    waiting = [(str(name), name, value, 1) for name, value in options.items()]
    seen = 0
    while waiting:
        path, name, value, depth = waiting.pop(0)
        seen += 1
        if seen > MOST_NODES or depth > MOST_DEPTH:
            raise UserError(
                f"options.{path[:80]}: expected at most {MOST_NODES} values in {MOST_DEPTH} levels, found more"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"options.{path}: expected a finite number, found {value}")
        yield path, name, value
        if isinstance(value, Mapping):
            waiting += [(f"{path}.{key}", key, item, depth + 1) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{path}[{i}]", None, item, depth + 1) for i, item in enumerate(value)]
        elif value is not None and not isinstance(value, str | int | float):
            raise UserError(f"options.{path}: expected a text, a number, a list or a mapping, found "
                            f"{type(value).__name__} {value!r:.40}")  # fmt: skip

"""Before the first question, for any engine: limits, the pool that a folder remembers, what it answers already."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..logs.key_set import KeySet
from ..logs.shards import read_rows, repair, row_key
from .backends.vllm import ENGINE_OPTIONS
from .budget import charged, dearer_than
from .limits import Limits
from .options import check_capped
from .pool import LLM, Pool, load_pool, save_pool
from .record import Summary
from .requests import Request, messages_of, worst_case
from .reserved_spend import reserved_usd
from .token_limits import answer_limit

# Options that do not change an answer.
RUNNING = ("concurrency", "timeout", "batch_size", "token_budget", "device", *ENGINE_OPTIONS)


def prepare(
    pool: Pool, requests: Iterable[Request], out: str | PathLike[str], limits: Limits, done: Callable[[Summary], None]
) -> tuple[Summary, Iterator[Request], Limits, float]:
    """Everything before the first question, for any engine.

    Returns:
        The summary so far, the requests that `out` does not answer (the others are counted and `done` as they are
        read), the limits with what the folder knows of its LLMs, and the USD that count against the cap.
    """
    repair(out)
    _remember_pool(pool, Path(out))
    known, spent, reserved, dearer = already(out, pool, limits.max_usd)
    if limits.max_usd is not None:
        reserved += reserved_usd(out)
    summary = Summary(usd_total=spent)
    new = _new_requests(requests, pool, known, summary, done)
    return summary, new, replace(limits, dearer=dearer), spent + reserved


def check_limits(limits: Limits, pool: Pool) -> None:
    """Refuse limits that no run can keep, and a cap where a price or the length of an answer is not known."""
    for name in ("concurrency", "timeout", "max_failures"):
        value = getattr(limits, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"expected {name} above 0, found {value}")
    if not 0 <= limits.retries < math.inf:
        raise UserError(f"expected retries >= 0, found {limits.retries}")
    if limits.max_usd is not None:
        if not limits.max_usd >= 0:
            raise UserError(f"expected max_usd >= 0, found {limits.max_usd}")
        for llm in pool.values():
            if None in (llm.input_price, llm.output_price):
                raise UserError(f"max_usd needs prices: {llm.name} has none in the pool (0 means free of charge)")
            if max(llm.prices[2:]) and answer_limit(llm) is None:
                raise UserError(f"max_usd needs to know how long answers may be: give {llm.name} the option max_tokens")
            check_capped(llm.name, llm.options)


def check_paid(llm: LLM, max_usd: float | None) -> None:
    """Refuse to ask an LLM that may charge, where nobody said how much it may be.

    Free of charge are models in this process and prices of 0; a price that is not known is not.
    """
    prices = llm.prices
    if max_usd is None and not llm.local and any(price != 0 for price in prices):
        charges = "may charge (its price is not known)" if None in prices else "is not free of charge"
        raise UserError(f"{llm.name} {charges}: expected max_usd, what its answers may cost at most, found none")


def already(
    out: str | PathLike[str], pool: Pool, max_usd: float | None
) -> tuple[KeySet, float, float, dict[str, float]]:
    """(keys that are answered, the USD they cost, what they may have cost beyond that, see `Limits.dearer`).

    The last two are only told under a cap. What answers may have cost beyond their cost is the worst case of those
    without the server's count, and what a server itself says that it charged.
    """
    done, spent, reserved = KeySet(), 0.0, 0.0
    dearer: dict[str, float] = {}
    for row in read_rows(out):
        if row.get("error") is None:
            done.add(row_key(row))
            cost = _usd(row, "cost", out)
            spent += cost or 0.0
            if max_usd is None:
                continue
            reported, most = _usd(row, "reported_cost", out), 0.0
            if row["llm"] in pool:
                llm, chat = pool[row["llm"]], messages_of(row["query"], row["mode"])
                most = worst_case(llm, chat, row.get("input_tokens"), answer_limit(llm, row["task"], row["mode"]))
            real = charged(cost, row.get("usage_source"), reported, most)
            reserved += max(0.0, real - (cost or 0.0))
            if (times := dearer_than(most, real)) > 1.0:
                dearer[row["llm"]] = max(dearer.get(row["llm"], 1.0), times)
    return done, spent, reserved, dearer


def _usd(row: dict[str, Any], name: str, where: str | PathLike[str]) -> float | None:
    """A sum of a row; one that is no sum would switch a cap off."""
    usd = row.get(name)
    if usd is not None and (isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < math.inf):
        raise UserError(
            f"{where}: expected {name} of {row['query_id']}, {row['llm']} to be USD from 0 on, found {usd!r}"
        )
    return usd


def _new_requests(
    requests: Iterable[Request], pool: Pool, known: KeySet, summary: Summary, done: Callable[[Summary], None]
) -> Iterator[Request]:
    """The requests that are to be asked; counts the others."""
    seen = KeySet()
    for request in requests:
        pool.get_llm(request.llm)
        summary.read += 1
        if not seen.add(request.key):
            summary.dropped["duplicate"] += 1
        elif request.key in known:
            summary.resumed += 1
            summary.kept += 1
        else:
            yield request
            continue
        done(summary)


def _remember_pool(pool: Pool, out: Path) -> None:
    """Keep the pool beside the shards; an LLM that would answer otherwise than before is refused."""
    path = out / "pool.yaml"
    merged = dict(load_pool(path)) if path.exists() else {}
    for llm in pool.values():
        if llm.name in merged and _identity(llm) != _identity(merged[llm.name]):
            raise UserError(
                f"{out} holds answers of {llm.name} from {_identity(merged[llm.name])}, the pool now says "
                f"{_identity(llm)}: use another folder or another name"
            )
        merged[llm.name] = llm
    save_pool(Pool(merged.values()), path)


def _identity(llm: LLM) -> dict[str, Any]:
    """What decides an answer; a local model by its folder's name, because folders move."""
    model = Path(llm.model_id).name if llm.local else llm.model_id
    own = {k: v for k in ("token_limits", "reasoning_tokens") if (v := getattr(llm, k))}
    return {"model": model} | own | {k: v for k, v in sorted(llm.options.items()) if k not in (*RUNNING, "adapter")}

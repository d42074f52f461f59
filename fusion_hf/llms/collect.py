"""Ask a pool of LLMs and log every answer: asynchronous, resumable after a kill, within a budget."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..bench.modes import PLAIN_MODES
from ..bench.schema import rows_to_table, validate
from ..bench.tasks import Example
from ..errors import UserError
from .backends import LOCAL
from .backends.vllm import ENGINE_OPTIONS
from .key_set import KeySet
from .pool import LLM, Pool, load_pool, recost, save_pool
from .record import Progress, Recorder, Summary
from .requests import Plan, Request, answer_limit, make_plan, make_requests, messages_of, worst_case
from .runner import Budget, Limits, Runner, counted, stop_on_signal
from .shards import ShardWriter, latest_chunks, read_rows, repair, row_key
from .unrecorded_spend import Held, held_usd

logger = logging.getLogger(__name__)
ENGINES = ("asyncio", "ray")
# Options that do not change an answer.
RUNNING = ("concurrency", "timeout", "batch_size", "token_budget", "device", *ENGINE_OPTIONS)


def collect(pool: Pool, requests: Iterable[Request], out: str | Path, **options: Any) -> Summary:
    """`collect_async` for callers without an event loop."""
    return asyncio.run(collect_async(pool, requests, out, **options))


async def collect_async(
    pool: Pool,
    requests: Iterable[Request],
    out: str | Path,
    *,
    concurrency: int | None = None,
    retries: int = 5,
    timeout: float | None = None,
    max_usd: float | None = None,
    max_failures: int = 8,
    progress: bool = True,
    total: int | None = None,
) -> Summary:
    """Ask every request that `out` does not answer yet, and append a row to `out` as soon as each answer is there.

    A killed run loses only what was in flight. Ctrl-C waits for what is in flight and then returns (reason
    ``interrupted``); a second Ctrl-C does not wait.

    Args:
        pool: Where the LLMs of the requests are.
        requests: May be a generator; it is read as answers come in.
        out: Folder of shards; it also gets the pool, for `finish`.
        concurrency: Requests in flight at one endpoint; None lets the LLM's option or its backend say (else 32).
        retries: Further tries of a request after an error that may pass; waits grow and heed Retry-After.
        timeout: Seconds for one answer of a server; None means the LLM's option (else 300).
        max_usd: What the folder may cost in all, earlier runs included. A request is only sent if its worst case
            (its bytes as tokens, and ``max_tokens``) still fits; so do those that were in flight when a run was killed.
        max_failures: Requests in a row that an endpoint may fail before it is left alone for this run.
        progress: Show a bar on stderr: rows a second, USD so far and, where `total` is known, the time left.
        total: Number of requests, where `requests` cannot say.
    """
    began = time.perf_counter()
    limits = Limits(concurrency, retries, timeout, max_usd, max_failures)
    with Progress(requests, total, progress) as bar:
        summary, new, spent = prepare(pool, requests, out, limits, bar.update)
        writer, held = ShardWriter(out), None if max_usd is None else Held(out)
        recorder = Recorder(writer, summary, bar.update)
        budget = Budget(max_usd, spent, held.write) if held else None
        runner = Runner(pool, limits, recorder.answer, recorder.error, recorder.drop, budget)
        try:
            with stop_on_signal(runner.stop):
                await runner.run(new)
        finally:
            writer.close()
            await runner.close()
        if held:
            held.close()
    recorder.finish(runner)
    summary.seconds = time.perf_counter() - began
    for name, reason in summary.stopped.items():
        logger.warning("%s was left alone: %s", name, reason)
    return summary


def prepare(
    pool: Pool, requests: Iterable[Request], out: str | Path, limits: Limits, done: Callable[[Summary], None]
) -> tuple[Summary, Iterator[Request], float]:
    """Everything before the first question, for any engine.

    Returns:
        The summary so far, the requests that `out` does not answer (the others are counted and `done` as they are
        read), and the USD that count against the cap.
    """
    _check_limits(limits, pool)
    repair(out)
    _remember_pool(pool, Path(out))
    known, spent, feared = _already(out, pool, limits.max_usd)
    if limits.max_usd is not None:
        feared += held_usd(out)
    summary = Summary(usd_total=spent)
    return summary, _new_requests(requests, pool, known, summary, done), spent + feared


def _check_limits(limits: Limits, pool: Pool) -> None:
    for name in ("concurrency", "timeout", "max_failures"):
        value = getattr(limits, name)
        if value is not None and value <= 0:
            raise UserError(f"expected {name} above 0, found {value}")
    if limits.retries < 0:
        raise UserError(f"expected retries >= 0, found {limits.retries}")
    if limits.max_usd is not None:
        if not limits.max_usd >= 0:
            raise UserError(f"expected max_usd >= 0, found {limits.max_usd}")
        for llm in pool.values():
            if None in (llm.input_price, llm.output_price):
                raise UserError(f"max_usd needs prices: {llm.name} has none in the pool (0 means free of charge)")
            if llm.output_price and answer_limit(llm) is None:
                raise UserError(f"max_usd needs to know how long answers may be: give {llm.name} the option max_tokens")


def _already(out: str | Path, pool: Pool, max_usd: float | None) -> tuple[KeySet, float, float]:
    """Keys that are answered, the USD they cost, and what answers without the server's count may have cost beyond that.

    The last is their worst case, and only told under a cap.
    """
    done, spent, feared = KeySet(), 0.0, 0.0
    for row in read_rows(out):
        if row.get("error") is None:
            done.add(row_key(row))
            spent += row.get("cost") or 0.0
            if max_usd is None or row["llm"] not in pool or counted(row.get("cost"), row.get("usage_source")):
                continue
            most = worst_case(pool[row["llm"]], messages_of(row["query"], row["mode"]), row.get("input_tokens"))
            feared += max(0.0, most - (row.get("cost") or 0.0))
    return done, spent, feared


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
    model = Path(llm.model_id).name if llm.backend in LOCAL else llm.model_id
    return {"model": model} | {k: v for k, v in sorted(llm.options.items()) if k not in (*RUNNING, "adapter")}


def plan(pool: Pool, requests: Iterable[Request], out: str | Path) -> Plan:
    """The price of a run, without asking anything."""
    return make_plan(pool, requests, _already(out, pool, None)[0])


def collect_examples(
    pool: Pool,
    examples: Mapping[str, Iterable[Example]],
    out: str | Path,
    modes: Sequence[str] = PLAIN_MODES,
    metrics: Mapping[str, str] | None = None,
    dry_run: bool = False,
    engine: str = "asyncio",
    prompts: Callable[[list[str], list[str]], list[str]] | None = None,
    **options: Any,
) -> Summary | Plan:
    """Ask the pool the given examples of each task. See `make_requests` and `collect_async` for the arguments.

    `engine` is ``asyncio`` (this process) or ``ray`` (Ray Data, on as many machines as the cluster has).
    """
    examples = {task: list(rows) for task, rows in examples.items()}
    requests = make_requests(pool, examples, modes, metrics, prompts)
    if dry_run:
        return plan(pool, requests, out)
    if engine not in ENGINES:
        raise UserError(f"unknown engine {engine!r}: expected one of {', '.join(ENGINES)}")
    options["total"] = sum(map(len, examples.values())) * len(pool) * len(modes)
    if engine == "ray":
        from .ray_engine import collect_ray

        return collect_ray(pool, requests, out, **options)
    return collect(pool, requests, out, **options)


def collect_tasks(
    pool: Pool,
    tasks: Sequence[str],
    split: str,
    limit: int | None,
    out: str | Path,
    modes: Sequence[str] = PLAIN_MODES,
    source: str | Path | None = None,
    seed: int = 0,
    dry_run: bool = False,
    **options: Any,
) -> Summary | Plan:
    """Ask the pool `limit` examples of each task's split, drawn by `seed`.

    `source` is a local copy of the task's rows in place of the Hub: a file or folder for one task, a folder with a
    folder a task for several. See `load_examples`, `make_requests` and `collect_async` for the other arguments.
    """
    from ..bench.tasks.load import load_examples

    examples = {}
    for task in tasks:
        rows = source
        if source is not None and (Path(source) / task).is_dir():
            rows = Path(source) / task
        elif source is not None and len(tasks) > 1:
            raise UserError(f"expected a folder {Path(source) / task} with the rows of {task}, found none")
        examples[task] = load_examples(task, split, limit=limit, seed=seed, source=rows)
    return collect_examples(pool, examples, out, modes, dry_run=dry_run, **options)


def finish(out: str | Path, pool: Pool | None = None, version: str = "strict") -> pa.Table:
    """The log that a folder of shards holds: one row a key, priced with the pool and graded.

    Args:
        out: The folder.
        pool: Prices; None takes the pool that the collector left in the folder.
        version: Version of the graders, ``strict`` or ``paper``.
    """
    from ..bench.graders import grade_table

    chunks = [rows_to_table(rows) for rows in latest_chunks(out)]
    if not chunks:
        raise UserError(f"{out}: expected rows of the collector (shard-*.jsonl), found none")
    table = validate(pa.concat_tables(chunks), where=str(out))
    table = recost(table, pool or load_pool(Path(out) / "pool.yaml"))
    return validate(grade_table(table, version), where=str(out))

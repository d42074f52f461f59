"""Ask a pool of LLMs and log every answer: asynchronous, resumable after a kill, within a budget."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..logs.shards import ShardWriter
from ..logs.store import check_task_name
from ..tasks import Example
from ..tasks.described import open_task
from ..tasks.modes import PLAIN_MODES
from .budget import Budget
from .folder_lock import locked
from .limits import Limits
from .opened import OpenBackends
from .pool import Pool
from .prepare import already, check_limits, prepare
from .ray_engine import collect_ray
from .record import Progress, Recorder, Summary
from .requests import Plan, Prompts, Request, make_plan, make_requests
from .reserved_spend import ReservedSpend
from .runner import Runner, stop_on_signal

logger = logging.getLogger(__name__)
ENGINES = ("asyncio", "ray")


def collect(pool: Pool, requests: Iterable[Request], out: str | PathLike[str], **options: Any) -> Summary:
    """`collect_async` for callers without an event loop."""
    try:
        return asyncio.run(collect_async(pool, requests, out, **options))
    except asyncio.CancelledError:  # by a second signal
        raise KeyboardInterrupt from None


async def collect_async(
    pool: Pool,
    requests: Iterable[Request],
    out: str | PathLike[str],
    *,
    concurrency: int | None = None,
    retries: int = 5,
    timeout: float | None = None,
    max_usd: float | None = None,
    max_failures: int = 8,
    progress: bool = True,
    total: int | None = None,
    backends: OpenBackends | None = None,
) -> Summary:
    """Ask every request that `out` does not answer yet, and append a row to `out` as soon as each answer is there.

    A killed run loses only what was in flight. Ctrl-C or SIGTERM waits half a minute for what is in flight and then
    returns (reason ``interrupted``); a second one does not wait.

    Args:
        pool: Where the LLMs of the requests are.
        requests: May be a generator; it is read as answers come in.
        out: Folder of shards; it also gets the pool. `fusion_hf.logs.log.Log` reads it.
        concurrency: Requests in flight at one endpoint; None lets the LLM's option or its backend say (else 32).
        retries: Further tries of a request after an error that may pass; waits grow and heed Retry-After.
        timeout: Seconds for one answer of a server; None means the LLM's option (else 300).
        max_usd: What the folder may cost in all, earlier runs included. A request is only sent if its worst case
            (its bytes as tokens, and ``max_tokens``) still fits; so do those that were in flight when a run was killed.
        max_failures: Requests in a row that an endpoint may fail before it is left alone for this run.
        progress: Show a bar on stderr: rows a second, USD so far and, where `total` is known, the time left.
        total: Number of requests, where `requests` cannot say.
        backends: LLMs that are open on this event loop already, and stay open; None opens them for this run.
    """
    began = time.perf_counter()
    limits = Limits(concurrency, retries, timeout, max_usd, max_failures)
    check_limits(limits, pool)
    with locked(out), Progress(requests, total, progress) as bar:
        summary, new, limits, spent = prepare(pool, requests, out, limits, bar.update)
        # Where the disk is full, what is in flight is paid for and kept, and nothing more is asked.
        writer = ShardWriter(out, on_full=lambda: runner.stop.set())
        held = None if max_usd is None else ReservedSpend(out)
        recorder = Recorder(writer, summary, bar.update)
        budget = Budget(max_usd, spent, held.write) if held else None
        runner = Runner(pool, limits, recorder.answer, recorder.error, recorder.drop, budget, backends)
        try:
            with stop_on_signal(runner):
                await runner.run(new)
        finally:
            writer.close()
            await runner.close()
        if held:
            held.close()
        if writer.full is not None:
            raise writer.full
    recorder.finish(runner)
    summary.seconds = time.perf_counter() - began
    for name, reason in summary.stopped.items():
        logger.warning("%s was left alone: %s", name, reason)
    if summary.cut:
        worst = ", ".join(f"{name} {n}" for name, n in summary.cut.most_common(5))
        logger.warning(
            "%d answers were cut at their limit (%s): raise token_limits, or reasoning_tokens of an LLM that reasons, "
            "in the pool", summary.cut.total(), worst,
        )  # fmt: skip
    return summary


def plan(pool: Pool, requests: Iterable[Request], out: str | PathLike[str]) -> Plan:
    """The price of a run, without asking anything."""
    return make_plan(pool, requests, already(out, pool, None)[0])


def collect_examples(
    pool: Pool,
    examples: Mapping[str, Iterable[Example]],
    out: str | PathLike[str],
    modes: Sequence[str] = PLAIN_MODES,
    metrics: Mapping[str, str] | None = None,
    dry_run: bool = False,
    engine: str = "asyncio",
    prompts: Prompts | Mapping[str, Prompts] | None = None,
    announce: Callable[[Plan], None] | None = None,
    **options: Any,
) -> Summary | Plan:
    """Ask the pool the given examples of each task. See `make_requests` and `collect_async` for the arguments.

    `engine` is ``asyncio`` (this process) or ``ray`` (Ray Data, on as many machines as the cluster has). `announce` is
    told the price of the run before the first question.
    """
    for task in examples:
        check_task_name(task)  # a name that no dataset can have is refused before anything is paid for
    examples = {task: list(rows) for task, rows in examples.items()}
    requests = make_requests(pool, examples, modes, metrics, prompts)
    if dry_run or announce is not None:
        price = plan(pool, requests, out)
        if announce is not None:
            announce(price)
        if dry_run:
            return price
        requests = make_requests(pool, examples, modes, metrics, prompts)
    if engine not in ENGINES:
        raise UserError(f"unknown engine {engine!r}: expected one of {', '.join(ENGINES)}")
    options["total"] = sum(map(len, examples.values())) * len(pool) * len(modes)
    if engine == "ray":
        return collect_ray(pool, requests, out, **options)
    return collect(pool, requests, out, **options)


def collect_tasks(
    pool: Pool,
    tasks: Sequence[str],
    split: str,
    limit: int | None,
    out: str | PathLike[str],
    modes: Sequence[str] = PLAIN_MODES,
    source: str | PathLike[str] | None = None,
    seed: int = 0,
    dry_run: bool = False,
    prompt_version: str = "plain",
    **options: Any,
) -> Summary | Plan:
    """Ask the pool `limit` examples of each task's split, drawn by `seed`.

    A task is named, or is the path of a file that defines one. `source` is a local copy of its rows in place of the
    Hub: a file or folder for one task, a folder with a folder a task for several. See `load_examples`, `make_requests`
    and `collect_async` for the other arguments.
    """
    from ..tasks.load import load_examples

    examples = {}
    for task in map(open_task, tasks):
        rows = source or (task.source if Path(task.source).is_absolute() else None)  # beside a file that describes it
        if source is not None and (Path(source) / task.name).is_dir():
            rows = Path(source) / task.name
        elif source is not None and len(tasks) > 1:
            raise UserError(f"expected a folder {Path(source) / task.name} with the rows of {task.name}, found none")
        examples[task.name] = load_examples(task, split, limit, seed, rows, prompt_version)
    return collect_examples(pool, examples, out, modes, dry_run=dry_run, **options)

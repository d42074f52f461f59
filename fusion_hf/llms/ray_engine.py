"""The collector's stage on Ray Data, for a cluster: blocks of requests, asked by one actor a CPU or GPU.

Every actor runs the same `Runner` and appends rows to shards of its own in `out`, a folder that all machines share.
So a row is kept as soon as its answer is there, whatever dies afterwards, and the same command resumes.
"""

import asyncio
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import UserError, require
from ..logs.shards import ShardWriter, read_rows, row_key
from .folder_lock import locked
from .limits import Limits
from .pool import Pool
from .prepare import check_limits, prepare
from .ray_budget import BudgetClient, ClusterBudget
from .record import Progress, Recorder, Summary
from .requests import Request
from .runner import Runner

BLOCK = 1000  # requests that an actor gets at a time


def collect_ray(
    pool: Pool,
    requests: Iterable[Request],
    out: str | Path,
    *,
    workers: int | None = None,
    block: int = BLOCK,
    progress: bool = True,
    total: int | None = None,
    **options: Any,
) -> Summary:
    """`collect` on the Ray cluster of ``RAY_ADDRESS``, or on one that is started on this machine for the run.

    What differs: the requests are all read before the first is asked (they wait in Ray's object store); `concurrency`
    is shared out to the actors, each of which adapts to what a server refuses; `max_failures` holds for each actor. The
    cap `max_usd` holds for all of them together. Keys of servers must be in the environment of every machine.

    Args:
        workers: Actors; None means one a GPU where the pool has local models and the cluster has GPUs, else one a CPU.
        block: Requests that an actor gets at a time. If it dies, its block goes to another one, which leaves out what
            the first has answered.
        progress, total, **options: See `fusion_hf.llms.collect.collect_async`.

    Raises:
        UserError: As there, and if a machine does not see `out`.
    """
    ray = require("ray", "ray")
    require("ray.data", "ray")
    began, out = time.perf_counter(), Path(out).resolve()
    limits = Limits(**options)
    started = not ray.is_initialized()
    check_limits(limits, pool)
    with locked(out), Progress(requests, total, progress) as bar:
        summary, new, limits, spent = prepare(pool, requests, out, limits, bar.update)
        if started:
            _start(ray)
        run = secrets.token_hex(4)
        marker = out / f".run-{run}"
        marker.touch()
        try:
            local = any(llm.local for llm in pool.values())
            gpus = int(ray.cluster_resources().get("GPU", 0)) if local else 0
            workers = workers or gpus or int(ray.cluster_resources()["CPU"])
            budget = None
            if limits.max_usd is not None:
                actor = ray.remote(ClusterBudget).options(num_cpus=0)
                budget = actor.remote(limits.max_usd, spent, str(out))
            blocks = [ray.put(table) for table in _blocks(new, run, block)]
            actors = max(1, min(workers, len(blocks)))
            arguments = (pool, replace(limits, sharers=actors), str(out), marker.name, budget)
            for part in _ask(ray, blocks, arguments, actors, bool(gpus)):
                bar.update(summary, _add(summary, part))
            if budget is not None:
                ray.get(budget.close.remote())
        finally:
            marker.unlink()
            if started:
                ray.shutdown()
    summary.seconds = time.perf_counter() - began
    return summary


def _start(ray: Any) -> None:
    """Connect to the cluster of the environment, or start a quiet one here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    options = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **options)


def _blocks(requests: Iterable[Request], run: str, size: int) -> Iterator[pa.Table]:
    """Tables with the columns `block` (one name) and `request` (JSON)."""
    lines: list[str] = []
    number = 0
    for request in requests:
        lines.append(json.dumps(asdict(request)))
        if len(lines) == size:
            yield pa.table({"block": [f"{run}b{number}"] * size, "request": lines})
            number, lines = number + 1, []
    if lines:
        yield pa.table({"block": [f"{run}b{number}"] * len(lines), "request": lines})


def _ask(ray: Any, blocks: list, arguments: tuple, actors: int, gpus: bool) -> Iterator[dict]:
    """The summary of each block as it is done."""
    if not blocks:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    answered = ray.data.from_arrow_refs(blocks).map_batches(
        Asker,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        fn_constructor_args=arguments,
        num_cpus=1,
        num_gpus=1 if gpus else None,
    )
    for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from map(json.loads, batch["summary"].to_pylist())


class Asker:
    """One actor: answers blocks of requests, with backends that stay open from block to block."""

    def __init__(self, pool: Pool, limits: Limits, out: str, marker: str, budget: Any):
        self.pool, self.limits, self.out, self.marker, self.budget = pool, limits, out, marker, budget
        self.loop = asyncio.new_event_loop()
        self.runner: Runner | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer one block; one row with its `Summary`, or with ``wrong_input``, as JSON."""
        requests = [Request(**json.loads(line)) for line in batch["request"].to_pylist()]
        try:
            part = self.loop.run_until_complete(self._answer(batch["block"][0].as_py(), requests)).to_dict()
        except UserError as error:  # as a value, because Ray loses what an error of its own wraps
            part = {"wrong_input": str(error)}
        return pa.table({"summary": [json.dumps(part)]})

    async def _answer(self, block: str, requests: list[Request]) -> Summary:
        if not (Path(self.out) / self.marker).exists():
            raise UserError(f"{self.out}: expected a folder that all machines of the cluster share, found another here")
        summary = Summary()
        # Another actor may have died over this block.
        answered = {row_key(row): row.get("cost") for row in read_rows(self.out, block) if row.get("error") is None}
        for request in requests:
            if request.key in answered:
                summary.kept += 1
                summary.usd += answered[request.key] or 0.0
        writer = ShardWriter(self.out, block)
        recorder = Recorder(writer, summary)
        if self.runner is None:
            self.runner = Runner(self.pool, self.limits, recorder.answer, recorder.error, recorder.drop)
        runner = self.runner
        runner.on_answer, runner.on_error, runner.on_drop = recorder.answer, recorder.error, recorder.drop
        runner.retried = Counter()
        if self.budget is not None:
            runner.budget = BudgetClient(self.budget, block)
            await runner.budget.begin()
        try:
            await runner.run(r for r in requests if r.key not in answered)
        finally:
            writer.close()
        recorder.finish(runner)
        return summary


def _add(summary: Summary, part: dict[str, Any]) -> int:
    """Add the figures of a block; returns how many requests it had."""
    if "wrong_input" in part:
        raise UserError(part["wrong_input"])
    summary.kept += part["kept"]
    summary.usd += part["usd"]
    summary.usd_total += part["usd"]
    summary.usd_reported += part["usd_reported"]
    summary.dropped.update(part["dropped"])
    summary.retried.update(part["retried"])
    summary.cut.update(part["cut"])
    summary.stopped |= part["stopped"]
    return part["kept"] + sum(part["dropped"].values())

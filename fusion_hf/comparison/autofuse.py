"""`autofuse`: for every task the configuration to trust, as a fused system; then, once, what it scores on test."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..distill.student import student_llm
from ..errors import UserError
from ..fused import FusedSystem, Thoughts, write_fused
from ..fused.asking import recall
from ..fused.card import write_fused_card
from ..llms.pool import Pool, load_pool
from ..logs.rewards import Scaling
from ..logs.schema import split_candidate
from ..logs.stats import mean, number
from ..routers import Router, load_router
from ..routers.train import fit_router
from . import gather
from .systems import Splits, System
from .verdicts import measure_on_test
from .winners import Winner, choose_by_task


def autofuse(
    bench: str | Path,
    routers: Sequence[str],
    logs: Sequence[str],
    out: str | Path,
    pool: Pool | str | Path,
    thoughts: Mapping[str, Thoughts] | Thoughts | None = None,
    students: Sequence[str] = (),
    base: str | None = None,
    combine: str | None = None,
    gathered: tuple[list[System], Splits, list[str]] | None = None,
) -> dict[str, Any]:
    """Choose on train and validation, write the fused system, and measure it on test.

    Args:
        bench: FusionBench folder or Hub id with train, partial_test (validation) and test.
        routers, logs, combine: See `compare_bench`.
        out: Folder of the fused system.
        pool: How the LLMs are reached. LLMs that it lacks are taken from the pools that the collector left beside its
            logs; configurations that need an LLM which is in none are left out, and the notes say so.
        thoughts: What mode ``thought`` puts before a query, by LLM, or for every LLM of which the folder of its log
            does not say how it was asked.
        students: Folders that `fusion_hf.distill` wrote.
        base: Name of their base in the pool; None reads it from each folder.
        gathered: What `gather` gave for the same bench, routers and logs, to measure nothing twice; then `combine` is
            not read.

    Returns:
        ``{"tasks": {TASK: {"system", "level", "incumbent", "performance", "queries", "gain", "gain_se", "gain_seen",
        "gain_queries", "test": {"performance", "best_single", "difference", "low", "high", "verdict", "cost_usd",
        "best_single_cost_usd", "queries"}}}, "test": {the same over all queries, "over_tasks",
        "best_single_over_tasks", "recognised": {"tasks": SHARE, "performance"}}, "best_single": ID, "better": [TASK],
        "not separated": [TASK], "worse": [TASK], "notes": [TEXT]}``. The first fields of a task are those of `Winner`.
        ``recognised`` is for queries whose task is not given: how often it is recognised, and what the system scores.

    Raises:
        UserError: There is no validation split, or no configuration can be reached.
    """
    splits = Splits.read(bench) if gathered is None else gathered[1]
    if splits.validation is None:
        raise UserError(f"{bench}: expected a split partial_test to choose on, found none: nothing is chosen on test")
    with tempfile.TemporaryDirectory() as temporary:
        systems, _, notes = gathered or gather(splits, routers, logs, combine, temporary)
        notes = list(notes)
        llms = _all_llms(pool, logs, students, base)
        shown = _all_thoughts(thoughts, logs, llms)
        known = _deployable(systems, llms, shown, notes)
        chosen = choose_by_task(splits, known)
        recogniser = fit_router("best-per-task", splits.train, encoder="none", progress=False)
        result = measure_on_test(splits, systems, known, chosen, _recognised(recogniser, splits.test.queries))
        config = _config(bench, splits, known, chosen, result)
        write_fused(out, config, llms, recogniser, shown)
    write_fused_card(out)
    FusedSystem.from_pretrained(out)  # what cannot be read back was not made
    return result | {"notes": notes}


def _all_llms(pool: Pool | str | Path, logs: Sequence[str], students: Sequence[str], base: str | None) -> Pool:
    found = dict(load_pool(pool) if isinstance(pool, (str, Path)) else pool)
    known = Pool(found.values())
    for folder in students:
        llm = student_llm(folder, base, known)
        found[llm.name] = llm
    for item in logs:
        beside = Path(item.partition("=")[2]) / "pool.yaml"
        if beside.is_file():
            found = {**load_pool(beside), **found}
    return Pool(found.values())


def _all_thoughts(given: Mapping[str, Thoughts] | Thoughts | None, logs: Sequence[str], llms: Pool) -> dict:
    told: dict[str, Thoughts] = {}
    for item in logs:
        told |= recall(item.partition("=")[2])
    if isinstance(given, Thoughts):
        return dict.fromkeys(llms, given) | told
    return told | dict(given or {})


def _deployable(
    systems: Sequence[System], llms: Pool, thoughts: Mapping[str, Thoughts], notes: list[str]
) -> dict[str, System]:
    """Configurations that can be rebuilt, by the name that they get in the fused system."""
    found: dict[str, System] = {}

    def missing(candidate: str) -> str | None:
        llm, mode = split_candidate(candidate)
        if llm not in llms:
            return f"the pool has no {llm}"
        return None if mode != "thought" or llm in thoughts else f"no templates were given for {llm}"

    routed: dict[str, list[str]] = {}
    for s in systems:
        if s.level == "anchor" or s.spec is None or s.validation is None:
            continue  # the anchors are candidates that stand there by their own names too
        if s.spec["kind"] == "router":
            if s.spec["router"] not in routed:
                routed[s.spec["router"]] = load_router(s.spec["router"]).candidates
            lacks = [m for m in map(missing, routed[s.spec["router"]]) if m]
        else:
            lacks = [m for m in [missing(s.spec["candidate"])] if m]
        if lacks:
            notes.append(f"{s.name} is left out: {lacks[0]}")
            continue
        twin = next((n for n, other in found.items() if other.spec == s.spec), None)
        if twin is not None:
            raise UserError(
                f"{s.name} and {twin} are the same candidate {s.spec.get('candidate')!r}: give the LLM of one log "
                "another name, else nobody can tell who is to be asked"
            )
        found[s.name] = s
    if not any(s.candidate for s in found.values()):
        raise UserError(f"expected a pool with LLMs of the log, found {', '.join(llms) or 'none'}")
    return found


def _recognised(router: Router, queries: Sequence[str]) -> list[str]:
    return [next(iter(shares)) for shares in router.predict(queries).tasks or []]


def _config(
    bench: str | Path, splits: Splits, known: Mapping[str, System], chosen: Mapping[str, Winner], result: dict
) -> dict[str, Any]:
    """The configuration of the fused system; see `fusion_hf.fused.config.read_config`."""
    from .. import __version__

    scaling = Scaling.fit(splits.train)
    seen = _seen(splits, known)
    tasks = {}
    for task, winner in chosen.items():
        span = {name: scaling.span[name].get(task, 1.0) for name in ("performance", "cost")}
        found = result["tasks"][task]
        named = {"system": winner.system, "level": found["level"]}
        evidence = {k: v for k, v in found.items() if k not in named}
        tasks[task] = {**named, "candidates": seen[task], "span": span, "evidence": evidence}
    return {
        "bench": Path(bench).name if Path(bench).exists() else str(bench),
        "made_by": f"fusion_hf {__version__}",
        "best_single": result["best_single"],
        "systems": {name: known[name].spec for name in dict.fromkeys(w.system for w in chosen.values())},
        "tasks": tasks,
        "test": result["test"],
    }


def _seen(splits: Splits, known: Mapping[str, System]) -> dict[str, dict[str, dict]]:
    """Task -> candidate -> mean performance and cost, of every candidate that can be asked."""
    train, checked = splits.train, splits.validation
    assert checked is not None
    result: dict[str, dict[str, dict]] = {}
    for s in known.values():
        candidate = s.candidate
        if candidate is None or s.validation is None or s.validation_cost is None:
            continue
        for task in sorted({*train.tasks, *checked.tasks}):
            rows = np.array(checked.tasks) == task
            score, cost = s.validation[rows], s.validation_cost[rows]
            if candidate in train.candidates:
                rows, column = np.array(train.tasks) == task, train.candidates.index(candidate)
                score = np.append(score, train.performance[rows, column])
                cost = np.append(cost, train.cost[rows, column])
            if not np.isnan(score).all():
                entry = {"performance": float(mean(score)), "cost_usd": number(mean(cost))}
                result.setdefault(task, {})[candidate] = entry
    return result

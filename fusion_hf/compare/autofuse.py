"""`autofuse`: for every task the configuration to trust, as a fused system; then, once, what it scores on test."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..bench.rewards import Scaling
from ..bench.schema import split_candidate
from ..bench.stats import paired
from ..distill.student import student_llm
from ..errors import UserError
from ..fused import FusedSystem, Thoughts, write_fused
from ..fused.card import write_fused_card
from ..llms.pool import Pool, load_pool
from ..routers import Router, load_router
from ..routers.train import train_router
from . import gather
from .measure import number
from .systems import BEST_SINGLE, Splits, System, mean
from .winners import Evidence, Winner, winners

BETTER, EVEN, WORSE = "better", "not separated", "worse"


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
        thoughts: What mode ``thought`` puts before a query, by LLM, or for every LLM.
        students: Folders that `fusion_hf.distill` wrote.
        base: Name of their base in the pool; None reads it from each folder.
        gathered: What `gather` gave for the same bench, routers and logs, to measure nothing twice; then `combine` is
            not read.

    Returns:
        ``{"tasks": {TASK: {"system", "level", "standing", "performance", "queries", "gain", "gain_se", "gain_seen",
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
        known = _deployable(systems, llms, thoughts, notes)
        chosen = choose(splits, known)
        recogniser = train_router("best-per-task", splits.train, encoder="none", progress=False)
        result = measure_on_test(splits, systems, known, chosen, _recognised(recogniser, splits.test.queries))
        config = _config(bench, splits, known, chosen, result)
        settings = dict.fromkeys(llms, thoughts) if isinstance(thoughts, Thoughts) else dict(thoughts or {})
        write_fused(out, config, llms, recogniser, settings)
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


def _deployable(systems: Sequence[System], llms: Pool, thoughts: Any, notes: list[str]) -> dict[str, System]:
    """Configurations that can be rebuilt, by the name that they get in the fused system."""
    found: dict[str, System] = {}

    def missing(candidate: str) -> str | None:
        llm, mode = split_candidate(candidate)
        if llm not in llms:
            return f"the pool has no {llm}"
        shown = isinstance(thoughts, Thoughts) or llm in (thoughts or {})
        return None if mode != "thought" or shown else f"no templates were given for {llm}"

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
    if not any(_candidate(s) for s in found.values()):
        raise UserError(f"expected a pool with LLMs of the log, found {', '.join(llms) or 'none'}")
    return found


def _candidate(system: System) -> str | None:
    """Who answers everything, where it is one candidate."""
    return None if system.spec is None else system.spec.get("candidate")


def choose(splits: Splits, systems: Mapping[str, System]) -> dict[str, Winner]:
    """The configuration of each task, by `winners`; test scores are not read.

    Rows of train count for logged candidates, on which nothing was fitted. Routers learned from them, and other logs
    may hold models that did: for those only validation counts.
    """
    train, checked = splits.train, splits.validation
    assert checked is not None
    scores, costs, standing = {}, {}, []
    for name, s in systems.items():
        candidate = _candidate(s)
        if candidate in train.candidates:
            column = train.candidates.index(candidate)
            before = train.performance[:, column], train.cost[:, column]
            standing.append(name)
        else:
            before = (np.full(len(train), np.nan),) * 2
        scores[name] = np.concatenate([before[0], s.validation])
        costs[name] = np.concatenate([before[1], s.validation_cost])
    if not standing:  # the pool reaches no LLM of the bench itself
        standing = [n for n, s in systems.items() if _candidate(s)]
    return winners(Evidence(np.array([*train.tasks, *checked.tasks]), scores, costs, standing))


def measure_on_test(
    splits: Splits,
    systems: Sequence[System],
    known: Mapping[str, System],
    chosen: Mapping[str, Winner],
    recognised: Sequence[str],
) -> dict[str, Any]:
    """What the choice scores on test beside the best single LLM, with the tasks given and with those `recognised`."""
    base = next(s for s in systems if s.name == BEST_SINGLE)
    tasks = np.array(splits.test.tasks)
    ours, paid = (_assembled(known, chosen, tasks, what) for what in ("performance", "cost"))
    result: dict[str, Any] = {"tasks": {}, "best_single": _candidate(base), BETTER: [], EVEN: [], WORSE: []}
    for task, winner in chosen.items():
        rows = tasks == task
        entry = asdict(winner) | {"level": known[winner.system].level, "test": None}
        if rows.any():
            gap = paired(ours[rows], base.performance[rows])
            verdict = BETTER if gap["low"] > 0 else WORSE if gap["high"] < 0 else EVEN
            result[verdict].append(task)
            entry["test"] = {
                "performance": number(mean(ours[rows])), "best_single": number(mean(base.performance[rows])),
                **{k: number(gap[k]) for k in ("difference", "low", "high")}, "verdict": verdict,
                "cost_usd": number(mean(paid[rows])), "best_single_cost_usd": number(mean(base.cost[rows])),
                "queries": int(rows.sum()),
            }  # fmt: skip
        result["tasks"][task] = entry
    measured = [e["test"] for e in result["tasks"].values() if e["test"] is not None]
    gap = paired(ours, base.performance)
    blind = _assembled(known, chosen, np.array(recognised), "performance")
    result["test"] = {
        "queries": len(tasks), "performance": number(mean(ours)), "best_single": number(mean(base.performance)),
        **{k: number(gap[k]) for k in ("difference", "low", "high")},
        "over_tasks": float(np.mean([t["performance"] for t in measured])),
        "best_single_over_tasks": float(np.mean([t["best_single"] for t in measured])),
        "cost_usd": number(mean(paid)), "best_single_cost_usd": number(mean(base.cost)),
        "recognised": {"tasks": float(np.mean(np.array(recognised) == tasks)), "performance": number(mean(blind))},
    }  # fmt: skip
    return result


def _assembled(known: Mapping[str, System], chosen: Mapping[str, Winner], tasks: np.ndarray, what: str) -> np.ndarray:
    """Scores or costs [n] where each query is answered by the configuration of its task."""
    result = np.full(len(tasks), np.nan)
    for task, winner in chosen.items():
        result[tasks == task] = getattr(known[winner.system], what)[tasks == task]
    return result


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
        candidate = _candidate(s)
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


def format_fusion(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"Best single LLM, chosen on train: `{result['best_single']}`. Configurations: chosen on train and validation, "
        "measured on test.",
        "",
        "| task | configuration | level | best single | fused | difference [95 %] | |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, entry in result["tasks"].items():
        t = entry["test"]
        figures = " | ".join(_figures(t) if t else ["not in test", "", "", ""])
        lines.append(f"| {task} | {entry['system']} | {entry['level']} | {figures} |")
    t, count = result["test"], sum(len(result[v]) for v in (BETTER, EVEN, WORSE))
    lines += [
        f"| **all** | | | {' | '.join(_figures(t))} |",
        "",
        f"Beats the best single LLM on {len(result[BETTER])} of {count} tasks"
        + "".join(f"; {verdict}: {', '.join(result[verdict])}" for verdict in (EVEN, WORSE) if result[verdict])
        + ".",
        f"Without task labels {100 * t['recognised']['tasks']:.1f} % of the tasks are recognised, and it scores "
        f"{t['recognised']['performance']:.3f}.",
        *result.get("notes", []),
    ]
    return "\n".join(lines)


def _figures(t: dict[str, Any]) -> list[str]:
    gap = f"{t['difference']:+.3f} [{t['low']:+.3f}, {t['high']:+.3f}]"
    return [f"{t['best_single']:.3f}", f"{t['performance']:.3f}", gap, t.get("verdict", "")]

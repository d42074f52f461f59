"""`autofuse`: for every task the configuration to trust, as a fused system; then, once, what it scores on test."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..distill.student import student_llm
from ..errors import UserError
from ..fused import FusedSystem, Thoughts, write_fused
from ..fused.asking import recall
from ..llms.pool import Pool, load_pool
from ..logs.arrays import RoutingData
from ..logs.rewards import Scaling
from ..logs.schema import split_candidate
from ..logs.stats import mean, number
from ..made import made
from ..routers import Router, load_router
from ..routers.train import fit_router
from ..tasks.modes import RETRIEVED_MODES
from .given import Source
from .systems import Splits, System
from .verdicts import measure_on_test
from .winners import Winner, choose_by_task


def fuse(
    bench: str | PathLike[str],
    gathered: tuple[list[System], Splits, list[str]],
    out: str | PathLike[str],
    pool: Pool | str | PathLike[str],
    sources: Sequence[Source] = (),
    thoughts: Mapping[str, Thoughts] | None = None,
    adapters: Sequence[str | PathLike[str]] = (),
    base: str | None = None,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Choose among systems on train and validation, write the fused system, and measure it on test.

    Args:
        bench: Its name, for the configuration.
        gathered: What `gather` gave for it.
        sources: The other logs that are among the systems.
        thoughts: What mode ``thought`` puts before a query, by LLM; "" stands for every LLM of which the folder of its
            log does not say how it was asked.
        out, pool, adapters, base, overwrite: See `fusion_hf.autofuse`.
        settings: Its arguments, which the fused system tells.

    Returns:
        The fields of `fusion_hf.comparison.verbs.Fused`.

    Raises:
        UserError: There is no validation split, or no configuration can be reached.
    """
    systems, splits, notes = gathered
    if splits.validation is None:
        raise UserError(f"{bench}: expected a split partial_test to choose on, found none: nothing is chosen on test")
    notes = list(notes)
    llms = _all_llms(pool, sources, adapters, base)
    shown = _all_thoughts(thoughts or {}, sources, llms)
    known = _deployable(systems, llms, shown, notes)
    chosen = choose_by_task(splits, known)
    recogniser = fit_router("best-per-task", splits.train, encoder="none", progress=False)
    result = measure_on_test(splits, systems, known, chosen, _recognised(recogniser, splits.test.queries))
    log = {split: data.fingerprint() for split, data in vars(splits).items() if isinstance(data, RoutingData)}
    training = made(settings or {}, log, "numpy", "torch", "transformers")
    config = _config(bench, splits, known, chosen, result) | {"training": training}
    write_fused(out, config, llms, recogniser, shown, overwrite)
    FusedSystem.from_pretrained(out)  # what cannot be read back was not made
    return result | {"notes": notes}


def _all_llms(
    pool: Pool | str | PathLike[str],
    sources: Sequence[Source],
    adapters: Sequence[str | PathLike[str]],
    base: str | None,
) -> Pool:
    found = dict(load_pool(pool) if isinstance(pool, (str, PathLike)) else pool)
    known = Pool(found.values())
    for folder in adapters:
        llm = student_llm(folder, base, known)
        found[llm.name] = llm
    for folder in _folders(sources):
        if (folder / "pool.yaml").is_file():
            found = {**load_pool(folder / "pool.yaml"), **found}
    return Pool(found.values())


def _all_thoughts(given: Mapping[str, Thoughts], sources: Sequence[Source], llms: Pool) -> dict[str, Thoughts]:
    told: dict[str, Thoughts] = {}
    for folder in _folders(sources):
        told |= recall(folder)
    if "" in given:
        told = dict.fromkeys(llms, given[""]) | told
    return told | {llm: thoughts for llm, thoughts in given.items() if llm}


def _folders(sources: Sequence[Source]) -> list[Path]:
    return [source.folder for source in sources if source.folder is not None]


def _deployable(
    systems: Sequence[System], llms: Pool, thoughts: Mapping[str, Thoughts], notes: list[str]
) -> dict[str, System]:
    """Configurations that can be rebuilt, by the name that they get in the fused system."""
    found: dict[str, System] = {}

    def missing(candidate: str) -> str | None:
        llm, mode = split_candidate(candidate)
        if llm not in llms:
            return f"the pool has no {llm}"
        return None if mode not in RETRIEVED_MODES or llm in thoughts else f"no templates were given for {llm}"

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
    bench: str | PathLike[str], splits: Splits, known: Mapping[str, System], chosen: Mapping[str, Winner], result: dict
) -> dict[str, Any]:
    """The configuration of the fused system; see `fusion_hf.fused.config.read_config`."""
    scaling = Scaling.fit(splits.train)
    seen = _seen(splits, known)
    tasks = {}
    for task, winner in chosen.items():
        # Without any cost in train there is no trade-off with it: any unit will do.
        units = {name: float(scaling.units(name, [task])[1][0]) for name in ("performance", "cost")}
        span = {name: 1.0 if np.isnan(unit) else unit for name, unit in units.items()}
        found = result["tasks"][task]
        named = {"system": winner.system, "level": found["level"]}
        evidence = {k: v for k, v in found.items() if k not in named}
        tasks[task] = {**named, "candidates": seen[task], "span": span, "evidence": evidence}
    return {
        "bench": Path(bench).name if Path(bench).exists() else str(bench),
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

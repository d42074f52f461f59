"""The verb `update`: served traffic joins the training log, and a router that is not worse replaces the old one."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import UserError
from ..fused.card import write_fused_card
from ..fused.config import CONFIG_FILE, read_config, write_config
from ..logs.audit import audit_tables
from ..logs.log import Log
from ..results import Result
from ..routers import Router, load_router
from .relearning import Use, compare_logged, compare_served, learn, learned_from, scored


@dataclass
class Updated(Result):
    """What came of an update.

    Attributes:
        read, kept, dropped: Served rows, those that were learned from, and the others by reason.
        held_out: ``{"split", "queries", "old", "new", "difference", "low", "high"}``: mean reward on the log's own
            held-out queries (of the tasks that it decides, for a router of a fused system).
        served: The same by the doubly robust estimate, on served queries that were not learned from; None without any.
        audit: Findings of the audit of the grown log by severity.
        replaced: Whether the new router is in the old one's place.
        reason: Why, or why not.
        previous: Where the old folder is now; None where it stayed.
        routers: Of a fused system the same for each of its routers, by its path in the folder; what it says of the
            system itself is then read, kept and dropped for all candidates, and no figures.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    held_out: dict[str, Any] | None
    served: dict[str, Any] | None
    audit: dict[str, int]
    replaced: bool
    reason: str
    previous: str | None = None
    routers: dict[str, "Updated"] = field(default_factory=dict)
    router: Router | None = field(default=None, repr=False, metadata={"json": False})

    def __str__(self) -> str:
        lines = [f"learned from {self.kept} of {self.read} served rows"
                 + "".join(f"; {n} {reason}" for reason, n in self.dropped.items() if n)]  # fmt: skip
        for path, one in self.routers.items():
            lines += [f"{path}: {line}" for line in str(one).splitlines()[1:]]
        for name, found in (("held out", self.held_out), ("served, doubly robust", self.served)):
            if found is not None and found["difference"] is not None:
                lines.append(
                    f"{name}: {found['old']:.4f} -> {found['new']:.4f}, difference {found['difference']:+.4f} "
                    f"[{found['low']:+.4f}, {found['high']:+.4f}] on {found['queries']} queries"
                )
        kept = "the old system" if self.routers else "the old router"
        return "\n".join([*lines, f"{'replaced' if self.replaced else f'kept {kept}'}: {self.reason}"])


@dataclass
class _Logs:
    """What an update reads: the training log, its held-out split, the traffic, and the rows of its pool."""

    train: pa.Table
    test: pa.Table
    split: str
    served: pa.Table
    llms: list[dict] | None


def update(
    router: str | Path,
    logs: str | Path,
    *,
    bench: str | Path,
    scenario: str | None = None,
    seed: int | None = None,
    force: bool = False,
) -> Updated:
    """Let a router, or the routers of a fused system, learn again from their log and the traffic that was served.

    A router is made again as it was made, from the grown log, and replaced unless that makes it worse: where the 95 %
    interval of the difference lies below zero, of the mean reward on the log's held-out queries, or of the doubly
    robust estimate on served queries that were not learned from. In a fused system each router is compared on the
    tasks that it decides, under its trade-off there, and replaced or kept by itself. The old folder is kept beside the
    new one; `serve` takes the new one over by itself.

    Args:
        router: Folder of a router or a fused system.
        logs: Folder of `serve`, with texts (``--log full``) and scores (feedback, or after `judge` or `grade`).
        bench: The log that it was trained on, with a split partial_test or test.
        scenario: Trade-off under which routers are compared (default: performance); a fused system has its own.
        seed: Of the training; None takes the router's own.
        force: Replace it even if it is worse.

    Raises:
        UserError: No router, nothing to learn from, or an unknown scenario.
    """
    folder = Path(router)
    fused = (folder / CONFIG_FILE).is_file()
    if not fused and not (folder / "config.json").is_file():
        raise UserError(f"{router}: expected the folder of a router or a fused system, found none")
    if fused and scenario is not None:
        raise UserError("scenario: a fused system has chosen its own for each task: leave it out")
    log = Log(bench)
    if fused:
        return _update_fused(folder, log, logs, seed, force)
    old = load_router(str(folder))
    trade = scenario or "performance"
    old.trade_off(trade)
    result = _update_one(old, _read(log, logs, old), [Use(trade)], seed, force, str(logs))
    if result.replaced:
        result.previous = str(_replace(folder, result.router.save_pretrained))
    return result


def _read(log: Log, logs: str | Path, router: Router) -> _Logs:
    splits = log.splits
    train = ((router.config.training or {}).get("settings") or {}).get("split", "train")
    split = next((s for s in ("partial_test", "test") if s in splits and s != train), None)
    if split is None or train not in splits:
        raise UserError(
            f"{log.path}: expected splits {train} and partial_test or test, found {', '.join(splits) or 'none'}"
        )
    return _Logs(log.table(train), log.table(split), split, Log(logs).table(), log.about.llms or None)


def _update_one(old: Router, logs: _Logs, uses: list[Use], seed: int | None, force: bool, name: str) -> Updated:
    rows, read, dropped = scored(logs.served, set(logs.test["query"].to_pylist()), old.candidates)
    grown, kept = learned_from(rows, logs.train)
    if not kept:
        raise UserError(
            f"{name}: none of {read} served rows can be learned from: serve with --log full and collect scores by "
            "POST /v1/feedback, judge or grade"
        )
    audit = audit_tables({"train": grown, logs.split: logs.test}, regrade=0)["by_severity"]
    new = learn(old, grown, logs.llms, seed)
    logged = compare_logged(old, new, logs.train, logs.test, logs.split, uses)
    on_served = compare_served(old, new, logs.served, uses)
    found = (("held-out queries", logged), ("served traffic", on_served))
    worse = [w for w, f in found if f and f["high"] is not None and f["high"] < 0]
    compared = [w for w, f in found if f and f["high"] is not None]
    good, reason = bool(compared) and not worse, f"worse on {' and '.join(worse)}"
    if not compared:
        reason = "no query to compare it on"
    elif good:
        reason = f"not worse on {' and '.join(compared)}"
    if force and not good:
        reason += ", but forced"
    return Updated(read, kept, dropped, logged, on_served, audit, force or good, reason, router=new)


def _update_fused(folder: Path, log: Log, logs: str | Path, seed: int | None, force: bool) -> Updated:
    config = read_config(folder)
    uses: dict[str, list[Use]] = {}
    for name, spec in config["systems"].items():
        tasks = frozenset(task for task, entry in config["tasks"].items() if entry["system"] == name)
        if spec["kind"] == "router" and tasks:
            uses.setdefault(spec["router"], []).append(Use(spec["scenario"], tasks))
    if not uses:
        raise UserError(f"{folder}: expected a fused system in which a router decides, found only candidates")
    found: dict[str, Updated] = {}
    for path, where in uses.items():
        old = load_router(str(folder / path))
        found[path] = _update_one(old, _read(log, logs, old), where, seed, force, str(logs))
    new = {path: one.router for path, one in found.items() if one.replaced and one.router is not None}
    first = max(found.values(), key=lambda one: one.kept)
    result = Updated(
        first.read, first.kept, first.dropped, None, None, first.audit, bool(new),
        f"{len(new)} of {len(found)} routers are new", routers=found,
    )  # fmt: skip
    if new:
        result.previous = str(_replace(folder, lambda part: _write_fused(folder, part, config, new)))
    return result


def _write_fused(folder: Path, part: Path, config: dict[str, Any], new: dict[str, Router]) -> None:
    """The system with its new routers; test figures of the tasks that they decide were the old ones', and go."""
    shutil.copytree(folder, part)
    for path, router in new.items():
        shutil.rmtree(part / path)
        router.save_pretrained(part / path)
    changed = {name for name, spec in config["systems"].items() if spec.get("router") in new}
    tasks = {
        task: {**entry, "evidence": {**entry["evidence"], "test": None}} if entry["system"] in changed else entry
        for task, entry in config["tasks"].items()
    }
    write_config(part, {**config, "tasks": tasks, "test": None})
    if (folder / "README.md").is_file():
        write_fused_card(part)


def _replace(folder: Path, write: Any) -> Path:
    """Put what `write` writes in the old folder's place, whole at every moment; returns where the old one is."""
    part, number = folder.with_name(f"{folder.name}.part"), 1
    shutil.rmtree(part, ignore_errors=True)
    write(part)
    while (previous := folder.with_name(f"{folder.name}.before-{number}")).exists():
        number += 1
    folder.rename(previous)
    part.rename(folder)
    return previous

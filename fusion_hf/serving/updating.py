"""The verb `update`: served traffic joins the training log, and a router that is not worse replaces the old one."""

import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.audit import audit_tables
from ..logs.log import Log
from ..logs.rewards import Scaling, Scenario, pick, reward
from ..logs.schema import candidate_id, query_id, rows_to_table, validate
from ..logs.stats import paired
from ..results import Result
from ..routers import Router, fit_router, load_router
from ..routers.cascade.answers import log_answers
from ..routers.decisions import TIE
from ..routers.kind import PREFIX
from ..routers.measuring.off_policy import estimate
from ..routers.measuring.served import largest, read_traffic, terms

HELD_OUT = 5
"""One served query in so many is not learned from, but used to compare the routers."""
SOURCE = "served"


@dataclass
class Updated(Result):
    """What came of an update.

    Attributes:
        read, kept, dropped: Served rows, those that were learned from, and the others by reason.
        held_out: ``{"split", "queries", "old", "new", "difference", "low", "high"}``: mean reward on the log's own
            held-out queries.
        served: The same by the doubly robust estimate, on served queries that were not learned from; None without any.
        audit: Findings of the audit of the grown log by severity.
        replaced: Whether the new router is in the old one's place.
        reason: Why, or why not.
        previous: Where the old router is now; None where it stayed.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    held_out: dict[str, Any]
    served: dict[str, Any] | None
    audit: dict[str, int]
    replaced: bool
    reason: str
    previous: str | None = None
    router: Router | None = field(default=None, repr=False, metadata={"json": False})

    def __str__(self) -> str:
        lines = [f"learned from {self.kept} of {self.read} served rows"
                 + "".join(f"; {n} {reason}" for reason, n in self.dropped.items() if n)]  # fmt: skip
        for name, found in (("held out", self.held_out), ("served, doubly robust", self.served)):
            if found is not None:
                lines.append(
                    f"{name}: {found['old']:.4f} -> {found['new']:.4f}, difference {found['difference']:+.4f} "
                    f"[{found['low']:+.4f}, {found['high']:+.4f}] on {found['queries']} queries"
                )
        return "\n".join([*lines, f"{'replaced' if self.replaced else 'kept the old router'}: {self.reason}"])


def update(
    router: str | Path,
    logs: str | Path,
    *,
    bench: str | Path,
    scenario: str = "performance",
    seed: int = 0,
    force: bool = False,
) -> Updated:
    """Let a router learn again from its log and the traffic that was served, and replace it unless that makes it worse.

    A router is worse where the 95 % interval of the difference lies below zero: of the mean reward on the log's
    held-out queries, or of the doubly robust estimate on served queries that were not learned from. The old router is
    kept beside the new one; `serve` takes the new one over by itself.

    Args:
        router: Folder of a router.
        logs: Folder of `serve`, with texts (``--log full``) and scores (feedback, or after `judge` or `grade`).
        bench: The log that it was trained on, with a split partial_test or test.
        scenario: Trade-off under which the routers are compared.
        seed: Of the training.
        force: Replace it even if it is worse.

    Raises:
        UserError: No router, nothing to learn from, or an unknown scenario.
    """
    folder = Path(router)
    if not (folder / "config.json").is_file():
        raise UserError(f"{router}: expected the folder of a router, found none")
    old = load_router(str(folder))
    trade = old.trade_off(scenario)
    log = Log(bench)
    splits = log.splits
    split = next((s for s in ("partial_test", "test") if s in splits), None)
    if split is None or "train" not in splits:
        raise UserError(f"{bench}: expected splits train and partial_test or test, found {', '.join(splits) or 'none'}")
    tables = {name: log.table(name) for name in ("train", split)}
    served = Log(logs).table()
    rows, read, dropped = _scored(served, set(tables[split]["query"].to_pylist()), old.candidates)
    learned = [row for row in rows if not _held_out(row["query"])]
    if not learned:
        raise UserError(
            f"{logs}: none of {read} served rows can be learned from: serve with --log full and collect scores by "
            "POST /v1/feedback, judge or grade"
        )
    grown = pa.concat_tables([tables["train"], validate(rows_to_table(learned))])
    audit = audit_tables({"train": grown, split: tables[split]}, regrade=0)["by_severity"]
    new = _learn(old, grown, seed)
    compared = Scenario(trade["alpha"], trade["beta"], trade["score"])
    held_out = _compare(old, new, tables, split, compared)
    on_served = _compare_served(old, new, served, scenario)
    worse = [w for w, f in (("held-out queries", held_out), ("served traffic", on_served)) if f and f["high"] < 0]
    replaced, reason, previous = force or not worse, f"worse on {' and '.join(worse)}", None
    if not worse:
        reason = "not worse on held-out queries" + ("" if on_served is None else " and on served traffic")
    elif force:
        reason += ", but forced"
    if replaced:
        previous = str(_replace(folder, new))
    return Updated(read, len(learned), dropped, held_out, on_served, audit, replaced, reason, previous, new)


def _held_out(query: str) -> bool:
    return crc32(query.encode("utf-8", "replace")) % HELD_OUT == 0


def _scored(table: pa.Table, held: set[str], candidates: list[str]) -> tuple[list[dict], int, dict[str, int]]:
    """(log rows, one a text and candidate with the mean of its scores; rows read; rows left out by reason)."""
    dropped = dict.fromkeys(("without an answer", "without a text", "without a score", "of unknown candidates",
                             "in the held-out split"), 0)  # fmt: skip
    groups: dict[tuple[str, str, str], list[dict]] = defaultdict(list)
    read = table.num_rows
    for row in table.to_pylist():
        score = row["performance"] if row["performance"] is not None else row["judge"]
        reason = None
        if row["error"] is not None:
            reason = "without an answer"
        elif not row["query"]:
            reason = "without a text"
        elif score is None:
            reason = "without a score"
        elif candidate_id(row["llm"], row["mode"]) not in candidates:
            reason = "of unknown candidates"
        elif row["query"] in held:
            reason = "in the held-out split"
        if reason is None:
            groups[row["query"], row["llm"], row["mode"]].append({**row, "performance": score})
        else:
            dropped[reason] += 1
    rows = []
    for (query, _, _), same in groups.items():
        costs = [row["cost"] for row in same if row["cost"] is not None]
        rows.append(
            same[-1]
            | {
                "query_id": query_id(same[0]["task"], SOURCE, query),
                "task": same[0]["task"],
                "source_id": SOURCE,
                "performance": float(np.mean([row["performance"] for row in same])),
                "cost": float(np.mean(costs)) if costs else None,
            }
        )
    return rows, read, dropped


def _learn(old: Router, table: pa.Table, seed: int) -> Router:
    """A router of the same kind, with the same encoder and trade-offs, from a log."""
    data = RoutingData.from_table(table)
    encoder = "none" if old.encoder is None else old.text_encoder
    answers = log_answers(table, data) if old.needs_answers and table["response"].null_count < table.num_rows else None
    kind = old.config.model_type.removeprefix(PREFIX)
    new = fit_router(kind, data, encoder=encoder, task_labels=bool(old.config.tasks), seed=seed, answers=answers,
                     progress=False)  # fmt: skip
    new.config.encoder_name = new.config.training["settings"]["encoder"] = old.config.encoder_name
    new.config.scenarios = {**(new.config.scenarios or {}), **(old.config.scenarios or {})}
    return new


def _compare(old: Router, new: Router, tables: dict[str, pa.Table], split: str, trade: Scenario) -> dict[str, Any]:
    data = {name: RoutingData.from_table(table) for name, table in tables.items()}
    known = [c for c in old.candidates if c in data["train"].candidates and c in data[split].candidates]
    if not known:
        raise UserError(f"the router and the log share no candidate: expected some of {', '.join(old.candidates)}")
    train, test = (data[name].select(known) for name in ("train", split))
    rewards = reward(test, trade, Scaling.fit(train))
    got = []
    for router in (old, new):
        predictions = router.predict(test.queries).select(known)
        expected = predictions.reward(trade.alpha, trade.beta, trade.score)
        got.append(rewards[np.arange(len(test)), pick(expected, predictions.cost, known, tolerance=TIE)])
    gap = paired(got[1], got[0])
    figures = {"split": split, "queries": len(test), "old": float(np.nanmean(got[0])), "new": float(np.nanmean(got[1]))}
    return figures | {name: gap[name] for name in ("difference", "low", "high")}


def _compare_served(old: Router, new: Router, table: pa.Table, scenario: str) -> dict[str, Any] | None:
    """Mean score by the doubly robust estimate; None where no query was kept apart or the server never explored."""
    try:
        traffic = read_traffic(table, old.candidates)
    except UserError:
        return None
    traffic = traffic.subset(np.array([_held_out(query) for query in traffic.queries]))
    if len(traffic) < 2 or (traffic.propensity == 1.0).all():
        return None
    before, after = (terms(r, traffic, scenario)["performance"]["doubly_robust"] for r in (old, new))
    gap = estimate(after - before, largest(traffic, "performance"))
    return {
        "queries": len(traffic), "old": float(before.mean()), "new": float(after.mean()),
        "difference": gap["value"], "low": gap["low"], "high": gap["high"],
    }  # fmt: skip


def _replace(folder: Path, new: Router) -> Path:
    """Put the new router in the old one's place, whole at every moment; returns where the old one is."""
    part, number = folder.with_name(f"{folder.name}.part"), 1
    shutil.rmtree(part, ignore_errors=True)
    new.save_pretrained(part)
    while (previous := folder.with_name(f"{folder.name}.before-{number}")).exists():
        number += 1
    folder.rename(previous)
    part.rename(folder)
    return previous

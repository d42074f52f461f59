"""A router that learns again from its log and from what was served, and how it compares with the old one."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.rewards import Scaling, Scenario, pick, reward
from ..logs.schema import candidate_id, query_id, rows_to_table, validate
from ..logs.stats import paired
from ..routers import Router, fit_router
from ..routers.cascade.answers import log_answers
from ..routers.decisions import TIE
from ..routers.measuring.off_policy import estimate
from ..routers.measuring.served import largest, read_traffic, terms

HELD_OUT = 5
"""One served query in so many is not learned from, but used to compare the routers."""
SOURCE = "served"


@dataclass(frozen=True)
class Use:
    """Where a router decides.

    Attributes:
        scenario: Its trade-off there.
        tasks: The tasks; None for all.
    """

    scenario: str
    tasks: frozenset[str] | None = None

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows of these tasks."""
        return table if self.tasks is None else table.filter(pc.is_in(table["task"], pa.array(sorted(self.tasks))))


def held_out(query: str) -> bool:
    """Whether a served query is kept apart."""
    return crc32(query.encode("utf-8", "replace")) % HELD_OUT == 0


def scored(table: pa.Table, held: Collection[str], candidates: list[str]) -> tuple[list[dict], int, dict[str, int]]:
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


def learned_from(rows: list[dict], train: pa.Table) -> tuple[pa.Table, int]:
    """(the training log with the served rows that are not kept apart, their number)."""
    kept = [row for row in rows if not held_out(row["query"])]
    return (pa.concat_tables([train, validate(rows_to_table(kept))]) if kept else train), len(kept)


def learn(old: Router, table: pa.Table, llms: list[dict] | None, seed: int | None) -> Router:
    """A router like the old one, from a log: of its kind, with its options, encoder, seed and trade-offs.

    Args:
        old: It says in ``config.training["settings"]`` how it was made; one of an older version is made anew with the
            options that its kind has by itself.
        table: The log.
        llms: Rows of the log's pool, for a router that has read them.
        seed: Another seed.
    """
    data = RoutingData.from_table(table)
    made = old.config.training or {}
    settings = made.get("settings") or {}
    answers = log_answers(table, data) if old.needs_answers and table["response"].null_count < table.num_rows else None
    new = fit_router(
        type(old), data,  # the checkpoint's name of it may be a file of code
        encoder="none" if old.encoder is None else old.text_encoder,
        task_labels=settings.get("task_labels", bool(old.config.tasks)),
        seed=settings.get("seed", 0) if seed is None else seed,
        llms=llms if made.get("log", {}).get("llms") else None,
        answers=answers, progress=False, **settings.get("option", {}),
    )  # fmt: skip
    new.config.encoder_name = new.config.training["settings"]["encoder"] = old.config.encoder_name
    if "split" in settings:
        new.config.training["settings"]["split"] = settings["split"]
    new.config.scenarios = {**(new.config.scenarios or {}), **(old.config.scenarios or {})}
    return new


def compare_logged(old: Router, new: Router, train: pa.Table, test: pa.Table, split: str, uses: list[Use]) -> dict:
    """Mean reward of both on the held-out queries where they decide, with the interval of the difference."""
    pairs = [_rewards(old, new, use.rows(train), use.rows(test), old.trade_off(use.scenario)) for use in uses]
    before, after = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
    figures: dict[str, Any] = {"split": split, "queries": len(before)}
    if not np.isfinite(before).any() or not np.isfinite(after).any():
        return figures | dict.fromkeys(("old", "new", "difference", "low", "high"))
    gap = paired(after, before)
    figures |= {"old": float(np.nanmean(before)), "new": float(np.nanmean(after))}
    return figures | {name: gap[name] for name in ("difference", "low", "high")}


def _rewards(old: Router, new: Router, train: pa.Table, test: pa.Table, trade: dict) -> tuple[np.ndarray, np.ndarray]:
    if not train.num_rows or not test.num_rows:
        return np.zeros(0), np.zeros(0)
    seen, asked = RoutingData.from_table(train), RoutingData.from_table(test)
    known = [c for c in old.candidates if c in seen.candidates and c in asked.candidates]
    if not known:
        raise UserError(f"the router and the log share no candidate: expected some of {', '.join(old.candidates)}")
    seen, asked = seen.select(known), asked.select(known)
    scenario = Scenario(trade["alpha"], trade["beta"], trade["score"])
    rewards, got = reward(asked, scenario, Scaling.fit(seen)), []
    for router in (old, new):
        predictions = router.predict(asked.queries).select(known)
        expected = predictions.reward(**trade)
        got.append(rewards[np.arange(len(asked)), pick(expected, predictions.cost, known, tolerance=TIE)])
    return got[0], got[1]


def compare_served(old: Router, new: Router, table: pa.Table, uses: list[Use]) -> dict[str, Any] | None:
    """Mean score by the doubly robust estimate; None where no query was kept apart or the server never explored."""
    parts = [_terms(old, new, use.rows(table), use.scenario) for use in uses]
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    before, after = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    gap = estimate(after - before, max(part[2] for part in parts))
    return {
        "queries": len(before), "old": float(before.mean()), "new": float(after.mean()),
        "difference": gap["value"], "low": gap["low"], "high": gap["high"],
    }  # fmt: skip


def _terms(old: Router, new: Router, table: pa.Table, scenario: str) -> tuple[np.ndarray, np.ndarray, float] | None:
    try:
        traffic = read_traffic(table, old.candidates)
    except UserError:
        return None
    traffic = traffic.subset(np.array([held_out(query) for query in traffic.queries]))
    if len(traffic) < 2 or (traffic.propensity == 1.0).all():
        return None
    before, after = (terms(r, traffic, scenario)["performance"]["doubly_robust"] for r in (old, new))
    return before, after, largest(traffic, "performance")

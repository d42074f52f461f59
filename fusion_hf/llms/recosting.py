"""A log priced anew after a price change: read, recost, write, and say what changed."""

import functools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..logs.card import About
from ..logs.log import Log, Source
from .build import pool_rows
from .pool import Pool


def recost(table: pa.Table, pool: Pool) -> pa.Table:
    """The log with `cost` computed anew from its tokens and the prices of `pool`; null where either is null.

    Raises `UserError` if the log has an LLM that the pool has not.
    """
    names = pc.dictionary_encode(table["llm"]).combine_chunks()
    if isinstance(names, pa.ChunkedArray):  # a table without rows has no chunk to combine
        return table
    llms = [pool.get_llm(name) for name in names.dictionary.to_pylist()]
    index = names.indices
    sent, cached, got, reasoning = (
        pa.chunked_array([pa.array([llm.prices[i] for llm in llms], pa.float64()).take(index)]) for i in range(4)
    )
    parts = [
        pc.multiply(_tokens(table, "input_tokens"), sent),
        pc.multiply(_tokens(table, "output_tokens"), got),
        pc.multiply(pc.fill_null(_tokens(table, "cached_tokens"), 0.0), pc.subtract(cached, sent)),
        pc.multiply(pc.fill_null(_tokens(table, "reasoning_tokens"), 0.0), pc.subtract(reasoning, got)),
    ]
    cost = pc.divide(functools.reduce(pc.add, parts), 1e6)
    return table.set_column(table.column_names.index("cost"), table.schema.field("cost"), cost)


def _tokens(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.float64())])
    return pc.cast(table[name], pa.float64())


def recost_log(log: Source, pool: Pool, out: str | Path, partial: bool = False) -> dict[str, Any]:
    """Price every answer of `log` with the prices of `pool`, write it to `out`, and report by LLM.

    A row without token counts, or of an LLM without prices, has no cost afterwards: its old cost belongs to old
    prices. It counts as ``unpriced``. The scores and everything else stay as they are.

    Args:
        log: Anything that `Log` opens.
        pool: The prices.
        out: A folder for a FusionBench folder (all its splits), else a file that ends in .parquet or .jsonl.
        partial: Leave the rows of LLMs that the pool has not as they are (counted as ``kept``) instead of refusing.

    Returns:
        ``read``, ``recosted``, ``unpriced``, ``kept``, ``usd_before``, ``usd_after``, and ``by_llm`` with the same.

    Raises:
        UserError: An LLM that the pool has not, nothing to read, or an `out` that does not fit the log.
    """
    log = Log(log).as_collected()
    log.check_out(out, other=True)
    report: dict[str, Any] = {"read": 0, "recosted": 0, "unpriced": 0, "kept": 0, "usd_before": 0.0, "usd_after": 0.0}
    by_llm: dict[str, dict[str, Any]] = {}

    def priced(old: pa.Table) -> pa.Table:
        new = _recost_known(old, pool) if partial else recost(old, pool)
        _count(old, new, pool, by_llm)
        return new

    new = log.map(priced)
    new.write(out, replace=True, about=About(llms=[row for row in pool_rows(pool) if row["name"] in by_llm]))
    for entry in by_llm.values():
        for key in report:
            report[key] += entry[key]
    return report | {"by_llm": by_llm}


def _recost_known(table: pa.Table, pool: Pool) -> pa.Table:
    """`recost` of the rows whose LLM the pool has; the others keep their cost."""
    known = pc.is_in(table["llm"], pa.array(list(pool), pa.string()))
    mine = recost(table.filter(known), pool)
    cost = pc.replace_with_mask(table["cost"].combine_chunks(), known.combine_chunks(), mine["cost"].combine_chunks())
    return table.set_column(table.column_names.index("cost"), table.schema.field("cost"), cost)


def _count(old: pa.Table, new: pa.Table, pool: Pool, by_llm: dict[str, dict[str, Any]]) -> None:
    """Add the rows and USD of one table to the figures of each LLM."""
    both = pa.table({"llm": old["llm"], "before": old["cost"], "after": new["cost"]})
    sums = both.group_by("llm").aggregate([("before", "sum"), ("after", "sum"), ("after", "count"), ([], "count_all")])
    for row in sums.sort_by("llm").to_pylist():
        entry = by_llm.setdefault(
            row["llm"],
            {"read": 0, "recosted": 0, "unpriced": 0, "kept": 0, "usd_before": 0.0, "usd_after": 0.0},
        )
        rows, priced = row["count_all"], row["after_count"]
        entry["read"] += rows
        if row["llm"] in pool:
            entry["recosted"] += priced
            entry["unpriced"] += rows - priced
        else:
            entry["kept"] += rows
        entry["usd_before"] += row["before_sum"] or 0.0
        entry["usd_after"] += row["after_sum"] or 0.0

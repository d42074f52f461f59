"""Token counts, costs and latencies that cannot be real, and answers of another model than was asked."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...tasks.modes import RETRIEVED_MODES
from ..schema import encode
from .finding import Finding, candidates, examples

ENOUGH, SPREAD = 10, 24
"""Rows with one count that a constant is told from at least, and bytes by which their texts must differ."""
BYTES_PER_TOKEN = 4  # of English; other scripts have fewer bytes a token, but not a tenth
OFF, ROOM, LEAST = 8, 100, 20
"""A count is off from `OFF` times the estimate on, if that is `ROOM` tokens more; below, for an estimate of `LEAST`."""
FEW, SHARE = 3, 0.01  # rows, and share of a candidate's rows, that a fault must have at least to be named


def token_counts(table: pa.Table, split: str) -> list[Finding] | str:
    """Counts that are one constant, zero or negative beside a text, or many times what the text can have.

    The estimate is UTF-8 bytes / 4. Output tokens may be far more than the response shows, because reasoning is hidden:
    only what is not counted as reasoning is compared, and only where a count of reasoning is there, or too few tokens.
    """
    sides = {
        "input_tokens": (_sizes(table["query"]), np.zeros(table.num_rows)),
        "output_tokens": (_sizes(table["response"]), _sizes(_column(table, "reasoning"))),
    }
    if all(table[name].null_count == table.num_rows for name in sides):
        return "the log has no token counts"
    findings: list[Finding] = []
    names, column = candidates(table)
    cut = _is_cut(table)
    for name, (text, more) in sides.items():
        tokens = _numbers(table[name])
        known = np.isfinite(tokens) & (text > 0)
        for i, candidate in enumerate(names):
            rows = np.flatnonzero(known & (column == i))
            of = (split, candidate, name, tokens, text + more)
            findings += [*_none(table, rows, *of), *_constant(table, rows[~cut[rows]], *of)]
        findings += _far_off(table, split, name, tokens, text, more, names, column)
    return findings


def _none(table, rows, split, candidate, name, tokens, text) -> list[Finding]:
    bad = rows[tokens[rows] <= 0]
    if not len(bad):
        return []
    of = "query" if name == "input_tokens" else "response"
    return [
        Finding(
            "token counts", "error", f"{split}: {len(bad)} of {len(rows)} rows of {candidate} have {name} of 0 or less "
            f"beside a {of} with text", "count them anew, or leave them out: their costs are too low", len(bad),
            None, candidate, examples(table, bad), {"rows": len(bad), "of": len(rows)},
        )
    ]  # fmt: skip


def _constant(table, rows, split, candidate, name, tokens, text) -> list[Finding]:
    """One count for texts of many lengths, in all rows or in half of them: what is written where a count is missing."""
    rows = rows[tokens[rows] > 0]
    if not len(rows):
        return []
    values, counts = np.unique(tokens[rows], return_counts=True)
    value, of = int(values[counts.argmax()]), len(rows)
    rows = rows[tokens[rows] == value]
    if len(rows) < max(ENOUGH, of / 2):
        return []
    low, high = np.quantile(text[rows], (0.1, 0.9))
    if high < max(1.5 * low, low + SPREAD) or len(np.unique(text[rows])) < 5:
        return []
    part = f"all {of}" if len(rows) == of else f"{len(rows)} of {of}"
    return [
        Finding(
            "token counts", "error", f"{split}: {name} of {candidate} is {value} in {part} rows, though the "
            f"texts have {int(low)} to {int(high)} bytes", "it is a default, not a count: count them anew, for "
            "costs and routers rest on it", len(rows), None, candidate, examples(table, rows),
            {"value": value, "of": of},
        )
    ]  # fmt: skip


def _far_off(table, split, name, tokens, text, more, names, column) -> list[Finding]:
    """Counts that are many times, or a small part of, what the text has."""
    low, high = text / BYTES_PER_TOKEN, (text + more) / BYTES_PER_TOKEN
    shown = tokens.copy()
    if name == "output_tokens":
        # What a server hides may have any length; what it counts as reasoning is taken off.
        reasoning = _numbers(_column(table, "reasoning_tokens"))
        shown = np.where(np.isfinite(reasoning), tokens - reasoning, np.nan)
        high = low
    # Templates stand before these queries.
    thought = np.asarray(pc.is_in(table["mode"], pa.array(RETRIEVED_MODES))) & (name == "input_tokens")
    # A response without its reasoning has what the server counted in all; bytes say the least there can be.
    few = (tokens > 0) & (low >= LEAST) & (tokens * OFF <= low)
    many = (shown >= OFF * high) & (shown - high >= ROOM) & (text > 0) & ~thought
    findings = []
    for i, candidate in enumerate(names):
        mine = (column == i) & np.isfinite(tokens) & (text > 0)
        for bad, what in ((few, "fewer"), (many, "more")):
            rows = np.flatnonzero(mine & bad)
            if len(rows) < max(FEW, SHARE * mine.sum()):
                continue
            ratio = float(np.median(tokens[rows] / low[rows]))
            findings.append(
                Finding(
                    "token counts", "warning", f"{split}: {name} of {candidate} is far {what} than the text has in "
                    f"{len(rows)} of {int(mine.sum())} rows (median {ratio:.2g} times bytes / {BYTES_PER_TOKEN})",
                    "words, characters or another row's count may have been logged"
                    if what == "fewer" or name == "output_tokens" else
                    "the prompt held more than the log shows (examples, a long system message), or another count "
                    "was logged", len(rows), None, candidate, examples(table, rows),
                    {"ratio": ratio, "of": int(mine.sum())},
                )
            )  # fmt: skip
    return findings


def costs(table: pa.Table, split: str, llms: Iterable[Mapping[str, Any]] = ()) -> list[Finding] | str:
    """Costs that are not tokens times prices, and those that the provider's own account contradicts.

    Args:
        llms: Rows of the config ``llms``: ``name`` and prices in USD per million tokens.
    """
    usd = _numbers(table["cost"])
    if not np.isfinite(usd).any():
        return "the log has no costs"
    rows_of = {row["name"]: row for row in llms if row.get("input_price") is not None}
    names, llm = encode(table["llm"])
    reported = _numbers(_column(table, "reported_cost"))
    if not any(name in rows_of for name in names) and not np.isfinite(reported).any():
        return "needs the prices of the LLMs (config llms)"
    due = _due(table, [rows_of.get(str(name), {}) for name in names], llm)
    off = np.isfinite(usd) & np.isfinite(due) & (np.abs(usd - due) > 0.02 * np.maximum(due, usd) + 1e-12)
    told = np.isfinite(usd) & np.isfinite(reported)
    findings = []
    for i, name in enumerate(map(str, names)):
        mine = (llm == i) & np.isfinite(usd)
        rows = np.flatnonzero(mine & off)
        if len(rows) >= max(FEW, SHARE * mine.sum()):
            ratio = float(usd[rows].sum() / due[rows].sum()) if due[rows].sum() else None
            times = "although its tokens are free of charge" if ratio is None else f"{ratio:.3g} times as much in all"
            findings.append(
                Finding(
                    "costs", "warning", f"{split}: the cost of {name} is not its tokens times its prices in "
                    f"{len(rows)} of {int(mine.sum())} rows ({times})", "price the log anew (`fusion-hf recost`), or "
                    "correct the prices", len(rows), None, name, examples(table, rows),
                    {"ratio": ratio, "of": int(mine.sum())},
                )
            )  # fmt: skip
        rows = np.flatnonzero(mine & told)
        ours, theirs = float(usd[rows].sum()), float(reported[rows].sum())
        if len(rows) >= FEW and abs(ours - theirs) > 0.1 * max(ours, theirs):
            findings.append(
                Finding(
                    "costs", "warning", f"{split}: the provider of {name} says that {len(rows)} answers cost "
                    f"{theirs:.4g} USD, tokens times prices give {ours:.4g}", "compare the prices of the pool with the "
                    "provider's: another price, a fee or cached input", len(rows), None, name, examples(table, rows),
                    {"reported_usd": theirs, "usd": ours},
                )
            )  # fmt: skip
    return findings


def _due(table: pa.Table, prices: list[Mapping[str, Any]], llm: np.ndarray) -> np.ndarray:
    """USD of each row by its tokens and the prices; NaN where one is not known."""

    def price(name: str, instead: str) -> np.ndarray:
        values = [row.get(instead) if row.get(name) is None else row.get(name) for row in prices]
        return np.array([np.nan if value is None else value for value in values], float)[llm]

    sent, got = price("input_price", "input_price"), price("output_price", "output_price")
    cached, thought = price("cached_input_price", "input_price"), price("reasoning_price", "output_price")
    parts = (np.nan_to_num(_numbers(_column(table, name))) for name in ("cached_tokens", "reasoning_tokens"))
    of_cached, of_thought = (tokens * (own - full) for tokens, own, full in zip(
        parts, (cached, thought), (sent, got), strict=True
    ))  # fmt: skip
    plain = _numbers(table["input_tokens"]) * sent + _numbers(table["output_tokens"]) * got
    return (plain + of_cached + of_thought) / 1e6


def latencies(table: pa.Table, split: str) -> list[Finding] | str:
    """Answers in no time, or in the same time to the digit."""
    seconds = _numbers(table["latency_s"])
    answered = np.isfinite(seconds) & np.asarray(pc.is_valid(table["response"]))
    if not answered.any():
        return "the log has no latencies of responses"
    findings = []
    names, column = candidates(table)
    for i, name in enumerate(names):
        mine = np.flatnonzero(answered & (column == i))
        bad = mine[seconds[mine] <= 0]
        if len(bad):
            findings.append(
                Finding(
                    "latencies", "warning", f"{split}: {len(bad)} of {len(mine)} answers of {name} took 0 seconds or "
                    "less", "they come from a cache, or nobody measured: leave them out of comparisons of speed",
                    len(bad), None, name, examples(table, bad), {"rows": len(bad), "of": len(mine)},
                )
            )  # fmt: skip
    return findings


def served_models(table: pa.Table, split: str, llms: Iterable[Mapping[str, Any]] = ()) -> list[Finding] | str:
    """LLMs that were answered by another model than was asked, or by several.

    Names are compared without the organisation before them; a longer one that begins with the other is the same model
    with its version (``gpt-4o`` and ``gpt-4o-2024-08-06``).
    """
    served = _column(table, "served_model")
    if served.null_count == table.num_rows:
        return "no server said which model it served"
    asked = {row["name"]: row.get("model") or row["name"] for row in llms}
    counted = (
        pa.table({"llm": table["llm"], "served": served}).group_by(["llm", "served"]).aggregate([([], "count_all")])
    )
    by_llm: dict[str, dict[str, int]] = {}
    for row in counted.to_pylist():
        if row["served"] is not None:
            by_llm.setdefault(row["llm"], {})[row["served"]] = row["count_all"]
    findings = []
    for llm, models in sorted(by_llm.items()):
        others = {model: n for model, n in models.items() if not _same_model(asked.get(llm, llm), model)}
        if others:
            count = sum(others.values())
            shown = ", ".join(f"{model} ({n})" for model, n in sorted(others.items(), key=lambda pair: -pair[1])[:3])
            rows = np.flatnonzero(np.asarray(
                pc.and_(pc.equal(table["llm"], llm), pc.is_in(served, value_set=pa.array(list(others), pa.string())))
            ))  # fmt: skip
            findings.append(
                Finding(
                    "served models", "warning", f"{split}: {count} of {sum(models.values())} answers of {llm} come "
                    f"from another model than {asked.get(llm, llm)}: {shown}", "ask the provider, or log these answers "
                    "under the model that gave them", count, None, llm, examples(table, rows), {"models": models},
                )
            )  # fmt: skip
        elif len(models) > 1:
            shown = ", ".join(f"{model} ({n})" for model, n in sorted(models.items(), key=lambda pair: -pair[1])[:3])
            findings.append(
                Finding(
                    "served models", "info", f"{split}: {llm} was answered by {len(models)} versions: {shown}",
                    "the version changed while answers were collected: scores before and after may differ",
                    sum(models.values()), None, llm, figures={"models": models},
                )
            )  # fmt: skip
    return findings


def _same_model(asked: str, served: str) -> bool:
    one, other = (name.lower().rstrip("/").rsplit("/", 1)[-1].replace("_", "-") for name in (asked, served))
    short, long = sorted((one, other), key=len)
    # A version follows after a mark or a digit of its own: gpt-4 and gpt-4o are two models.
    rest = long[len(short) :]
    return long.startswith(short) and (not rest or (rest[0] in "-@:." and not _is_size(rest)))


def _is_size(rest: str) -> bool:
    """Whether what follows a name makes another model of it: ``-mini``, ``-8b``."""
    word = rest.strip("-@:.").split("-")[0]
    digits = word.rstrip("bm")
    sized = digits != word and digits.replace(".", "").isdigit()
    return sized or word in (
        "mini",
        "nano",
        "micro",
        "small",
        "medium",
        "large",
        "lite",
        "flash",
        "pro",
        "turbo",
        "max",
    )


def _is_cut(table: pa.Table) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.equal(table["finish_reason"], "length"), False))


def _sizes(column: pa.ChunkedArray) -> np.ndarray:
    """Bytes of each text; 0 for none."""
    return np.asarray(pc.fill_null(pc.binary_length(column), 0)).astype(float)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """float64, NaN for null."""
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), float("nan")))


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column that older logs do not have."""
    if name in table.column_names:
        return table[name]
    kind = pa.large_string() if name in ("reasoning", "served_model") else pa.float64()
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])

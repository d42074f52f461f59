"""From a log with responses to an SFT dataset: which answers are worth learning from.

The rules are those of FusionFactory's model level (arXiv 2507.10540), with these differences: wrong, empty and
truncated responses never get in, ties go to the cheaper candidate, code answers are code that passed its tests, and
the think suffix is in the prompt exactly when the answer was a think answer.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..bench.tasks import with_mode
from ..errors import UserError

RULES = ("perf", "judge", "hybrid", "baseline")
COLUMNS = ("query_id", "task", "query", "ground_truth", "metric", "llm", "mode", "response", "performance")
OPTIONAL = ("finish_reason", "error", "cost", "extracted", "judge")
TRUNCATED = ("length", "max_tokens", "model_length", "content_filter")
SMALL_BILLIONS = 12.0  # the published small pool ends with Mistral-NeMo 12B
_UNITS = {"k": 1e-6, "m": 1e-3, "b": 1.0, "t": 1e3}


def small_llms(sizes: Mapping[str, str], at_most: float = SMALL_BILLIONS) -> list[str]:
    """Names of the LLMs whose size (``"7B"``, ``"1.03M"``, ``"8x7B"``) is at most `at_most` billion parameters."""
    return sorted(name for name, size in sizes.items() if _billions(name, size) <= at_most)


def _billions(name: str, size: str) -> float:
    found = re.fullmatch(r"\s*(?:(\d+)\s*[xX]\s*)?(\d+(?:\.\d+)?)\s*([kKmMbBtT])\s*", str(size))
    if not found:
        raise UserError(f"size of {name}: expected a number with K, M, B or T such as '7B', found {size!r}")
    experts, number, unit = found.groups()
    return int(experts or 1) * float(number) * _UNITS[unit.lower()]


def select_answers(
    table: pa.Table,
    select: str = "perf",
    top_k: int = 5,
    threshold: float = 0.5,
    llms: Collection[str] | None = None,
    exclude: pa.Table | None = None,
    min_agreement: int | None = None,
    hybrid_keep: int = 3,
) -> tuple[pa.Table, dict]:
    """Pick the answers of a log that a student should learn from. The order of the log's rows never matters.

    Args:
        table: Log rows of the train split (see `fusion_hf.bench.schema`).
        select: ``perf`` ranks the answers of a query by performance, then cheaper, then shorter, then name;
            ``judge`` by judge score, with the same ties; ``hybrid`` takes the `top_k` by performance and of these the
            best `hybrid_keep` by judge; ``baseline`` takes the gold label once a query, and no LLM's answer.
        top_k: Answers kept of one query.
        threshold: Answers below this performance count as wrong.
        llms: Only these LLMs teach (see `small_llms`); None means all.
        exclude: Log rows (a test split, say) whose queries must not be learned: same query_id or same query text.
        min_agreement: Keep a multiple-choice or True/False answer only if at least this many candidates extracted the
            same answer for the query. Right letters with a wrong reason are common among weak LLMs.
        hybrid_keep: See `select`.

    Returns:
        (the chosen log rows plus ``rule`` and ``rank`` (1 is best), sorted by task, query_id and rank;
        counts ``{"read", "kept", "dropped": {reason: rows}}``, where read = kept + everything dropped).

    Raises:
        UserError: A column is missing, an argument is out of range, no LLM of `llms` is in the log, or a judge score
            is needed and the log has none.
    """
    _check(table, select, top_k, threshold, llms, min_agreement, hybrid_keep)
    table = table.select([c for c in (*COLUMNS, *OPTIONAL) if c in table.column_names])
    table = _with_optional(table)
    frame = _light_frame(table)
    drop = _Drops(len(frame))
    if exclude is not None:
        drop("in_excluded_split", _in_split(table, exclude))
    if select == "baseline":
        drop("code_has_no_gold_text", frame["metric"].eq("code_eval"))
        drop("no_gold", frame["no_gold"])
        order = frame[drop.alive].sort_values(["task", "query_id", "llm", "mode"])
        order = order.assign(rank=order.groupby("query_id").cumcount() + 1)
        drop.beyond("same_query", order, order["rank"] <= 1)
        return _finish(table, order[order["rank"] <= 1], select, drop)
    if llms is not None:
        drop("other_llm", ~frame["llm"].isin(list(llms)))
    drop("error", frame["error"])
    drop("empty", frame["empty"])
    drop("truncated", frame["truncated"])
    drop("not_graded", frame["performance"].isna())
    agreeing = _agreement(frame, drop.alive)
    # The log's float32 must compare as equal to a threshold that float32 cannot hold, such as 0.7.
    drop("wrong", frame["performance"] < float(np.float32(threshold)))
    drop("too_little_agreement", frame["guessable"] & (agreeing < (min_agreement or 0)))
    if select in ("judge", "hybrid"):
        if drop.alive.any() and frame["judge"][drop.alive].isna().all():
            raise UserError(
                f"--select {select} needs judge scores, the log has none: run fusion-hf judge or use --select perf"
            )
        drop("not_judged", frame["judge"].isna())
    return _finish(table, _rank(frame[drop.alive], select, top_k, hybrid_keep, drop), select, drop)


def _check(table, select, top_k, threshold, llms, min_agreement, hybrid_keep) -> None:
    if select not in RULES:
        raise UserError(f"--select: expected one of {', '.join(RULES)}, found {select!r}")
    for name, value in (("top_k", top_k), ("hybrid_keep", hybrid_keep), ("min_agreement", min_agreement)):
        if value is not None and value < 1:
            raise UserError(f"{name}: expected at least 1, found {value}")
    if not 0 < threshold <= 1:
        raise UserError(f"threshold: expected a performance above 0 and at most 1, found {threshold}")
    missing = [c for c in COLUMNS if c not in table.column_names]
    if missing:
        raise UserError(f"the log has no column {missing[0]!r}: an SFT dataset needs {', '.join(COLUMNS)}")
    if llms is not None:
        known = set(pc.unique(table["llm"]).to_pylist())
        if not known & set(llms):
            raise UserError(f"none of the LLMs asked for is in the log: it has {', '.join(sorted(known))}")


class _Drops:
    """Counts, for each reason, the rows that were still alive when it struck."""

    def __init__(self, rows: int):
        self.alive = np.ones(rows, bool)
        self.counts: dict[str, int] = {}

    def __call__(self, reason: str, mask) -> None:
        struck = self.alive & np.asarray(mask, bool)
        if struck.any():
            self.counts[reason] = self.counts.get(reason, 0) + int(struck.sum())
        self.alive &= ~struck

    def beyond(self, reason: str, rows: pd.DataFrame, keep: pd.Series) -> None:
        """Drop the rows of a part of the frame (its index is the row number) where `keep` is false."""
        mask = np.zeros(len(self.alive), bool)
        mask[rows.index[~keep.to_numpy(bool)]] = True
        self(reason, mask)


def _with_optional(table: pa.Table) -> pa.Table:
    for name in OPTIONAL:
        if name not in table.column_names:
            kind = pa.float64() if name in ("cost", "judge") else pa.string()
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 [rows], equal exactly where the values are equal; null is -1."""
    encoded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _light_frame(table: pa.Table) -> pd.DataFrame:
    """What ranking needs, without the texts: those stay in Arrow. The index is the row number."""
    text = pc.fill_null(table["response"], "")
    stripped = pc.utf8_trim_whitespace(text)
    reason = pc.utf8_lower(pc.fill_null(table["finish_reason"], ""))
    golds = pc.fill_null(pc.list_value_length(table["ground_truth"]), 0).to_numpy()
    # Joined with a character that no gold answer holds, so that one gold answer reads as itself.
    yes_no = pc.is_in(pc.binary_join(table["ground_truth"], "\x1f"), value_set=pa.array(["True", "False"]))
    names = ("query_id", "task", "metric", "llm", "mode")
    frame = pd.DataFrame({name: table[name].to_pandas() for name in names})
    for name in ("performance", "judge", "cost"):
        frame[name] = pc.cast(table[name], pa.float64()).to_numpy()
    frame["cost"] = frame["cost"].fillna(np.inf)
    frame["chars"] = pc.utf8_length(stripped).to_numpy()
    frame["same_text"] = _codes(stripped)
    frame["extracted"] = _codes(table["extracted"])
    frame["empty"] = pc.equal(pc.utf8_length(stripped), 0).to_numpy()
    frame["truncated"] = pc.is_in(reason, value_set=pa.array(TRUNCATED)).to_numpy()
    frame["error"] = pc.not_equal(pc.fill_null(table["error"], ""), "").to_numpy()
    frame["no_gold"] = golds == 0
    frame["guessable"] = frame["metric"].eq("em_mc") | yes_no.to_numpy()
    return frame


def _in_split(table: pa.Table, other: pa.Table) -> np.ndarray:
    same = pc.is_in(table["query_id"], value_set=pc.unique(other["query_id"]))
    if "query" in other.column_names:
        texts = pc.unique(pc.cast(other["query"], table["query"].type))
        same = pc.or_(same, pc.is_in(table["query"], value_set=texts))
    return same.to_numpy()


def _agreement(frame: pd.DataFrame, alive: np.ndarray) -> np.ndarray:
    """int [rows]: candidates whose extracted answer to the query is the row's (0 where nothing was extracted)."""
    read = frame[alive & (frame["extracted"] >= 0)]
    counts = read.groupby(["query_id", "extracted"])["llm"].transform("size")
    return counts.reindex(frame.index, fill_value=0).to_numpy()


def _rank(rows: pd.DataFrame, select: str, top_k: int, hybrid_keep: int, drop: _Drops) -> pd.DataFrame:
    """Order the answers of each query, drop copies, keep the best; `rank` counts from 1."""
    rows = rows.assign(minus_performance=-rows["performance"], minus_judge=-rows["judge"])
    ties = ["cost", "chars", "llm", "mode"]
    score = "minus_judge" if select == "judge" else "minus_performance"
    rows = rows.sort_values(["task", "query_id", score, *ties])
    first = ~rows.duplicated(["query_id", "mode", "same_text"])
    drop.beyond("duplicate", rows, first)
    rows = rows[first]
    rows = rows.assign(rank=rows.groupby("query_id").cumcount() + 1)
    keep = rows["rank"] <= top_k
    if select == "hybrid":
        rows = rows.assign(beyond=~keep).sort_values(["task", "query_id", "beyond", "minus_judge", score, *ties])
        rows["rank"] = rows.groupby("query_id").cumcount() + 1
        keep = ~rows["beyond"] & (rows["rank"] <= hybrid_keep)
    drop.beyond("below_the_best", rows, keep)
    return rows[keep]


def _finish(table: pa.Table, rows: pd.DataFrame, select: str, drop: _Drops) -> tuple[pa.Table, dict]:
    chosen = table.take(pa.array(rows.index.to_numpy(np.int64)))
    chosen = chosen.append_column("rule", pa.array([select] * len(rows), pa.string()))
    chosen = chosen.append_column("rank", pa.array(rows["rank"].to_numpy(np.int32)))
    return chosen, {"read": table.num_rows, "kept": len(rows), "dropped": drop.counts}


def gold_answer(metric: str, ground_truth: list[str]) -> str:
    """The gold label as the task's prompt asks for it (code tasks have none)."""
    gold = ground_truth[0]
    return {"gsm8k": f"#### {gold}", "math": f"\\boxed{{{gold}}}"}.get(metric, gold)


def sft_dataset(
    table: pa.Table,
    select: str = "perf",
    top_k: int = 5,
    small: bool = False,
    llms: Collection[str] | None = None,
    sizes: Mapping[str, str] | None = None,
    **options,
):
    """The chosen answers as a `datasets.Dataset` in TRL's conversational form, and the counts.

    Columns: ``prompt`` and ``completion`` (lists of one message ``{"role", "content"}``), then where each came from:
    query_id, task, llm (``gold`` for the baseline), mode, performance, rule, rank.

    Args:
        small: Learn only from LLMs of at most 12B parameters (the published small pool); needs `sizes`.
        sizes: Size of each LLM by name, as in a pool file (``{"qwen2.5-7b-instruct": "7B"}``).
        **options: See `select_answers`.

    Returns:
        (dataset, counts); counts hold ``read``, ``kept``, ``dropped``, ``by_task`` and ``by_teacher``.

    Raises:
        UserError: As `select_answers`, and when no answer is left.
    """
    if small:
        if sizes is None:
            raise UserError("--small needs the size of every LLM: give a pool file or a log with an 'llms' config")
        names = small_llms(sizes)
        llms = names if llms is None else [name for name in names if name in set(llms)]
    chosen, counts = select_answers(table, select, top_k, llms=llms, **options)
    if not counts["kept"]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in counts["dropped"].items()) or "the log is empty"
        raise UserError(f"no answer is left to learn from: read {counts['read']} rows, dropped: {reasons}")
    columns = {name: chosen[name].to_pylist() for name in chosen.column_names}
    if select == "baseline":
        same = {"llm": "gold", "mode": "direct", "performance": 1.0}
        columns |= {name: [value] * len(chosen) for name, value in same.items()}
        columns["response"] = list(map(gold_answer, columns["metric"], columns["ground_truth"]))
    prompts = [with_mode(q, m) for q, m in zip(columns["query"], columns["mode"], strict=True)]
    data = {
        "prompt": [[{"role": "user", "content": text}] for text in prompts],
        "completion": [[{"role": "assistant", "content": text.strip()}] for text in columns["response"]],
    }
    data |= {name: columns[name] for name in ("query_id", "task", "llm", "mode", "performance", "rule", "rank")}
    for key, column in (("by_task", "task"), ("by_teacher", "llm")):
        counts[key] = {k: int(v) for k, v in pd.Series(columns[column]).value_counts().sort_index().items()}
    return _to_dataset(data), counts


def _to_dataset(data: dict):
    from datasets import Dataset, Features, List, Value

    message = List({"role": Value("string"), "content": Value("string")})
    text = ("query_id", "task", "llm", "mode", "rule")
    features = {"prompt": message, "completion": message} | dict.fromkeys(text, Value("string"))
    features |= {"performance": Value("float32"), "rank": Value("int32")}
    return Dataset.from_dict({name: data[name] for name in features}, features=Features(features))


def save(dataset, counts: dict, out: str | Path) -> Path:
    """Write an SFT dataset as a folder that ``load_dataset(out)`` reads (Parquet and a card); returns the folder."""
    from .card import sft_card

    out = Path(out)
    (out / "data").mkdir(parents=True, exist_ok=True)
    for old in (out / "data").glob("train-*.parquet"):
        old.unlink()
    dataset.to_parquet(str(out / "data" / "train-00000.parquet"))
    (out / "README.md").write_text(sft_card(dataset, counts), encoding="utf-8")
    return out

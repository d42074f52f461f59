"""FusionBench as its authors publish it (arXiv 2507.10540): the Hub dataset, or the CSV that their script writes."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from ...errors import UserError
from ..schema import LOG_SCHEMA, encode, split_candidate
from ._files import SPLIT_WORDS, files_of, open_binary, stem_of
from ._references import reference_of
from ._result import ImportResult, distinct, log_table

DESCRIPTION = "the authors' CSV or Parquet files, or the Hub id ulab-ai/FusionBench"
SOURCE = ("ulab-ai/FusionBench", None)
NEEDED = ("task_name", "query", "ground_truth", "metric", "llm", "performance", "response")
COUNTED = ("input_price", "output_price", "input_tokens_num", "output_tokens_num", "cost")
# Embeddings, which are the text of a tensor on a query's first row, stay unread.
OTHERS = ("task_id", "llm_description", "llm_judge")
SIDES = ("input", "output")
REPRICED = {"deepseek-r1": (0.55, 2.19)}
"""USD per million tokens in and out that the authors' later scripts put in place of what the dataset says."""
DOUBTFUL = ("llama-3.1-70b-instruct", "llama3-70b-instruct")
"""LLMs that may have been served by other models than their names say."""
TOKENS = "estimated/gpt2"  # the authors counted every LLM's tokens with GPT-2's tokenizer
_THINK = re.compile(r"\s*Let's think step by step\.?(?!.*Let's think step by step)", re.S)
_SCORE = re.compile(r"\{\s*'pass@1'\s*:\s*(?:(?:np|numpy)\.float\d+\()?\s*([-+.\deE]+|nan)\s*\)?\s*\}")
_SLASHES = re.compile(r"\\+")


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Answers in both modes, with scores, tokens, costs in USD and judge scores.

    A row is found by its task, query and candidate, never by its place: the 40 rows of a query (20 LLMs x 2 modes) are
    40 only where none is missing. The think rows' prompt is matched with the direct rows' by its text. What the
    publishers did to the data is undone or counted in `ImportResult.notes`:

    - ``cost`` is tokens x USD per million: it is computed anew, in USD, and deepseek-r1 with its later prices;
    - a row without a response (its request failed) is dropped, as their own scripts do;
    - Python's CSV writer doubled every backslash: halved again where no run of backslashes is odd;
    - a judge score of 0 stands for "not judged" too: that of a right answer (score 1) becomes null;
    - the LLMs in `DOUBTFUL` may be others than their names say (`fusion-hf audit` compares answers);
    - gpqa's reference letter is right for half of the orders of its options, and of several aliases only one is left.
    """
    result = ImportResult(tables={})
    parts: dict[str, list[pa.Table]] = {}
    llms: dict[str, dict] = {}
    for split, table, where in _sources(path):
        result.read += table.num_rows
        table = _halve_backslashes(_answered(table, result), result)
        if table.num_rows:
            parts.setdefault(split, []).append(_log(table, task, result, where))
            llms |= _pool(table)
    result.llms = list(llms.values())
    return result.keep(parts)


def _sources(path: str | Path) -> Iterator[tuple[str, pa.Table, str]]:
    """(split, table, where) of every file below a local path, or of every split of a Hub dataset."""
    if not Path(path).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not str(path).startswith("."):
        for split, rows in _from_hub(str(path)).items():
            yield SPLIT_WORDS.get(split, "train"), _columns(rows.data.table, f"{path} ({split})"), f"{path} ({split})"
        return
    for file in files_of(path, (".csv", ".parquet"), deep=True):
        yield _split(file), _columns(_read(file), str(file)), str(file)


def _from_hub(name: str):
    from datasets import load_dataset

    try:
        return load_dataset(name)
    except Exception as error:  # datasets raises a dozen unrelated types here; the reason is passed on
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name}: no such file or folder, and the Hub gave no dataset: {reason:.300}") from error


def _split(file: Path) -> str:
    """By the file's name, such as ``train-00000-of-00002.parquet`` or ``router_data_test.csv``; else train."""
    words = re.findall("partial_test|train|test|validation", stem_of(file).lower())
    return SPLIT_WORDS[words[-1]] if words else "train"


def _read(file: Path) -> pa.Table:
    try:
        if file.suffix == ".parquet":
            have = pq.read_schema(file).names
            return pq.read_table(file, columns=[n for n in have if n in NEEDED + COUNTED + OTHERS], partitioning=None)
        with open_binary(file) as stream:
            kinds = {name: pa.large_string() for name in NEEDED + COUNTED + OTHERS}
            options = pyarrow.csv.ConvertOptions(column_types=kinds, include_columns=list(kinds),
                                                 include_missing_columns=True, strings_can_be_null=False)  # fmt: skip
            return pyarrow.csv.read_csv(
                stream,
                pyarrow.csv.ReadOptions(block_size=1 << 26),
                pyarrow.csv.ParseOptions(newlines_in_values=True),
                options,
            )
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise UserError(
            f"{file}: expected CSV or Parquet, found something else: {' '.join(str(error).split())}"
        ) from None


def _columns(table: pa.Table, where: str) -> pa.Table:
    """Every column that is read, as text; those that are absent are null."""
    missing = [n for n in NEEDED if n not in table.column_names or table[n].null_count == table.num_rows]
    if missing and table.num_rows:
        found = ", ".join(table.column_names[:8])
        raise UserError(f"{where}: expected a column {missing[0]!r}, found {found} …")
    data = {}
    for name in NEEDED + COUNTED + OTHERS:
        column = table[name] if name in table.column_names else pa.nulls(table.num_rows, pa.large_string())
        data[name] = column.cast(pa.large_string())
    return pa.table(data)


def _answered(table: pa.Table, result: ImportResult) -> pa.Table:
    """Rows with a response."""
    good = pc.fill_null(pc.not_equal(table["response"], ""), False)
    result.add(result.dropped, "no response (its request failed)", table.num_rows - (pc.sum(good).as_py() or 0))
    return table.filter(good)


def _halve_backslashes(table: pa.Table, result: ImportResult) -> pa.Table:
    """Undo the doubling, if there are backslashes and all their runs are even."""
    runs = 0
    for name in ("query", "response"):
        for chunk in table[name].filter(pc.match_substring(table[name], "\\")).iterchunks():
            for text in chunk.to_pylist():
                lengths = [len(run) for run in _SLASHES.findall(text)]
                if any(length % 2 for length in lengths):
                    return table
                runs += len(lengths)
    if runs < 10:  # too few to tell
        return table
    result.add(result.notes, "rows in files whose doubled backslashes were halved", table.num_rows)
    for name in ("query", "response", "ground_truth"):
        halved = pc.replace_substring(table[name], "\\\\", "\\")
        table = table.set_column(table.column_names.index(name), name, halved)
    return table


def _log(table: pa.Table, task: str | None, result: ImportResult, where: str) -> pa.Table:
    candidates, code = _each(table["llm"], split_candidate)
    llm, mode = (pa.array([c[i] for c in candidates], pa.string()).take(pa.array(code)) for i in (0, 1))
    score = _numbers(table["performance"], lambda text: _score(text, where))
    judge = _numbers(table["llm_judge"], lambda text: _number(text, "llm_judge", where))
    failed = (judge == 0) & (score == 1)
    judge[failed] = np.nan
    tokens = [
        _numbers(table[f"{side}_tokens_num"], lambda text: _number(text, "…_tokens_num", where)) for side in SIDES
    ]
    metric, reference = _references(table)
    gpqa = pc.sum(pc.equal(table["task_name"], "gpqa")).as_py() or 0
    doubtful = pc.sum(pc.is_in(llm, value_set=pa.array(DOUBTFUL))).as_py() or 0
    result.add(result.notes, "cells without a score", int(np.isnan(score).sum()))
    result.add(result.notes, "judge scores of 0 for a right answer, taken as not judged", int(failed.sum()))
    result.add(result.notes, "cells of gpqa, whose reference letter is right for half of the orders of options", gpqa)
    result.add(result.notes, f"cells of {' and '.join(DOUBTFUL)}, maybe served by other models", doubtful)
    return log_table(
        {
            "task": pa.array([task] * table.num_rows, pa.string()) if task else table["task_name"],
            "source_id": pc.fill_null(table["task_id"], ""),
            "query": _direct_query(table, mode, result),
            "ground_truth": reference,
            "metric": metric,
            "llm": llm,
            "mode": mode,
            "response": table["response"],
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "usage_source": np.where(np.isfinite(tokens[0] + tokens[1]), TOKENS, None),
            "cost": _costs(table, np.array(llm, object), tokens, result, where),
            "performance": score.astype(np.float32),
            "grader": np.where(np.isnan(score), None, "publisher/fusionbench@1"),
            "judge": judge.astype(np.float32),
            "judge_model": np.where(np.isnan(judge), None, "publisher"),
        }
    )


def _each(column: pa.ChunkedArray, function: Callable) -> tuple[list, np.ndarray]:
    """(function of every distinct text, place of each row's among them)."""
    values, code = encode(pc.fill_null(column, ""))
    return [function(str(value)) for value in values], code


def _numbers(column: pa.ChunkedArray, function: Callable[[str], float]) -> np.ndarray:
    values, code = _each(column, function)
    return np.array(values, np.float64)[code]


def _number(text: str, name: str, where: str) -> float:
    """A number of at least 0; NaN where there is none."""
    try:
        value = float(text) if text.strip() else np.nan
    except ValueError:
        value = -1.0
    if value < 0:
        raise UserError(f"{where}: expected a number in the column {name!r}, found {text!r:.60}")
    return value


def _score(text: str, where: str) -> float:
    """``1.0``, ``True`` or ``{'pass@1': np.float64(1.0)}`` as a number, NaN where there is none; never evaluated."""
    found = _SCORE.fullmatch(text.strip())
    value = found.group(1) if found else {"True": "1", "False": "0"}.get(text, text)
    score = _number(value, "performance", where)
    if score > 1:
        raise UserError(f"{where}: expected a performance in 0..1, found {text!r:.60}")
    return score


def _references(table: pa.Table) -> tuple[pa.Array, pa.Array]:
    """(metric, reference answers) of every row; each distinct (metric, reference, query) is converted once."""
    columns = [pc.fill_null(table[name], "") for name in ("metric", "ground_truth", "query")]
    first, place = distinct(*columns)
    rows = zip(*(column.take(first).to_pylist() for column in columns), strict=True)
    found = [reference_of(metric or None, reference or None, query) for metric, reference, query in rows]
    references = pa.array([reference for _, reference in found], LOG_SCHEMA.field("ground_truth").type)
    return pa.array([metric for metric, _ in found], pa.string()).take(place), references.take(place)


def _direct_query(table: pa.Table, mode: pa.Array, result: ImportResult) -> pa.Array:
    """The query of every row as asked in direct mode: a think row takes the text of the direct rows it belongs to."""
    columns = (table["task_name"], table["query"], mode)
    first, place = distinct(*columns)
    rows = list(zip(*(column.take(first).to_pylist() for column in columns), strict=True))
    direct: dict[tuple[str, str], str] = {}
    for task, text, how in rows:
        if how == "direct":
            direct.setdefault((task, _plain(text)), text)
    bare = [text if how == "direct" else _THINK.sub("", text) for _, text, how in rows]
    keys = [(task, _plain(text)) for (task, _, _), text in zip(rows, bare, strict=True)]
    alone = np.array([key not in direct for key in keys])
    result.add(result.notes, "think rows of a query that has no direct row", int(alone[place.to_numpy()].sum()))
    asked = [text if how == "direct" else direct.get(key, text)
             for (_, _, how), text, key in zip(rows, bare, keys, strict=True)]  # fmt: skip
    return pa.array(asked, pa.large_string()).take(place)


def _plain(text: str) -> str:
    """Without the indentation, which differs between the two prompts of a query."""
    return " ".join(text.split())


def _costs(table: pa.Table, llm: np.ndarray, tokens: list[np.ndarray], result: ImportResult, where: str) -> np.ndarray:
    """USD of every row, from its tokens and prices; NaN where a figure is missing."""
    prices = [_numbers(table[f"{side}_price"], lambda text: _number(text, "…_price", where)) for side in SIDES]
    published = _numbers(table["cost"], lambda text: _number(text, "cost", where))
    told = tokens[0] * prices[0] + tokens[1] * prices[1]
    differs = np.isfinite(published + told) & ~np.isclose(published, told, rtol=1e-6, atol=1e-9)
    result.add(result.notes, "cells whose published cost is not tokens x price; computed anew", int(differs.sum()))
    for name, (into, out) in REPRICED.items():
        rows = (llm == name) & np.isfinite(told)
        told[rows] = tokens[0][rows] * into + tokens[1][rows] * out
        result.add(result.notes, f"cells of {name}, with its later prices ({into} / {out})", int(rows.sum()))
    return told / 1e6


def _pool(table: pa.Table) -> dict[str, dict]:
    """Rows of the ``llms`` config, by name: the prices and the description of an LLM's first row."""
    first, _ = distinct(table["llm"])
    llms = {}
    for row in table.take(first).sort_by("llm").to_pylist():
        name = split_candidate(row["llm"])[0]
        told = [float(row[f"{side}_price"]) if row[f"{side}_price"] else None for side in SIDES]
        into, out = REPRICED.get(name, told)
        llms[name] = {"name": name, "size": "", "input_price": into, "output_price": out,
                      "description": row["llm_description"] or "", "model": ""}  # fmt: skip
    return llms

"""RouterBench (Hu et al., arXiv 2403.12031): score, response and cost of each LLM, as CSV or as the authors' pickle."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ...errors import UserError
from ._files import files_of, read_csv, split_of
from ._pickle_frame import read_pickled_frame
from ._result import ImportResult, Query, build_table

DESCRIPTION = "CSV or pickle with columns <llm>, <llm>|model_response, <llm>|total_cost; task by file name or eval_name"
SOURCE = ("withmartian/routerbench", None)
MISSING = ("NaN", "nan", "NA", "N/A", "None", "null", "NULL", "<NA>")  # of numbers; as a text each is what it says
COST, RESPONSE = "|total_cost", "|model_response"


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Scores, costs in USD and responses. A cell without a score stays, with a null, and is noted.

    The authors' pickles are read as data, and nothing in them is run (see `_pickle_frame`). A file that holds several
    evaluations (column ``eval_name``) is taken apart into tasks of these names; else the task is the file's name.
    """
    result = ImportResult(tables={})
    by_split: dict[str, list] = {}
    complete: dict[str, int] = {}
    for file in files_of(path, (".csv", ".pkl", ".pickle")):
        name, split = split_of(file)
        table, whole = _read_file(file, task, name, result)
        by_split.setdefault(split, []).append(table)
        complete[split] = complete.get(split, 0) + whole
    result.notes |= {f"queries with every score ({split})": n for split, n in complete.items()}
    return result.keep(by_split)


def _open(file: Path) -> pd.DataFrame:
    if {".pkl", ".pickle"} & set(file.suffixes):
        return pd.DataFrame(read_pickled_frame(file))
    return read_csv(file, dtype=str)  # a response "5" is a text, also where every response is a number


def _read_file(file: Path, task: str | None, name: str, result: ImportResult) -> tuple[pa.Table, int]:
    """(log table, number of queries that have every score)."""
    data = _open(file)
    llms = [column for column in data.columns if column + COST in data.columns]
    if not llms or "prompt" not in data.columns:
        found = ", ".join(map(str, data.columns[:6]))
        raise UserError(f"{file}: expected columns prompt, <llm> and <llm>{COST}, found {found} …")
    if data.empty:
        raise UserError(f"{file}: the log is empty: expected at least one scored query, found none")
    scores, costs = (_numbers(file, data, [llm + end for llm in llms]) for end in ("", COST))
    _in_range(file, llms, scores, costs)
    ids = data["sample_id"].astype(str) if "sample_id" in data else pd.Series(map(str, range(len(data))))
    texts = [text or "" for text in _texts(data["prompt"])]
    several = task is None and "eval_name" in data and data["eval_name"].nunique() > 1
    tasks = data["eval_name"].astype(str).tolist() if several else [task or name] * len(data)
    keep = _first_of_each(ids, texts)
    result.read += len(data) * len(llms)
    result.add(result.dropped, "the same query came before", (len(data) - len(keep)) * len(llms))
    result.add(result.notes, "cells without a score", int(np.isnan(scores[keep]).sum()))
    queries = [Query(tasks[i], ids.iloc[i], texts[i], [], "publisher") for i in keep]
    responses = None
    if all(llm + RESPONSE in data.columns for llm in llms):
        responses = [_texts(data[llm + RESPONSE].iloc[keep]) for llm in llms]
    table = build_table(queries, llms, scores[keep], "publisher/routerbench@1", costs[keep], responses)
    return table, int((~np.isnan(scores[keep])).all(axis=1).sum())


def _in_range(file: Path, llms: list[str], scores: np.ndarray, costs: np.ndarray) -> None:
    bad = ~(np.isnan(scores) | ((scores >= 0) & (scores <= 1)))
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise UserError(f"{file}, row {i}, column {llms[j]!r}: expected a score in 0..1, found {scores[i, j]:g}")
    if (costs < 0).any():
        i, j = np.argwhere(costs < 0)[0]
        raise UserError(f"{file}, row {i}, column {llms[j] + COST!r}: expected a cost in USD, found {costs[i, j]:g}")


def _numbers(file: Path, data: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """float64 [rows, columns], NaN where a cell is empty; refuses text."""
    arrays = []
    for name in columns:
        column = data[name]
        missing = column.isna() | column.isin(MISSING)
        values = pd.to_numeric(column.mask(missing), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong = np.flatnonzero(np.isnan(values) & ~missing.to_numpy())
        if len(wrong):
            found = data[name].iloc[wrong[0]]
            raise UserError(f"{file}, row {wrong[0]}, column {name!r}: expected a number, found {found!r:.60}")
        arrays.append(values)
    return np.stack(arrays, axis=1)


def _first_of_each(ids: pd.Series, texts: list[str]) -> np.ndarray:
    """Rows whose (sample id, query) comes for the first time."""
    frame = pd.DataFrame({"id": ids.to_numpy(), "text": texts})
    return np.flatnonzero(~frame.duplicated().to_numpy())


def _texts(column: pd.Series) -> list[str | None]:
    """`_joined` of each cell; equal cells (a letter, mostly) are read once."""
    cells = column.tolist()
    known = {cell: _joined(cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def _joined(cell) -> str | None:
    """Text of a cell that holds a Python list of strings in text (``"['…']"``); other text as it is; None if empty."""
    if not isinstance(cell, str):
        return None
    if cell.startswith("["):
        try:
            parts = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return cell
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return "\n\n".join(parts)
    return cell

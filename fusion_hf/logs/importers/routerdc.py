"""RouterDC and LLMRouter score lists (arXiv 2409.19886): JSON lists of ``{"question", "scores": {llm: 0..1}}``."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...errors import UserError
from ._files import files_of, read_json, split_of
from ._result import ImportResult, Query, build_table, check_score

DESCRIPTION = "JSON lists of {question, scores: {llm: 0..1}}; the task is the file name or --task"
SOURCE = None


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Scores without costs or responses; the split is what a file name ends in (``gsm8k_test.json``), else train."""
    result = ImportResult(tables={})
    by_split: dict[str, list] = {}
    for file in files_of(path, (".json",)):
        name, split = split_of(file)
        name = task or name
        if not name:
            raise UserError(f"{file}: the file name holds no task: give its name as task")

        def as_query(index: int, question: str, name: str = name) -> Query:
            return Query(name, str(index), question, [], "publisher")

        by_split.setdefault(split, []).append(read_scores(file, result, as_query, "routerdc"))
    return result.keep(by_split)


def read_scores(file: Path, result: ImportResult, as_query: Callable[[int, str], Query], format: str) -> pa.Table:
    """The log table of one score list; counts go into `result`. A question that comes again is dropped."""
    rows = read_json(file)
    if not isinstance(rows, list):
        raise UserError(f"{file}: expected a JSON list of {{question, scores}}, found {type(rows).__name__}")
    if not rows:
        raise UserError(f"{file}: the log is empty: expected at least one scored query, found none")
    llms: dict[str, int] = {}
    queries, cells, seen = [], [], set()
    for i, row in enumerate(rows):
        question, scores = _check_row(file, i, row)
        result.read += len(scores)
        if question in seen:
            result.add(result.dropped, "the same question came before", len(scores))
            continue
        seen.add(question)
        values = {}
        for llm, value in scores.items():
            values[llms.setdefault(llm, len(llms))] = check_score(value, f"{file}, row {i}, LLM {llm!r}")
        queries.append(as_query(i, question))
        cells.append(values)
    grid = np.full((len(queries), len(llms)), np.nan)
    present = np.zeros(grid.shape, bool)
    for i, values in enumerate(cells):
        for column, value in values.items():
            grid[i, column], present[i, column] = value, True
    empty = int((present & np.isnan(grid)).sum())
    result.add(result.notes, "cells without a score", empty)
    result.notes[f"queries with every score ({file.name})"] = int((~np.isnan(grid)).all(axis=1).sum())
    return build_table(queries, list(llms), grid, f"publisher/{format}@1", present=present)


def _check_row(file: Path, i: int, row) -> tuple[str, dict]:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not isinstance(row.get("scores"), dict):
        found = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
        raise UserError(f"{file}, row {i}: expected keys question (text) and scores (llm -> 0..1), found {found}")
    return row["question"], row["scores"]

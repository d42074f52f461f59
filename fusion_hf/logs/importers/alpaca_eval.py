"""AlpacaEval's annotations (Li et al. 2023; Dubois et al., arXiv 2404.04475): answers judged against a reference."""

from pathlib import Path

from ...errors import UserError
from ._files import files_of, read_json
from ._result import ImportResult, log_table

DESCRIPTION = "JSON lists of {instruction, output_2, generator_2, preference}, one file an LLM; judge = preference - 1"
SOURCE = ("tatsu-lab/alpaca_eval", None)


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Responses with a judge score: the preference less 1, so 0 where the reference wins and 1 where the LLM wins.

    There is no right or wrong here, so the performance stays null. The task is `task`, else the sub-task that the
    annotation names (``dataset``), else ``alpaca_eval``. Every row goes into the split ``test``: the 805 instructions
    are an evaluation set.
    """
    result = ImportResult(tables={})
    tables = []
    for file in files_of(path, (".json",)):
        rows = read_json(file)
        if not isinstance(rows, list) or not rows:
            kind = type(rows).__name__ if rows else "nothing"
            raise UserError(f"{file}: expected a JSON list of annotations, found {kind}")
        found = [_row(row, task, f"{file}, row {i}") for i, row in enumerate(rows)]
        kept = [row for row in found if row["response"] is not None]
        result.read += len(found)
        result.add(result.dropped, "no response", len(found) - len(kept))
        result.add(result.notes, "cells without a preference", sum(row["judge"] is None for row in kept))
        if kept:
            tables.append(log_table({name: [row[name] for row in kept] for name in kept[0]}))
    return result.keep({"test": tables}) if tables else result


def _row(row: object, task: str | None, where: str) -> dict:
    texts = [row.get(name) for name in ("instruction", "generator_2")] if isinstance(row, dict) else [None]
    if not all(isinstance(text, str) and text for text in texts):
        found = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
        raise UserError(f"{where}: expected keys instruction, output_2, generator_2 and preference, found {found}")
    preference = row.get("preference")
    number = isinstance(preference, int | float) and not isinstance(preference, bool)
    if preference is not None and not (number and 1 <= preference <= 2):
        raise UserError(f"{where}: expected a preference in 1..2, found {preference!r:.60}")
    return {
        "task": task or row.get("dataset") or "alpaca_eval",
        "source_id": "",
        "query": row["instruction"],
        "ground_truth": [],
        "metric": "publisher",
        "llm": row["generator_2"],
        "response": row.get("output_2") or None,
        "judge": None if preference is None else preference - 1.0,
        "judge_model": None if preference is None else row.get("annotator") or "unknown",
    }

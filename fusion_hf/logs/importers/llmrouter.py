"""LLMRouter's slice of FusionBench: a score list, and beside it the queries' tasks and answers and the pool."""

import ast
from pathlib import Path

from ...errors import UserError
from ._files import files_of, read_json, read_json_lines, split_of
from ._references import reference_of
from ._result import ImportResult, Query
from .routerdc import read_scores

DESCRIPTION = "train.json of {question, scores}; queries_train.jsonl (task, answer) and llms.json beside it are joined"
SOURCE = ("ulab-uiuc/LLMRouter", "mit")


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Scores without costs or responses. Without the queries file, every query belongs to `task` (else "unknown")."""
    files = [f for f in files_of(path, (".json",)) if not f.name.startswith(("llms.json", "queries_"))]
    if not files:
        raise UserError(f"{path}: expected a score list such as train.json, found none")
    result = ImportResult(tables={})
    parts: dict[str, list] = {}
    for file in files:
        _, split = split_of(file)
        if split in parts:
            raise UserError(f"{file}: a second file of the split {split!r}: give one file, or one folder a set")
        known = _queries(file.parent, split, result)

        def as_query(index: int, question: str, known: dict = known) -> Query:
            row = known.get(question)
            if row is None:
                return Query(task or "unknown", str(index), question, [], "publisher")
            return _query(row, index, question)

        parts[split] = [read_scores(file, result, as_query, "llmrouter")]
        tasks = parts[split][0]["task"].to_pylist() if known else []
        result.add(result.notes, "cells of queries without a task", tasks.count("unknown") if not task else 0)
    result.llms = _pool(files[0].parent)
    return result.keep(parts)


def _queries(folder: Path, split: str, result: ImportResult) -> dict[str, dict]:
    """Rows of the queries file by query text; the first of several counts, and the others are noted."""
    files = [folder / f"queries_{split}.jsonl{end}" for end in ("", ".gz")]
    file = next((f for f in files if f.exists()), None)
    known: dict[str, dict] = {}
    for number, row in read_json_lines(file) if file else ():
        if not isinstance(row.get("query"), str) or not isinstance(row.get("task_name"), str):
            found = ", ".join(sorted(row))
            raise UserError(f"{file}, line {number}: expected keys query and task_name, found {found}")
        if row["query"] in known:
            result.add(result.notes, "queries listed twice, under two tasks or with two reference answers", 1)
        known.setdefault(row["query"], row)
    return known


def _query(row: dict, index: int, question: str) -> Query:
    """The query with its reference answer in the form that our graders read."""
    metric, reference = reference_of(row.get("metric"), row.get("ground_truth"), question, _literal(row.get("choices")))
    source = row.get("task_id")
    return Query(row["task_name"], str(index if source is None else source), question, reference, metric)


def _literal(text: str | None) -> dict:
    try:
        value = ast.literal_eval(text) if text else {}
    except (ValueError, SyntaxError):
        return {}
    return value if isinstance(value, dict) else {}


def _pool(folder: Path) -> list[dict]:
    file = folder / "llms.json"
    if not file.exists():
        return []
    pool = read_json(file)
    if not isinstance(pool, dict):
        raise UserError(f"{file}: expected an object llm -> description, found {type(pool).__name__}")
    return [
        {
            "name": name,
            "size": str(entry.get("size", "")),
            "input_price": entry.get("input_price"),
            "output_price": entry.get("output_price"),
            "description": entry.get("feature", ""),
            "model": entry.get("model", ""),
        }
        for name, entry in pool.items()
    ]

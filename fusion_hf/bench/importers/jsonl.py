"""Your own log as JSON lines: one answer a line, with the log row's names or the usual short ones."""

from pathlib import Path

import pyarrow as pa

from ...errors import UserError
from ..schema import LOG_SCHEMA, query_id, rows_to_table, split_candidate
from ._result import ImportResult, check_score, files_of, read_json_lines, split_of

DESCRIPTION = "JSON lines, one answer a line: query, llm, response or performance; may hold cost, task, ground_truth"
ALIASES = {
    "query": ("prompt", "question", "input"),
    "llm": ("model", "model_name"),
    "response": ("output", "answer", "completion", "prediction"),
    "performance": ("score", "correct", "is_correct"),
    "ground_truth": ("gold", "reference", "target"),
    "task": ("task_name", "dataset", "dataset_name"),
    "source_id": ("id", "index", "sample_id"),
}


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Rows with a query, an LLM and a response or a score; a second row of one (query, LLM, mode) is dropped."""
    result = ImportResult(tables={})
    rows: dict[str, list[dict]] = {}
    seen: set[tuple] = set()
    for file in files_of(path, (".jsonl", ".ndjson")):
        _, split = split_of(file)
        for number, source in read_json_lines(file):
            result.read += 1
            row = _row(source, task, f"{file}, line {number}")
            if row["response"] is None and row["performance"] is None:
                result.add(result.dropped, "neither a response nor a score", 1)
                continue
            key = (split, row["query_id"], row["llm"], row["mode"])
            if key in seen:
                result.add(result.dropped, "the same query, LLM and mode came before", 1)
                continue
            seen.add(key)
            rows.setdefault(split, []).append(row)
            result.kept += 1
    result.tables = {split: pa.table(rows_to_table(found)) for split, found in rows.items()}
    return result


def _row(source: dict, task: str | None, where: str) -> dict:
    """One log row; names that the log row does not have are left out."""
    row = {name: source[name] for name in LOG_SCHEMA.names if name in source}
    for name, others in ALIASES.items():
        found = next((source[o] for o in others if o in source), None)
        if row.get(name) is None and found is not None:
            row[name] = found
    for name in ("query", "llm"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise UserError(f"{where}: expected a text {name!r}, found keys {', '.join(sorted(source))}")
    if "mode" not in row:
        row["llm"], row["mode"] = split_candidate(row["llm"])
    score = check_score(row.get("performance"), f"{where}, 'performance'")
    row["performance"] = None if score != score else score
    gold = row.get("ground_truth") or []
    row["ground_truth"] = [str(g) for g in gold] if isinstance(gold, list) else [str(gold)]
    row["task"] = task or row.get("task") or "unknown"
    row["source_id"] = str(row.get("source_id", ""))
    row["metric"] = row.get("metric") or "publisher"
    row["query_id"] = query_id(row["task"], row["source_id"], row["query"])
    return row | {"response": row.get("response")}

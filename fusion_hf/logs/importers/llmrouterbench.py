"""LLMRouterBench (published as OpenRouterBench too): one JSON file for each dataset, split and model."""

import json
import re
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...errors import UserError
from ._files import SPLIT_WORDS, files_of, read_json
from ._result import ImportResult, check_score, log_table

DESCRIPTION = "folder of result files {dataset_name, split, model_name, records}; of several, the newest counts"
SOURCE = ("ynulihao/LLMRouterBench", "mit")
COUNTS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "cost": "cost"}
_TIME = re.compile(r"(\d{8}_\d{6})\.json(?:\.gz)?$")
_FAILED = ("Processing failed: ", "Unexpected error: ")


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Scores, responses, tokens and costs in USD. Files of demo runs, and older files of the same run, are dropped.

    A split that is neither train nor test (nor validation, which counts as test) goes into train. A record that the
    publisher failed to collect stays as a row with its error and without a score.
    """
    result = ImportResult(tables={})
    newest: dict[tuple[str, str, str], tuple[str, Path]] = {}
    sizes: dict[Path, int] = {}
    files = files_of(path, (".json",), deep=True)
    for file in tqdm(files, desc="looking", unit="file", disable=len(files) < 100 or None):
        data = _run(file)
        sizes[file] = len(data["records"])
        result.read += sizes[file]
        key = (data["dataset_name"], data["split"], data["model_name"])
        stamp = found.group(1) if (found := _TIME.search(file.name)) else ""
        if data.get("demo"):
            result.add(result.dropped, "a demo run", sizes[file])
        elif key not in newest or newest[key] < (stamp, file):
            result.add(result.dropped, "an older run of the same model", sizes[newest[key][1]] if key in newest else 0)
            newest[key] = (stamp, file)
        else:
            result.add(result.dropped, "an older run of the same model", sizes[file])
    parts: dict[str, list] = {}
    for (name, split, llm), (_, file) in tqdm(
        sorted(newest.items()), desc="reading", disable=len(newest) < 100 or None
    ):
        rows = [_row(row, f"{file}, record {i}") for i, row in enumerate(_run(file)["records"])]
        result.add(result.notes, "cells without a score", sum(row["performance"] is None for row in rows))
        result.add(result.notes, "records that failed", sum(row["error"] is not None for row in rows))
        if rows:
            columns: dict[str, Any] = {column: [row[column] for row in rows] for column in rows[0]}
            columns |= {"task": [task or name] * len(rows), "llm": [llm] * len(rows)}
            parts.setdefault(SPLIT_WORDS.get(split, "train"), []).append(log_table(columns))
    return result.keep(parts)


def _run(file: Path) -> dict:
    data = read_json(file)
    names = ("dataset_name", "split", "model_name")
    if not isinstance(data, dict) or not isinstance(data.get("records"), list) or not all(data.get(n) for n in names):
        found = ", ".join(sorted(data)[:8]) if isinstance(data, dict) else type(data).__name__
        raise UserError(f"{file}: expected keys {', '.join(names)} and records, found {found}")
    return data


def _row(row: Any, where: str) -> dict:
    if not isinstance(row, dict) or not isinstance(row.get("prompt", row.get("origin_query")), str):
        found = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
        raise UserError(f"{where}: expected keys prompt, score and raw_output, found {found}")
    score = check_score(row.get("score"), f"{where}, 'score'")
    response = _text(row.get("raw_output"))
    failed = response is not None and response.startswith(_FAILED) and row.get("score") is None
    counts = {ours: None if failed else row.get(theirs) for ours, theirs in COUNTS.items()}
    reference = row.get("ground_truth")
    return {
        "source_id": str(row.get("index", "")),
        "query": row.get("prompt") or row["origin_query"],
        "ground_truth": [] if reference in (None, "") else [_text(reference)],
        "metric": "publisher",
        "response": None if failed else response,
        "error": response if failed else None,
        "extracted": None if failed else _text(row.get("prediction")),
        "performance": None if score != score else score,
        "grader": None if score != score else "publisher/llmrouterbench@1",
        **counts,
    }


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)

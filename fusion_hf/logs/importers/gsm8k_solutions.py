"""GSM8K's example model solutions (Cobbe et al., arXiv 2110.14168): four models' answers with the authors' verdicts."""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ._files import files_of, read_json_lines
from ._result import ImportResult, Query, build_table, check_score

DESCRIPTION = "JSON lines of {question, ground_truth, <model>: {is_correct, solution}}; split test"
SOURCE = ("openai/grade-school-math", "mit")


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Responses, the authors' verdicts, and the reference number (what follows the last ``A:`` of the ground truth)."""
    files = files_of(path, (".jsonl",))
    if Path(path).is_dir():  # GSM8K's folder holds its own questions beside the solutions
        files = [file for file in files if "solutions" in file.name]
    if not files:
        raise UserError(f"{path}: expected a file such as example_model_solutions.jsonl, found none")
    result = ImportResult(tables={})
    return result.keep({"test": [_read_file(file, task or "gsm8k", result) for file in files]})


def _read_file(file: Path, task: str, result: ImportResult):
    queries, cells, llms = [], [], {}
    for number, row in read_json_lines(file):
        answers = {name: value for name, value in row.items() if isinstance(value, dict)}
        if not isinstance(row.get("question"), str) or not isinstance(row.get("ground_truth"), str) or not answers:
            found = ", ".join(sorted(row))
            raise UserError(
                f"{file}, line {number}: expected keys question, ground_truth and <model>: {{is_correct, solution}}, "
                f"found {found}"
            )
        reference = row["ground_truth"].rsplit("A:", 1)[-1].strip()
        queries.append(Query(task, str(len(queries)), row["question"], [reference], "gsm8k"))
        cells.append({llms.setdefault(name, len(llms)): _cell(file, number, name, value)
                      for name, value in answers.items()})  # fmt: skip
    if not queries:
        raise UserError(f"{file}: the log is empty: expected at least one scored query, found none")
    scores = np.full((len(queries), len(llms)), np.nan)
    present = np.zeros(scores.shape, bool)
    responses: list[list[str | None]] = [[None] * len(queries) for _ in llms]
    for i, row in enumerate(cells):
        for column, (score, solution) in row.items():
            scores[i, column], present[i, column], responses[column][i] = score, True, solution
    result.read += int(present.sum())
    result.add(result.notes, "cells without a score", int((present & np.isnan(scores)).sum()))
    return build_table(queries, list(llms), scores, "publisher/gsm8k-solutions@1", responses=responses, present=present)


def _cell(file: Path, number: int, name: str, value: dict) -> tuple[float, str | None]:
    where = f"{file}, line {number}, model {name!r}"
    solution = value.get("solution")
    if solution is not None and not isinstance(solution, str):
        raise UserError(f"{where}: expected a text solution, found {type(solution).__name__}")
    return check_score(value.get("is_correct"), f"{where}, 'is_correct'"), solution

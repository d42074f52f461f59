"""RouteLLM's evaluations (Ong et al., arXiv 2406.18665): CSV with a verdict and a response of each LLM."""

from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from ...tasks import TASKS
from ._files import files_of, read_csv, split_of
from ._result import ImportResult, Query, build_table

DESCRIPTION = "CSV with columns prompt, <llm> (True or False) and <llm>_response; split test unless the name says train"
SOURCE = ("lm-sys/RouteLLM", "apache-2.0")
RESPONSE = "_response"
VERDICTS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "": np.nan}


def read(path: str | Path, task: str | None = None) -> ImportResult:
    """Verdicts and, where the file has them, responses. The files hold no reference answers and no costs."""
    result = ImportResult(tables={})
    parts: dict[str, list] = {}
    for file in files_of(path, (".csv",)):
        name, split = split_of(file)
        split = split if "train" in file.name.lower() else "test"
        parts.setdefault(split, []).append(_read_file(file, task or _task(name), result))
    return result.keep(parts)


def _task(stem: str) -> str:
    """``gsm8k`` of ``gsm8k_responses``, ``mmlu`` of ``mmlu_anatomy``: a task of ours that the name begins with."""
    known = [name for name in TASKS if stem == name or stem.startswith(f"{name}_")]
    return max(known, key=len) if known else stem.removesuffix("_responses")


def _read_file(file: Path, task: str, result: ImportResult):
    data = read_csv(file, dtype=str, na_filter=False)
    llms = [name for name in data.columns if name != "prompt" and not name.endswith(RESPONSE)]
    llms = [name for name in llms if name + RESPONSE in data.columns or set(data[name].str.lower()) <= set(VERDICTS)]
    if "prompt" not in data.columns or not llms:
        found = ", ".join(map(str, data.columns[:6]))
        raise UserError(f"{file}: expected columns prompt, <llm> (True or False) and <llm>{RESPONSE}, found {found}")
    if data.empty:
        raise UserError(f"{file}: the log is empty: expected at least one scored query, found none")
    scores = np.stack([_verdicts(file, data[name], name) for name in llms], axis=1)
    metric = TASKS[task].metric if task in TASKS else "publisher"
    queries = [Query(task, str(i), text, [], metric) for i, text in enumerate(data["prompt"])]
    blank = [""] * len(data)
    responses = [[text or None for text in data.get(name + RESPONSE, blank)] for name in llms]
    result.read += scores.size
    result.add(result.notes, "cells without a score", int(np.isnan(scores).sum()))
    result.add(result.notes, "cells without a response", sum(column.count(None) for column in responses))
    return build_table(queries, llms, scores, "publisher/routellm@1", responses=responses)


def _verdicts(file: Path, column: pd.Series, name: str) -> np.ndarray:
    found = column.str.strip().str.lower().map(VERDICTS)
    wrong = np.flatnonzero(~column.str.strip().str.lower().isin(VERDICTS).to_numpy())
    if len(wrong):
        value = column.iloc[wrong[0]]
        raise UserError(f"{file}, row {wrong[0]}, column {name!r}: expected True or False, found {value!r:.60}")
    return found.to_numpy(np.float64)

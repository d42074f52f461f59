"""A task that a YAML file describes: prompt, reference answers and metric, without a line of Python."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..yaml_file import read_yaml
from . import TASKS, Example, Task, get_task
from .graders import GRADERS

KEYS = {
    "name": "name of the task (default: the file's name)",
    "metric": "name of a grader, such as exact_match or cem",
    "prompt": "what is asked, with {column} for what a row holds",
    "references": "column of the reference answer, or of a list of them",
    "rows": "file or folder of rows (.jsonl, .json, .parquet), beside this file; else give a source",
    "id": "column that identifies a row (default: its place)",
    "domain": "heading under which tasks are grouped",
    "description": "a sentence",
    "licence": "of the rows",
    "max_tokens": "most tokens of an answer",
}
"""What such a file may say."""
_COLUMN = re.compile(r"\{(\w+)\}")


def open_task(name: str) -> Task:
    """The task of a name, of a Python file, or of a YAML file (see `described_task`), which joins `TASKS`.

    Raises:
        UserError: No such task, or a file's task has the name of another.
    """
    if not name.endswith((".yaml", ".yml")):
        return get_task(name)
    task, path = described_task(name), str(Path(name).resolve())
    if task.name in TASKS and _FROM.get(task.name) != path:
        raise UserError(f"{name}: expected a name that no task has yet, found {task.name!r}")
    _FROM[task.name], TASKS[task.name] = path, task
    return task


_FROM: dict[str, str] = {}  # name of a task -> file that describes it


def described_task(path: str | Path) -> Task:
    """The task of a YAML file (see `KEYS`).

    Raises:
        UserError: A key that is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: expected keys such as name, metric, prompt, references, found {type(content).__name__}"
        )
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise UserError(f"{path}: unknown key {unknown[0]!r}: expected {', '.join(KEYS)}")
    for key in ("metric", "prompt", "references"):
        if not isinstance(content.get(key), str) or not content[key].strip():
            raise UserError(f"{path}: {key}: expected {KEYS[key]}, found {content.get(key)!r}")
    _check_metric(path, content["metric"])
    tokens = content.get("max_tokens")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1):
        raise UserError(f"{path}: max_tokens: expected a number of at least 1, found {tokens!r}")
    rows = content.get("rows")
    source = str((path.parent / str(rows)).resolve()) if rows else ""
    return Task(
        name=str(content.get("name") or path.stem), domain=str(content.get("domain") or "Own"),
        description=str(content.get("description") or ""), source=source, config=None,
        splits={"train": "train", "test": "test"}, metric=content["metric"],
        example=_example(content["prompt"], content["references"], content.get("id")),
        licence=str(content.get("licence") or "unknown"), max_tokens={"direct": tokens} if tokens else {},
    )  # fmt: skip


def _check_metric(path: Path, metric: str) -> None:
    if metric not in GRADERS:
        raise UserError(f"{path}: metric: expected one of {', '.join(GRADERS)}, found {metric!r}")


def _example(prompt: str, references: str, identity: str | None) -> Callable[[dict[str, Any], int], Example]:
    def example(row: dict[str, Any], index: int) -> Example:
        query = _COLUMN.sub(lambda found: str(row[found[1]]), prompt)
        answers = row[references]
        answers = answers if isinstance(answers, list) else [answers]
        return Example(str(row[identity]) if identity else str(index), query, [str(a) for a in answers])

    return example

"""Tasks, among them the 14 of FusionBench (arXiv 2507.10540): source, prompt, gold answers, metric.

A task is one file in this folder with a module-level ``TASK``; it is found by its file name (see `fusion_hf.plugins`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import plugins
from ..errors import UserError
from .modes import THINK_SUFFIX, with_mode

__all__ = ["TASKS", "THINK_SUFFIX", "Example", "Task", "get_task", "with_mode"]


@dataclass(frozen=True)
class Example:
    """One query of a task.

    Attributes:
        source_id: Identity of the row in its source, stable across runs.
        query: The prompt as asked in direct mode.
        ground_truth: Every gold answer that counts as right. Code tasks hold one JSON object
            ``{"prompt", "setup", "tests", "entry_point"}`` (see `fusion_hf.tasks.graders.code`).
    """

    source_id: str
    query: str
    ground_truth: list[str]


@dataclass(frozen=True)
class Task:
    """A benchmark: its source on the Hub, its prompt and its metric.

    Attributes:
        source: Dataset repository on the Hub, with `config` and `splits` (our split name -> the source's).
        rows: Optional (first, last) row of the source, inclusive, for each of our splits.
        metric: Name of a grader in `fusion_hf.tasks.graders`.
        example: Turns (row of the source, index of the row) into an `Example`.
        licence: What the card of the source says, as the Hub spells it; ``unknown`` where it says none.
    """

    name: str
    domain: str
    description: str
    source: str
    config: str | None
    splits: dict[str, str]
    metric: str
    example: Callable[[dict[str, Any], int], Example]
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    licence: str = "unknown"


def _find() -> dict[str, Task]:
    tasks = [module.TASK for module in plugins.load_all("tasks").values()]
    order = ("Math", "Code", "Commonsense", "World knowledge", "Reading", "Popular")  # other domains go last
    place = {domain: i for i, domain in enumerate(order)}
    return {t.name: t for t in sorted(tasks, key=lambda t: (place.get(t.domain, len(order)), t.domain, t.name))}


def get_task(name: str) -> Task:
    """The task called `name`, or that of a file: a path that ends in ``.py`` joins `TASKS`.

    Raises:
        UserError: No such task (the message lists the known ones), or the file's task has the name of another.
    """
    if not name.endswith(".py"):
        if name not in TASKS:
            raise UserError(f"unknown task {name!r}: expected one of {', '.join(TASKS)}, or the path of a .py file")
        return TASKS[name]
    task = plugins.given("tasks", name)[1].TASK
    if not isinstance(task, Task) or TASKS.setdefault(task.name, task) is not task:
        raise UserError(f"{name}: expected a TASK whose name is not taken yet, found {getattr(task, 'name', task)!r}")
    return task


TASKS: dict[str, Task] = {}
TASKS.update(_find())

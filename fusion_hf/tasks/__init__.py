"""Tasks, among them the 14 of FusionBench (arXiv 2507.10540): source, prompt, reference answers, metric.

A task is one file in this folder with a module-level ``TASK``; it is found by its file name (see `fusion_hf.plugins`).
"""

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from .. import plugins
from ..errors import UserError
from .modes import THINK_SUFFIX, with_mode

__all__ = ["PROMPT_VERSIONS", "TASKS", "THINK_SUFFIX", "Example", "Task", "get_task", "in_version", "with_mode"]


@dataclass(frozen=True)
class Example:
    """One query of a task.

    Attributes:
        source_id: Identity of the row in its source, stable across runs.
        query: The prompt as asked in direct mode.
        ground_truth: Every reference answer that counts as right. Code tasks hold one JSON object
            ``{"prompt", "setup", "tests", "entry_point"}`` (see `fusion_hf.tasks.graders.code_eval`).
        prompt_version: One of `PROMPT_VERSIONS` with its number, such as ``plain@1``; None where it is not known.
    """

    source_id: str
    query: str
    ground_truth: list[str]
    prompt_version: str | None = None


@dataclass(frozen=True)
class Task:
    """A benchmark: its source on the Hub, its prompt and its metric.

    Attributes:
        source: Dataset repository on the Hub, with `config` and `splits` (our split name -> the source's).
        rows: Optional (first, last) row of the source, inclusive, for each of our splits: by the number that ends its
            `row_id`, so that a part of the source gives the same rows; without a `row_id` by place.
        row_id: Column that `rows` counts by.
        metric: Name of a grader in `fusion_hf.tasks.graders`.
        example: Turns (row of the source, index of the row) into an `Example`.
        answer_example: The part of the published prompt that shows an answer, and that an LLM can copy as one. The
            prompt version ``plain`` leaves it out.
        max_tokens: Most tokens of an answer in each mode, enough for nearly all right ones; an LLM of the pool may
            say otherwise (see `fusion_hf.llms.token_limits`). Modes that are missing have the limit of ``direct``.
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
    row_id: str | None = None
    answer_example: str = ""
    max_tokens: dict[str, int] = field(default_factory=dict)


PROMPT_VERSIONS = {"plain": "plain@1", "paper": "paper@1"}
"""``paper``: as published. ``plain``: the same without the example of an answer, which weak LLMs copy."""


def in_version(task: Task, example: Example, version: str) -> Example:
    """The example as it is asked in a prompt version; `example` has the published prompt."""
    query = example.query
    if version == "plain" and task.answer_example:
        head, _, tail = query.rpartition(task.answer_example)
        query = head + tail
    return replace(example, query=query, prompt_version=PROMPT_VERSIONS[version])


class Tasks(MutableMapping[str, Task]):
    """Tasks by name, by domain. One that becomes a plug-in later (`fusion_hf.plugins.add`) is here from then on."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._plugins: tuple[str, ...] = ()

    def _now(self) -> dict[str, Task]:
        if plugins.names("tasks") != self._plugins:
            self._plugins = plugins.names("tasks")
            found = sorted(plugins.load_all("tasks").items(), key=lambda item: not plugins.ours("tasks", item[0]))
            for _, module in found:  # ours first: no other one takes their names
                if isinstance(module.TASK, Task):
                    self._tasks.setdefault(module.TASK.name, module.TASK)
            self._tasks = {task.name: task for task in sorted(self._tasks.values(), key=_place)}
        return self._tasks

    def __getitem__(self, name: str) -> Task:
        return self._now()[name]

    def __setitem__(self, name: str, task: Task) -> None:
        self._now()[name] = task

    def __delitem__(self, name: str) -> None:
        del self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


def _place(task: Task) -> tuple[int, str, str]:
    order = ("Math", "Code", "Commonsense", "World knowledge", "Reading", "Popular")  # other domains go last
    return order.index(task.domain) if task.domain in order else len(order), task.domain, task.name


def get_task(name: str) -> Task:
    """The task called `name`, or that of a file: a path that ends in ``.py`` joins `TASKS`.

    Raises:
        UserError: No such task (the message lists the known ones), or the file's task has the name of another.
    """
    if not name.endswith(".py"):
        if name not in TASKS:
            raise UserError(
                f"unknown task {name!r}: expected one of {', '.join(TASKS)}, or the path of a .yaml or .py file"
            )
        return TASKS[name]
    task = plugins.given("tasks", name)[1].TASK
    if not isinstance(task, Task) or TASKS.setdefault(task.name, task) is not task:
        raise UserError(f"{name}: expected a TASK whose name is not taken yet, found {getattr(task, 'name', task)!r}")
    return task


TASKS = Tasks()

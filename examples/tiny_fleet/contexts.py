"""Worked examples before a training prompt, chosen as retrieval from a log chooses them: alike in words.

Most of what is alike in words is about another fact. A model that was only ever shown the fact it needs copies from
whatever stands in its context; it must also learn when not to. So the neighbours are near misses, and the example that
holds the fact stands among them in worlds of its own, where nothing else can tell it.
"""

import random
import re
from collections.abc import Callable

from fusion_hf.tasks import get_task
from fusion_hf.thoughts.extract import worked_steps
from fusion_hf.thoughts.solved import Solved

from .generators import MAKERS, Item

Draw = Callable[[str], Item]

AGAINST_MEMORY = ("commonsense_qa", "openbook_qa", "hellaswag")
"""Tasks that are also asked in altered worlds, whose facts contradict what was learned by heart. Without these a model
reads its context only about names that it has never met in that part, and answers from memory about all others. An
item's names alone make its question, so no question of the log comes up there."""

TOLD = dict.fromkeys(AGAINST_MEMORY, 0.7) | dict.fromkeys(("natural_qa", "trivia_qa", "mmlu", "gpqa"), 0.3)
"""Task whose answer follows from one other item -> share of its queries that are asked in a world of its own, where
only that item can tell the answer. It is small where the fact is two invented names: a query never finds it in the log,
because the question that holds it names the other one."""

POOL = 12
"""Items among which the nearest are looked for."""

SLIPS = 0.05
"""Share of examples with another item's answer: a log has lucky answers whose reason is wrong."""


def near_examples(rng: random.Random, item: Item, draw: Draw, close: Item | None, style: str) -> list[tuple[str, str]]:
    """One to four (question, text) pairs, the most similar last, as `build_prompt` wants them.

    Args:
        draw: Task -> a random item that may be shown.
        close: An item that rests on the same fact and must be among them, or None.
        style: ``few-shot`` (answers) or ``thought`` (templates).
    """
    count = rng.choice((1, 2, 2, 3, 3, 4))
    pool = [draw(item.task) for _ in range(POOL)]
    if rng.random() < 0.05:
        pool[0] = draw(rng.choice(list(MAKERS)))
    pool = [other for other in pool if other.identity != item.identity]
    words = _words(item)
    pool.sort(key=lambda other: _overlap(words, _words(other)))
    chosen = pool[-count:]
    if close is not None:
        chosen[-1 - rng.randrange(len(chosen))] = close
    shown = []
    for other in chosen:
        told = draw(other.task) if other is not close and rng.random() < SLIPS else other
        shown.append((other.query(), _text(rng, told, style, tells=other is close)))
    return shown


def _text(rng: random.Random, item: Item, style: str, tells: bool) -> str:
    """The answer of an item, or its template: mostly what `ExtractiveSummariser` makes of the worked answer.

    What must tell the query's answer is not masked.
    """
    if style == "few-shot":
        return item.think if rng.random() < 0.7 else item.direct
    kind = rng.random()
    if tells or kind < 0.2:
        return item.think
    return item.plan if kind < 0.4 else masked(item) or item.plan


def masked(item: Item) -> str | None:
    """The extractive template of an item's worked answer."""
    task = get_task(item.task)
    example = task.example(item.row, 0)
    solved = Solved("", item.task, example.query, example.ground_truth, task.metric, [item.think], [""], "perf:1")
    return worked_steps(item.think, solved)


def _words(item: Item) -> set[str]:
    return set(re.findall(r"\w+", item.query()))


def _overlap(one: set[str], two: set[str]) -> float:
    return len(one & two) / len(one | two)

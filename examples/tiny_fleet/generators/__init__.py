"""Miniatures of the 14 tasks: rows in the schema of the real sources, with the answers the models are taught.

``make(task, rng, world, split)`` draws one `Item`. The prompt comes from the real task file, never from here.
"""

import random
from collections.abc import Callable

from ..world import World, split_of
from . import choice, code, facts, numbers, reading
from .item import Item

MAKERS: dict[str, Callable[..., Item]] = {
    "gsm8k": numbers.gsm8k,
    "math": numbers.math,
    "mbpp": code.mbpp,
    "human_eval": code.human_eval,
    "arc_challenge": choice.arc_challenge,
    "commonsense_qa": choice.commonsense_qa,
    "hellaswag": choice.hellaswag,
    "openbook_qa": choice.openbook_qa,
    "natural_qa": facts.natural_qa,
    "trivia_qa": facts.trivia_qa,
    "mmlu": facts.mmlu,
    "gpqa": facts.gpqa,
    "boolq": reading.boolq,
    "squad": reading.squad,
}


def make(task: str, rng: random.Random, world: World, split: str | None, key: object = None, tries: int = 1000) -> Item:
    """Draw an item of `task`.

    Args:
        split: Draw until the item belongs to this split; None takes any (worlds that no log asks about).
        key: The `Item.key` of another item: the new one has the same template, or rests on the same fact.

    Raises:
        LookupError: No item of that split was met.
    """
    for _ in range(tries):
        item = MAKERS[task](rng, world, key)
        if split is None or (item.split or split_of(task, item.identity)) == split:
            return item
    raise LookupError(f"{task}: no item of split {split!r} with key {key!r} in {tries} draws")


__all__ = ["MAKERS", "Item", "make"]

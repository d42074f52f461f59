"""One generated item, and the drawing of options."""

import random
from dataclasses import dataclass

from fusion_hf.tasks import get_task, with_mode


@dataclass(frozen=True)
class Item:
    """A row of a miniature source.

    Attributes:
        row: The fields of the real source.
        direct: The answer that the models are taught in direct mode.
        think: The worked answer that they are taught in think mode.
        identity: Numbers or entities that make the item this one and no other; decides its split.
        key: Template or fact that a similar item may share.
        plan: A sentence or two on how such a question is solved, without its answer.
        needs: The (relation, subject) facts that it rests on.
        split: Set where the split does not follow from the hash of the identity.
    """

    task: str
    row: dict
    direct: str
    think: str
    identity: tuple
    key: object
    plan: str
    needs: tuple = ()
    split: str | None = None

    def query(self, mode: str = "direct") -> str:
        """The prompt, as the real task writes it."""
        return with_mode(get_task(self.task).example(self.row, 0).query, mode)


def shuffle_options(rng: random.Random, right: str, wrong: list[str]) -> tuple[list[str], int]:
    """The options in random order, and the place of the right one."""
    options = [right, *wrong]
    rng.shuffle(options)
    return options, options.index(right)


def wrong_options(rng: random.Random, pool, right: str, count: int = 3) -> list[str]:
    """`count` different members of `pool` that are not `right`."""
    return rng.sample([x for x in dict.fromkeys(pool) if x != right], count)


def choice_answers(right: str, place: int, reason: str) -> tuple[str, str]:
    """Direct and worked answer of a multiple-choice item.

    Both name the option before its letter: a tiny model then only has to look the letter up in the prompt.
    """
    letter = f"({'ABCDE'[place]})"
    return f"{right} {letter}", f"{reason} The answer is {right} {letter}"

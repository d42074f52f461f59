"""Short passages with a question: the answer stands in the passage and nowhere else."""

import random

from ..world import HABITS, World
from .item import Item

# relation -> sentence, question for its value, plan
SENTENCES = {
    "lives": ("{n} lives in {v}.", "Where does {n} live?"),
    "owns": ("{n} owns a {v}.", "What does {n} own?"),
    "eats": ("{n} eats {v}.", "What does {n} eat?"),
    "guards": ("{n} guards {v}.", "What does {n} guard?"),
}


def _passage(rng: random.Random, world: World, key: str | None):
    """Text, the person asked about, another person, the relation, and {(person, relation): value}."""
    values = {"lives": world.towns, "owns": world.objects, "eats": HABITS["eat"], "guards": HABITS["guard"]}
    relation = key or rng.choice(list(SENTENCES))
    other = rng.choice([r for r in SENTENCES if r != relation])
    person, second = rng.sample(world.people, 2)
    told = {}
    told[person, relation], told[second, relation] = rng.sample(values[relation], 2)
    told[rng.choice((person, second)), other] = rng.choice(values[other])
    lines = [SENTENCES[r][0].format(n=n, v=v) for (n, r), v in told.items()]
    rng.shuffle(lines)
    return " ".join(lines), person, second, relation, told


def squad(rng: random.Random, world: World, key: str | None = None) -> Item:
    """A span of the passage; identity: passage and question."""
    text, person, _, relation, told = _passage(rng, world, key)
    sentence, question = SENTENCES[relation]
    value = told[person, relation]
    question = question.format(n=person)
    return Item(
        "squad",
        {"context": text, "question": question, "answers": {"text": [value]}},
        direct=value,
        think=f"{sentence.format(n=person, v=value)} The answer is {value}",
        identity=(text, question),
        key=relation,
        plan="Find the sentence about that person, then copy its last word.",
    )


def boolq(rng: random.Random, world: World, key: str | None = None) -> Item:
    """Whether the passage says so; identity: passage and question."""
    text, person, second, relation, told = _passage(rng, world, key)
    sentence = SENTENCES[relation][0]
    value = told[person, relation]
    true = rng.random() < 0.5
    asked = value if true else told[second, relation]
    question = f"is it true that {sentence.format(n=person, v=asked)[:-1]}"
    return Item(
        "boolq",
        {"passage": text, "question": question, "answer": true},
        direct=str(true),
        think=f"{sentence.format(n=person, v=value)} The answer is {true}",
        identity=(text, question),
        key=relation,
        plan="Find the sentence about that person and compare it with the question.",
    )

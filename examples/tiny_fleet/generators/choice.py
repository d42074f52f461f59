"""Options (A)-(E) about the nature of the invented world."""

import random

from ..world import EFFECTS, HABITS, World
from .item import Item, choice_answers, shuffle_options, wrong_options


def _labelled(options: list[str]) -> dict:
    return {"text": options, "label": list("ABCDE"[: len(options)])}


def commonsense_qa(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """What a creature does, from the habit of its kind; identity: creature, kind and habit."""
    kind, habit = key or rng.choice(list(world.facts["habit"]))
    value, creature = world.facts["habit"][kind, habit], rng.choice(world.creatures)
    options, place = shuffle_options(rng, value, wrong_options(rng, HABITS[habit], value, 4))
    direct, think = choice_answers(value, place, world.statement("habit", (kind, habit)))
    return Item(
        "commonsense_qa",
        {
            "id": f"{creature}-{kind}-{habit}",
            "question": f"The {creature} is a {kind}. What will the {creature} {habit}?",
            "choices": _labelled(options),
            "answerKey": "ABCDE"[place],
        },
        direct,
        think,
        identity=(creature, kind, habit),
        key=(kind, habit),
        plan=f"Recall what every {kind} will {habit}, then take that option.",
        needs=(("habit", (kind, habit)),),
    )


def openbook_qa(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """What happens to an object, from the behaviour of its material; identity: object, material and place."""
    material, where = key or rng.choice(list(world.facts["effect"]))
    value, thing = world.facts["effect"][material, where], rng.choice(world.objects)
    options, place = shuffle_options(rng, value, wrong_options(rng, EFFECTS, value))
    direct, think = choice_answers(value, place, world.statement("effect", (material, where)))
    return Item(
        "openbook_qa",
        {
            "id": f"{thing}-{material}-{where}",
            "question_stem": f"A {thing} made of {material} is put in {where}. It",
            "choices": _labelled(options),
            "answerKey": "ABCD"[place],
        },
        direct,
        think,
        identity=(thing, material, where),
        key=(material, where),
        plan=f"Recall what any {material} does in {where}, then take that option.",
        needs=(("effect", (material, where)),),
    )


def arc_challenge(rng: random.Random, world: World, key: str | None = None) -> Item:
    """The heaviest or lightest of four objects; identity: the objects."""
    word = key or rng.choice(["heaviest", "lightest"])
    weight = world.facts["weight"]
    while True:
        things = rng.sample(world.objects, 4)
        if len({weight[t] for t in things}) == 4:
            break
    right = (max if word == "heaviest" else min)(things, key=weight.get)
    options, place = shuffle_options(rng, right, [t for t in things if t != right])
    reason = " ".join(f"{t} {weight[t]}" for t in options) + "."
    direct, think = choice_answers(right, place, reason)
    return Item(
        "arc_challenge",
        {
            "id": "-".join(options),
            "question": f"Which object is the {word}?",
            "choices": _labelled(options),
            "answerKey": "ABCD"[place],
        },
        direct,
        think,
        identity=(tuple(sorted(things)),),
        key=word,
        plan=f"Write the weight of each object, then take the {word}.",
        needs=tuple(("weight", t) for t in things),
    )


def hellaswag(rng: random.Random, world: World, key: str | None = None) -> Item:
    """What somebody does next, from the fixed order of doings; identity: person, object and last verb."""
    verb = key or rng.choice(world.verbs)
    after = world.facts["next"][verb]
    person, thing = rng.choice(world.people), rng.choice(world.objects)
    options, place = shuffle_options(rng, after, wrong_options(rng, world.verbs, after))
    direct, think = choice_answers(after, place, world.statement("next", verb))
    return Item(
        "hellaswag",
        {
            "ind": f"{person}-{thing}-{verb}",
            "ctx": f"{person} {verb} the {thing}. Then {person}",
            "endings": options,
            "label": str(place),
        },
        direct,
        think,
        identity=(person, thing, verb),
        key=verb,
        plan=f"Recall what comes after {verb}, then take that option.",
        needs=(("next", verb),),
    )

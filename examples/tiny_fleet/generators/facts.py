"""Questions about the invented world without a context: open, with options, and over two facts."""

import functools
import random

from ..world import QUESTIONS, World, assign_questions
from .item import Item, choice_answers, shuffle_options, wrong_options
from .numbers import near_numbers

GEOGRAPHY, HISTORY = ("chief", "river"), ("invented", "star")


_WAYS = ("name", "star", "invented")
"""How gpqa names a person: outright, or by what he found or invented."""


@functools.cache
def _splits(relations: tuple[str, ...]) -> dict[tuple[str, str, bool], str]:
    """The split of each question; it follows from the names alone, so any world of the default seed will do."""
    return assign_questions(World(), relations, "+".join(relations))


def split_of_question(relation: str, subject: str, reverse: bool) -> str:
    """The split of a question about one fact, the same in every task that asks it; questions of a fiction are free."""
    splits = _splits(GEOGRAPHY if relation in GEOGRAPHY else HISTORY)
    return splits.get((relation, subject, reverse), "model")


def _one_fact(rng: random.Random, world: World, relations: tuple[str, ...], key: tuple | None):
    """(relation, subject, reverse), its question, its answer, and the statement that ends in the answer."""
    if key:  # the same fact, asked the other way round
        relation, subject, reverse = key[0], key[1], not key[2]
    else:
        relation, reverse = rng.choice(relations), rng.random() < 0.5
        subject = rng.choice(list(world.facts[relation]))
    value = world.facts[relation][subject]
    question = QUESTIONS[relation][reverse].format(a=subject, b=value)
    return (relation, subject, reverse), question, subject if reverse else value, relation


def _open(task: str, rng: random.Random, world: World, relations: tuple[str, ...], key: tuple | None) -> Item:
    fact, question, answer, relation = _one_fact(rng, world, relations, key)
    name = "-".join((relation, fact[1], "reverse" if fact[2] else "forward"))
    if task == "natural_qa":
        row = {"id": name, "question": question, "golden_answers": [answer]}
    else:
        row = {"question_id": name, "question": question, "answer": {"normalized_aliases": [answer.lower()]}}
    statement = world.statement(relation, fact[1], fact[2])
    return Item(
        task,
        row,
        direct=answer,
        think=f"{statement} The answer is {answer}",
        identity=fact,
        key=fact,
        plan="Recall the fact that joins the two names, then give the other name.",
        needs=(fact[:2],),
        split=split_of_question(*fact),
    )


def natural_qa(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """Towns, chiefs and rivers; identity: relation, subject and direction."""
    return _open("natural_qa", rng, world, GEOGRAPHY, key)


def trivia_qa(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """Inventors, things and stars; identity: relation, subject and direction."""
    return _open("trivia_qa", rng, world, HISTORY, key)


def mmlu(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """Two thirds facts with four options (split as in the open tasks), one third sums."""
    if key == "sum" or (key is None and rng.random() < 0.35):
        return _sum(rng)
    fact, question, answer, relation = _one_fact(rng, world, GEOGRAPHY + HISTORY, key)
    facts = world.facts[relation]
    pool = facts if fact[2] else facts.values()
    options, place = shuffle_options(rng, answer, wrong_options(rng, pool, answer))
    direct, think = choice_answers(answer, place, world.statement(relation, fact[1], fact[2]))
    return Item(
        "mmlu",
        {"question": question, "choices": options, "answer": place},
        direct,
        think,
        identity=fact,
        key=fact,
        plan="Recall the fact that joins the two names, then take that option.",
        needs=(fact[:2],),
        split=split_of_question(*fact),
    )


def _sum(rng: random.Random) -> Item:
    sign = rng.choice("+-*")
    a, b = (rng.randint(2, 9), rng.randint(2, 9)) if sign == "*" else (rng.randint(10, 40), rng.randint(2, 20))
    a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    options, place = shuffle_options(rng, str(result), near_numbers(rng, result))
    direct, think = choice_answers(str(result), place, f"{a} {sign} {b} = {result}.")
    return Item(
        "mmlu",
        {"question": f"How much is {a} {sign} {b}?", "choices": options, "answer": place},
        direct,
        think,
        identity=("sum", a, sign, b),
        key="sum",
        plan="Compute the number, then take that option.",
    )


def gpqa(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """The chief or river of somebody's home (two facts in a row); identity: relation, person, and way of asking."""
    relation, person, asked = key or (rng.choice(GEOGRAPHY), rng.choice(world.inventors), rng.choice(_WAYS))
    if key:  # the same person, under another name
        asked = rng.choice([way for way in _WAYS if way != asked])
    town = world.facts["home"][person]
    answer = world.facts[relation][town]
    wrong = wrong_options(rng, world.facts[relation].values(), answer)
    reason = f"{world.statement('home', person)} {world.statement(relation, town)}"
    needs = (("home", person), (relation, town))
    who = person
    if asked != "name":
        who = (
            "the one who " + {"star": "found the star", "invented": "invented the"}[asked]
        ) + f" {world.facts[asked][person]}"
        reason = f"{world.statement(asked, person, True)} {reason}"
        needs = ((asked, person), *needs)
    question = f"What is the {relation} of the home of {who}?"
    options = [answer, *wrong]
    row = {"Record ID": f"{relation}-{person}-{asked}", "Question": question, "Correct Answer": answer}
    row |= {f"Incorrect Answer {i}": option for i, option in enumerate(wrong, 1)}
    place = _gpqa_place(row)
    direct, think = choice_answers(options[0], place, reason)
    return Item(
        "gpqa",
        row,
        direct,
        think,
        identity=(relation, person, asked),
        key=(relation, person, asked),
        plan=f"Find the person, then the home, then the {relation} of that town.",
        needs=needs,
    )


def _gpqa_place(row: dict) -> int:
    """Where the task puts the right option: it shuffles by a hash of the question."""
    from fusion_hf.tasks import get_task

    return "ABCD".index(get_task("gpqa").example(row, 0).ground_truth[0][1])

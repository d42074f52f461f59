"""Arithmetic word problems and small algebra."""

import random

from ..world import World
from .item import Item

GOODS = ["apples", "coins", "books", "nuts", "pens", "shells"]

STORIES = {
    "add": "{n} has {a} {o}. {n} buys {b} more. How many {o} does {n} have?",
    "sub": "{n} has {a} {o} and gives away {b}. How many {o} are left?",
    "mul": "Each box holds {c} {o}. How many {o} are in {d} boxes?",
    "add-sub": "{n} has {a} {o}, buys {b} more and then loses {c}. How many {o} does {n} have?",
    "mul-add": "{n} has {c} bags of {d} {o} and finds {b} more. How many {o} in all?",
    "mul-sub": "{n} fills {c} boxes with {d} {o} each and sells {b}. How many {o} are left?",
    "add-mul": "{n} gets {c} {o} and {e} cards each day. How many things in {d} days?",
}
PLANS = {
    "add": "Add both numbers.",
    "sub": "Subtract what was given away.",
    "mul": "Multiply the boxes by what each holds.",
    "add-sub": "Add what was bought, then subtract what was lost.",
    "mul-add": "Multiply the bags by what each holds, then add what was found.",
    "mul-sub": "Multiply the boxes by what each holds, then subtract what was sold.",
    "add-mul": "Add what comes each day, then multiply by the days.",
}
_WEIGHTS = {"add": 1, "sub": 1, "mul": 1, "add-sub": 2, "mul-add": 2, "mul-sub": 2, "add-mul": 2}


def _steps(kind: str, a: int, b: int, c: int, d: int, e: int) -> list[tuple[int, str, int, int]]:
    """(left, operator, right, result) of each step."""
    if kind in ("add", "sub"):
        return [(a, "+", b, a + b)] if kind == "add" else [(a, "-", b, a - b)]
    if kind == "mul":
        return [(c, "*", d, c * d)]
    if kind == "add-sub":
        return [(a, "+", b, a + b), (a + b, "-", c, a + b - c)]
    if kind == "add-mul":
        return [(c, "+", e, c + e), (c + e, "*", d, (c + e) * d)]
    sign, result = ("+", c * d + b) if kind == "mul-add" else ("-", c * d - b)
    return [(c, "*", d, c * d), (c * d, sign, b, result)]


def gsm8k(rng: random.Random, world: World, key: str | None = None) -> Item:
    """A word problem of one or two steps; identity: its kind and numbers."""
    while True:
        kind = key or rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        a, b = rng.randint(3, 40), rng.randint(2, 20)
        c, d, e = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 5)
        steps = _steps(kind, a, b, c, d, e)
        result = steps[-1][3]
        if 0 <= result <= 60 and (kind != "add-mul" or c + e <= 9):
            break
    question = STORIES[kind].format(n=rng.choice(world.people), o=rng.choice(GOODS), a=a, b=b, c=c, d=d, e=e)
    worked = " ".join(f"{x} {o} {y} = {z}." for x, o, y, z in steps)
    return Item(
        "gsm8k",
        {"question": question, "answer": f"{worked}\n#### {result}"},
        direct=f"#### {result}",
        think=f"{worked} #### {result}",
        identity=(kind, tuple(steps)),
        key=kind,
        plan=PLANS[kind],
    )


def math(rng: random.Random, world: World, key: str | None = None) -> Item:
    r"""A linear equation or a small expression, solved in ``\boxed{}``; identity: the problem."""
    kind = key or rng.choice(["solve+", "solve-", "bracket", "two-products"])
    a, x, b, y = rng.randint(2, 9), rng.randint(1, 9), rng.randint(1, 15), rng.randint(2, 5)
    if kind == "solve+":
        problem = f"Solve for x: {a}x + {b} = {a * x + b}"
        worked, result = f"{a * x + b} - {b} = {a * x}. {a * x} / {a} = {x}.", x
        plan = "Subtract the number from the right side, then divide by the factor of x."
    elif kind == "solve-":
        b = min(b, a * x)
        problem = f"Solve for x: {a}x - {b} = {a * x - b}"
        worked, result = f"{a * x - b} + {b} = {a * x}. {a * x} / {a} = {x}.", x
        plan = "Add the number to the right side, then divide by the factor of x."
    elif kind == "bracket":
        x, b = rng.randint(1, 5), rng.randint(1, 4)
        problem = f"Compute {a} * ({x} + {b})"
        worked, result = f"{x} + {b} = {x + b}. {a} * {x + b} = {a * (x + b)}.", a * (x + b)
        plan = "First the bracket, then the product."
    else:
        x, b = rng.randint(2, 5), rng.randint(2, 9)
        left, right = a * x, b * y
        problem = f"Compute {a} * {x} + {b} * {y}"
        worked, result = f"{a} * {x} = {left}. {b} * {y} = {right}. {left} + {right} = {left + right}.", left + right
        plan = "Compute both products, then add them."
    return Item(
        "math",
        {"problem": problem, "solution": f"{worked} The answer is $\\boxed{{{result}}}$."},
        direct=f"\\boxed{{{result}}}",
        think=f"{worked} \\boxed{{{result}}}",
        identity=(problem,),
        key=kind,
        plan=plan,
    )


def near_numbers(rng: random.Random, number: int) -> list[str]:
    """Three other numbers close to `number`."""
    return [str(n) for n in rng.sample([n for n in range(max(0, number - 9), number + 10) if n != number], 3)]

"""One-line Python functions: two operations in a row, described in words, with tests that are really run."""

import random

from ..world import World, split_of
from .item import Item

# operand -> (words of mbpp, words of human_eval, expression over '@', what it does to a value)
OPERATIONS = {
    "x": [
        ("add {n}", "plus {n}", "@ + {n}", lambda x, n: x + n),
        ("subtract {n}", "minus {n}", "@ - {n}", lambda x, n: x - n),
        ("multiply by {n}", "times {n}", "@ * {n}", lambda x, n: x * n),
        ("take the remainder by {n}", "modulo {n}", "@ % {n}", lambda x, n: x % n),
        ("divide down by {n}", "over {n}", "@ // {n}", lambda x, n: x // n),
    ],
    "s": [
        ("reverse it", "reversed", "@[::-1]", lambda s, n: s[::-1]),
        ("repeat it {n} times", "repeated {n} times", "@ * {n}", lambda s, n: s * n),
        ("keep the first {n} letters", "cut to {n} letters", "@[:{n}]", lambda s, n: s[:n]),
        ("drop the first {n} letters", "without {n} letters", "@[{n}:]", lambda s, n: s[n:]),
        ("make it upper case", "in capitals", "@.upper()", lambda s, n: s.upper()),
    ],
    "v": [
        ("add {n} to each item", "each plus {n}", "[a + {n} for a in @]", lambda v, n: [a + n for a in v]),
        ("multiply each item by {n}", "each times {n}", "[a * {n} for a in @]", lambda v, n: [a * n for a in v]),
        (
            "keep the items above {n}",
            "those above {n}",
            "[a for a in @ if a > {n}]",
            lambda v, n: [a for a in v if a > n],
        ),
        ("sort it", "sorted", "sorted(@)", lambda v, n: sorted(v)),
        ("reverse it", "reversed", "@[::-1]", lambda v, n: v[::-1]),
    ],
}
LAST = [("sum it", "summed", "sum(@)", lambda v, n: sum(v)), ("count it", "counted", "len(@)", lambda v, n: len(v))]
INPUTS = {"x": (7, 20, 45), "s": ("abcdefghij", "tin"), "v": ([3, 1, 12, 5], [9, 2, 6])}


def _draw(rng: random.Random, key: tuple | None) -> tuple[str, tuple, tuple]:
    """Operand, places of the operations, and their numbers."""
    if key:
        operand, places = key
    else:
        operand = rng.choice("xsv")
        second = OPERATIONS[operand] + (LAST if operand == "v" else [])
        places = (rng.randrange(5),) + ((rng.randrange(len(second)),) if rng.random() < 0.7 else ())
    return operand, places, tuple(rng.randint(2, 9) for _ in places)


def _program(operand: str, places: tuple, numbers: tuple) -> tuple[str, list[str], list[str], tuple]:
    """Expression, words of mbpp, words of human_eval, identity."""
    expression, said, documented, identity = operand, [], [], []
    for i, (place, n) in enumerate(zip(places, numbers, strict=True)):
        words, short, code, _ = (OPERATIONS[operand] + LAST)[place]
        inner = f"({expression})" if operand != "v" and i else expression
        expression = code.replace("@", inner).format(n=n)
        said.append(words.format(n=n))
        documented.append(short.format(n=n))
        identity.append((place, n if "{n}" in code else 0))
    return expression, said, documented, (operand, tuple(identity))


def _results(operand: str, places: tuple, numbers: tuple) -> list[tuple[str, str]]:
    """repr of each input and of its result."""
    results = []
    for value in INPUTS[operand]:
        result = value
        for place, n in zip(places, numbers, strict=True):
            result = (OPERATIONS[operand] + LAST)[place][3](result, n)
        results.append((repr(value), repr(result)))
    return results


def _worked(operand: str, places: tuple, numbers: tuple, expression: str) -> str:
    first = _program(operand, places[:1], numbers[:1])[0]
    return f"First {first}. Then {expression}." if len(places) > 1 else f"Use {expression}."


def mbpp(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """A function from a sentence; the tests are shown. Identity: operations and numbers."""
    operand, places, numbers = _draw(rng, key)
    expression, said, _, identity = _program(operand, places, numbers)
    answer = f"[BEGIN]\ndef f({operand}): return {expression}\n[DONE]"
    tests = [f"assert f({value}) == {result}" for value, result in _results(operand, places, numbers)]
    return Item(
        "mbpp",
        {
            "task_id": "-".join(map(str, identity)),
            "text": f"Write f({operand}): {', then '.join(said)}.",
            "code": f"def f({operand}): return {expression}",
            "test_list": tests,
            "test_setup_code": "",
        },
        direct=answer,
        think=f"{_worked(operand, places, numbers, expression)} {answer}",
        identity=identity,
        split=split_of("code", identity),
        key=(operand, places),
        plan="Write the first operation, then put it inside of the second. Return it in one line.",
    )


def human_eval(rng: random.Random, world: World, key: tuple | None = None) -> Item:
    """A function to complete from its docstring; the tests are hidden. Identity: operations and numbers."""
    operand, places, numbers = _draw(rng, key)
    expression, _, documented, identity = _program(operand, places, numbers)
    answer = f"[BEGIN]\n    return {expression}\n[DONE]"
    results = _results(operand, places, numbers)
    checks = "\n".join(f"    assert candidate({value}) == {result}" for value, result in results)
    return Item(
        "human_eval",
        {
            "task_id": "-".join(map(str, identity)),
            "prompt": f'def f({operand}):\n    """{operand}, {", ".join(documented)}"""\n',
            "canonical_solution": f"    return {expression}\n",
            "test": f"def check(candidate):\n{checks}\n",
            "entry_point": "f",
        },
        direct=answer,
        think=f"{_worked(operand, places, numbers, expression)} {answer}",
        identity=identity,
        split=split_of("code", identity),
        key=(operand, places),
        plan="Write the first operation, then put it inside of the second. Return it in one line.",
    )

"""Final answers read from responses alone, so that they can be compared; programs agree by what they do."""

import numpy as np
import pytest
from conftest import make_rows

from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers.cascade.answers import (
    PASSES,
    asks_code,
    gives_code,
    log_answers,
    program_answer,
    read_answer,
    shown_tests,
)

CHOICE = "What is wet?\n(A) fire\n(B) rain\n(C) sand\nAnswer with the letter."
LIST = 'Which is it?\nA) one\nB) two\nPrint only a single choice from "A" or "B" without explanation.\nAnswer:'
TRUTH = "Passage: It rains.\nAnswer the question with True or False."
SUM = "How many apples?\nEnd your answer with the number after ####."
WHO = "Who wrote Hamlet?"

EQUAL = [
    (CHOICE, "(B)", "The answer is B."), (CHOICE, "**B** rain", "It is rain."), (LIST, "B", "B\n"),
    (LIST, "B) two", "two"),
    (TRUTH, "True", "The answer is true, as it rains."), (TRUTH, "Yes.", "It is True."),
    (SUM, "3 + 4 = 7\n#### 7", "So there are 7.0 apples."), (SUM, "#### 1,000", "The answer is $1000."),
    (SUM, r"\boxed{7}", "7"), (WHO, "Shakespeare", "The answer is Shakespeare."), (WHO, "the Bard.", "Bard"),
]  # fmt: skip
DIFFERENT = [
    (CHOICE, "(A)", "(B)"), (TRUTH, "True", "False"), (SUM, "#### 7", "#### 71"), (SUM, "#### 3.5", "#### 35"),
    (WHO, "Marlowe", "Shakespeare"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "one", "other"), EQUAL)
def test_equal_answers_are_equal(query, one, other):
    assert read_answer(query, one) == read_answer(query, other) != ""


@pytest.mark.parametrize(("query", "one", "other"), DIFFERENT)
def test_different_answers_differ(query, one, other):
    assert read_answer(query, one) != read_answer(query, other)


def test_unread_is_empty_and_missing_is_none():
    assert read_answer(CHOICE, "I do not know.") == "" and read_answer(CHOICE, None) is None
    assert read_answer(SUM, "Sorry, I cannot say.").signs != read_answer(SUM, "#### 7").signs


MBPP = "Write a Python function that doubles each item.\nYour code must pass these tests:\nassert f([1]) == [2]\n"
BARE = "Write a python function to double a number."
STUB = 'def f(x):\n    """Doubles.\n    >>> f(2)\n    4\n    """\nComplete the Python function.'


def test_a_word_problem_is_no_program():
    story = "A new program had 60 downloads and got 3 times as many. How many downloads did the program have?"
    assert read_answer(story, "#### 180") == "180"
    for query in (MBPP, BARE, STUB, "Write a function to find the n-th number."):
        assert asks_code(query)


def test_shown_tests_are_found():
    assert shown_tests(MBPP) == ["assert f([1]) == [2]"]
    assert shown_tests(STUB) == ["assert (f(2)) == (4)"] and shown_tests(BARE) == []


def test_programs_that_pass_the_shown_tests_agree():
    assert program_answer(MBPP, "[BEGIN]\ndef f(v): return [2 * x for x in v]\n[DONE]") == PASSES
    assert program_answer(MBPP, "```python\ndef f(v):\n    return [x + x for x in v]\n```\nIt doubles.") == PASSES
    assert program_answer(MBPP, "[BEGIN]\ndef f(v): return v\n[DONE]") is None
    assert program_answer(MBPP, "Let me think.") is None
    assert program_answer(STUB, "[BEGIN]\n    return 2 * x\n[DONE]") == PASSES
    assert program_answer(STUB, "[BEGIN]\n    return x\n[DONE]") is None


def test_without_tests_programs_agree_that_do_the_same():
    one = program_answer(BARE, "```python\ndef double(x):\n    return 2 * x\n```")
    # Other names, an example after the code, and an endless loop on one input do not matter.
    other = program_answer(
        BARE, "```\ndef twice(n):\n    return n + n\n```\nUse it so:\n```\ny = twice(3)\nprint(y)\n```"
    )
    assert one != program_answer(BARE, "```python\ndef double(x):\n    return 3 * x\n```") is not None
    assert one is not None
    loop = "```python\ndef g(n):\n    while n == 100:\n        pass\n    return 2 * n\n```"
    assert program_answer(BARE, loop) == program_answer(BARE, loop.replace("g", "h")) not in (None, one)
    assert program_answer(BARE, "```python\ndef f(x):\n    raise ValueError\n```") is None
    assert program_answer(BARE, "```python\nresult = double(3)\n```") is None  # an example, and no program
    assert (other is None) == (one is None)


def log(**changes):
    rows = make_rows(6)
    return validate(rows_to_table([row | changes for row in rows]))


def test_a_log_is_read_in_the_order_of_its_arrays_and_never_by_its_scores():
    table = log()
    data = RoutingData.from_table(table)
    answers = log_answers(table, data)
    assert answers.shape == data.performance.shape and "#" not in "".join(answers.ravel())
    assert answers[0, 0] == "1" and answers[1, 1] == "3"
    shuffled = data.subset(np.arange(len(data))[::-1]).select(data.candidates[::-1])
    assert (log_answers(table, shuffled) == answers[::-1, ::-1]).all()
    # Neither reference answers nor scores nor what a grader extracted are looked at.
    blind = log(ground_truth=["0"], performance=0.0, extracted="0")
    assert (log_answers(blind, data) == answers).all()
    rows = make_rows(6)
    rows[0]["response"] = None
    assert log_answers(validate(rows_to_table(rows)), data)[0, 0] is None


def test_programs_run_once(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    rows = [row | {"query": MBPP, "response": "def f(v): return [2 * x for x in v]"} for row in make_rows(2)[:1]]
    table = validate(rows_to_table(rows))
    data = RoutingData.from_table(table)
    assert log_answers(table, data)[0, 0] == PASSES
    monkeypatch.setattr("fusion_hf.routers.cascade.answers.run_python", None)  # would fail if it were called
    assert log_answers(table, data)[0, 0] == PASSES


CRUX = "You are given a Python function.\n[PYTHON]\ndef f(x):\n    return x\nassert f(1) == ??\n[/PYTHON]"


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("[(4, 1),(2,  3)]", "[(4, 1), (2, 3)]"), ("{}", "{}"), ("'ab'", "'ab'"), ('[\\"ab\\"]', '["ab"]'),
        ("ab", "ab"), ("12.0", "12"), ("[(", None), ("{[1], {}}", "1"),
    ],
)  # fmt: skip
def test_a_query_that_shows_a_program_may_ask_what_comes_out_of_it(written, answer):
    """No program is run; a literal counts as it is written, spaces aside."""
    assert read_answer(CRUX, f'{{"reasoning": "it returns its input", "answer": "{written}"}}') == (answer or "")


def test_a_program_in_a_field_is_a_program():
    query = "Write a Python function add(a, b). assert add(1, 2) == 3"
    assert gives_code(query, '{"answer": "def add(a, b): return a + b"}') and gives_code(query, "```python\nx\n```")
    assert not gives_code(CRUX, '{"answer": "3"}')

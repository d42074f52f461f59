"""Which logged answers templates are made from."""

import pytest
from thought_toys import answer, table_of

from fusion_hf.errors import UserError
from fusion_hf.thoughts import (
    select_answers,
)


def chosen(table, *args, **kwargs):
    """source_id -> candidates, best first."""
    answers = select_answers(table, *args, **kwargs).answers
    return {table["source_id"][r[0]].as_py(): [table["llm"][i].as_py() for i in r] for r in answers.values()}


# Which answers


def test_perf_orders_by_performance_then_cost_then_name():
    table = table_of(
        answer("q", "dear", 1.0, 3e-4),
        answer("q", "half", 0.6, 1e-6),
        answer("q", "cheap", 1.0, 1e-4),
        answer("q", "beta", 1.0, 2e-4),
        answer("q", "alpha", 1.0, 2e-4),
        answer("q", "free?", 1.0, None),
    )
    assert chosen(table) == {"q": ["cheap", "alpha", "beta", "dear", "free?", "half"]}
    assert chosen(table, top_k=2) == {"q": ["cheap", "alpha"]}


def test_only_right_answers_and_every_query_is_counted():
    table = table_of(
        answer("solved", "a", 1.0),
        answer("solved", "b", 0.49),  # below the threshold
        answer("unsolved", "a", 0.0),
        answer("silent", "a", 1.0, response=" "),
        answer("ungraded", "a", None),
    )
    selection = select_answers(table)
    assert chosen(table) == {"solved": ["a"]}
    assert (selection.read, selection.dropped) == (4, {"no right answer": 1, "no graded answer": 2})


def test_the_order_of_rows_is_irrelevant(rng):
    rows = [answer(f"q{i}", f"m{j}", float(rng.integers(2)), float(rng.random()), judge=float(rng.random()))
            for i in range(6) for j in range(7)]  # fmt: skip
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    for rule in ("perf", "judge", "hybrid"):
        assert chosen(table_of(*rows), rule, 3) == chosen(table_of(*shuffled), rule, 3)


def test_hybrid_takes_the_best_judged_of_the_five_best():
    # The sixth by cost has the best judge score and must not be seen.
    rows = [answer("q", f"m{i}", 1.0, 1e-4 * (i + 1), judge=judge)
            for i, judge in enumerate([0.1, 0.5, None, 0.9, 0.3, 1.0])]  # fmt: skip
    assert chosen(table_of(*rows), "hybrid", 3) == {"q": ["m3", "m1", "m4"]}
    assert chosen(table_of(*rows), "judge", 2) == {"q": ["m5", "m3"]}


def test_judge_never_takes_a_wrong_answer():
    table = table_of(answer("q", "liked", 0.0, judge=1.0), answer("q", "right", 1.0, judge=0.1))
    assert chosen(table, "judge") == {"q": ["right"]}
    open_ended = table_of(answer("q", "liked", None, judge=0.9), answer("q", "bad", None, judge=0.2))
    assert chosen(open_ended, "judge") == {"q": ["liked"]}


@pytest.mark.parametrize(
    ("rows", "rule", "message"),
    [
        ([answer("q", "a", 1.0)], "hybrid", "needs judge scores"),
        ([answer("q", "a", None)], "perf", "needs graded answers"),
        ([answer("q", "a", 1.0, response=None)], "perf", "no response texts"),
        ([answer("q", "a", 1.0)], "best", "expected one of perf, judge, hybrid"),
    ],
)
def test_logs_that_cannot_be_used_say_why(rows, rule, message):
    with pytest.raises(UserError, match=message):
        select_answers(table_of(*rows), rule)


# What gives an answer away

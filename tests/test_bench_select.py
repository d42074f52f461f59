"""The rules by which answers are chosen, against the plain way of writing them."""

import numpy as np
import pyarrow as pa
import pytest

from fusion_hf.errors import UserError
from fusion_hf.logs.schema import candidate_id
from fusion_hf.logs.select import RULES, TIES, Answers, rank_answers, small_llms


def log(queries=40, seed=0):
    """A log with ties, gaps and copies, its rows in random order."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "query_id": f"q{q}", "llm": llm, "mode": mode, "response": str(rng.choice(["", "x", "yy", "zzz"])),
            "performance": rng.choice([None, 0.0, 0.5, 1.0]), "judge": rng.choice([None, 0.2, 0.8]),
            "cost": rng.choice([None, 1.0, 2.0]),
        }
        for q in range(queries) for llm in "abcdef" for mode in ("direct", "think")
    ]  # fmt: skip
    return [rows[i] for i in rng.permutation(len(rows))]


def plainly(rows, rule, top_k, pool, tie):
    """The rule as one would say it: (candidates of each query, best first)."""
    missing = -1.0

    def known(value, other):
        return other if value is None else value

    def key(row):
        score = row["judge"] if rule == "judge" else row["performance"]
        cost, length = known(row["cost"], float("inf")), len(row["response"])
        ties = (cost, length) if tie == "cost" else (length, cost)
        return (-known(score, missing), *ties, candidate_id(row["llm"], row["mode"]))

    result = {}
    for query in dict.fromkeys(row["query_id"] for row in rows):
        own = sorted((r for r in rows if r["query_id"] == query and (r["performance"] or 0) >= 0.5), key=key)
        if rule == "hybrid":
            own = sorted(own[:pool], key=lambda r: -known(r["judge"], missing))
        if own:
            result[query] = [candidate_id(r["llm"], r["mode"]) for r in own[:top_k]]
    return result


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize(("top_k", "pool"), [(3, 5), (1, 2), (None, 5), (99, 4)])
def test_the_rules_are_what_they_say(rule, tie, top_k, pool):
    for seed in range(3):
        rows = log(seed=seed)
        answers = Answers.of(pa.Table.from_pylist(rows))
        ranking = rank_answers(answers, answers.right(0.5), rule, top_k, pool=pool, tie=tie)
        found = {}
        for row, rank in zip(ranking.rows, ranking.rank, strict=True):
            found.setdefault(rows[row]["query_id"], []).append(candidate_id(rows[row]["llm"], rows[row]["mode"]))
            assert rank == len(found[rows[row]["query_id"]])
        expected = plainly(rows, rule, top_k, pool, tie)
        assert found == expected and list(found) == list(expected)
        every = np.concatenate([ranking.rows, ranking.beyond])
        assert sorted(every) == np.flatnonzero(answers.right(0.5)).tolist() and not len(ranking.copies)


def test_of_equal_answers_the_best_stays():
    rows = [
        {"query_id": q, "llm": llm, "mode": "direct", "response": "x", "performance": 1.0, "cost": cost}
        for q in ("p", "q") for llm, cost in (("dear", 2.0), ("cheap", 1.0), ("other", 3.0))
    ]  # fmt: skip
    answers = Answers.of(pa.Table.from_pylist(rows))
    ranking = rank_answers(answers, answers.right(), same=np.array([0, 0, 1, 0, 0, 1]))
    assert [rows[i]["llm"] for i in ranking.rows] == ["cheap", "other"] * 2
    assert ranking.copies.tolist() == [0, 3] and ranking.rank.tolist() == [1, 2, 1, 2]


def test_the_small_pool_and_wrong_input():
    assert small_llms({"a": "7B", "b": "8x7B", "c": "1.03M", "d": "12B", "e": "13b"}) == ["a", "c", "d"]
    assert small_llms({"a": "small", "b": "medium", "c": "large", "d": "3B"}) == ["a", "d"]
    with pytest.raises(UserError, match="size of x: expected small, medium, large or a number"):
        small_llms({"x": None})
    answers = Answers.of(pa.Table.from_pylist(log(2)))
    assert answers.of_llms(["a", "nobody"]).sum() == 4
    for call, message in (
        (lambda: answers.of_llms(["nobody"]), "it has a, b, c, d, e, f"),
        (lambda: answers.right(0.0), "threshold: expected a performance above 0"),
        (lambda: rank_answers(answers, answers.right(), "best"), "expected one of perf, judge, hybrid"),
        (lambda: rank_answers(answers, answers.right(), top_k=0), "top_k: expected at least 1"),
        (lambda: rank_answers(answers, answers.right(), tie="age"), "expected one of cost, length"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_large_log():
    n = 100_000
    rng = np.random.default_rng(0)
    table = pa.table({
        "query_id": [f"q{i // 20}" for i in range(n)], "llm": [f"m{i % 20}" for i in range(n)],
        "response": ["a few words " * 20] * n, "performance": rng.random(n), "judge": rng.random(n),
        "cost": rng.random(n),
    })  # fmt: skip
    answers = Answers.of(table)
    chosen = rank_answers(answers, answers.right(), "hybrid", 3)
    assert len(chosen.rows) > 2.9 * n / 20

"""A new LLM from a few scored queries, and the removal of one: in the library and on the command line."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from tiny_bert import tiny_bert
from toy_log import GOOD, toy_data

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers import KINDS, add_llm, fit_router, load_router
from fusion_hf.routers.add_llm import add_to_router, remove_from_router
from fusion_hf.routers.added_score import FEWEST_KNOWN, difficulty, posterior

TRAIN, TEST = toy_data(240), toy_data(90, split="test")
TASKS = np.array(TEST.tasks)
SLOW = ("cascade", "dc", "encoder", "graph")  # to train; what joins a router does not depend on its kind


def without(data: RoutingData, name: str = "dog") -> RoutingData:
    return data.select([c for c in data.candidates if c != name])


def renamed(data: RoutingData, **names: str) -> RoutingData:
    return replace(data, candidates=[names.get(c, c) for c in data.candidates])


def picks(router, data=TEST, **options):
    return np.array([d.candidate for d in router.route(data.queries, **options)])


@pytest.fixture(scope="module")
def joined():
    """A router that learned `dog` from forty queries; `dog` alone is good at capitals."""
    return add_to_router(fit_router("fusion", without(TRAIN), "none"), toy_data(40, seed=1), "dog")


def test_a_new_llm_is_chosen_where_it_is_good(joined):
    assert joined.candidates == ["bee", "cat", "dog"] and joined.learned_candidates == ["bee", "cat"]
    best = np.array([TEST.candidates[GOOD[t]] for t in TEST.tasks])
    assert (picks(joined) == best).mean() > 0.95
    predicted = joined.predict(TEST.queries)
    # What it will cost, ten times as much as `bee`, is known too.
    assert np.abs(np.log(predicted.cost[:, 2] / TEST.cost[:, 2])).mean() < 0.15
    assert set(picks(joined, max_cost=1e-4)) <= {"bee", "cat"}
    assert ((predicted.performance >= 0) & (predicted.performance <= 1)).all()


def test_it_earns_nearly_what_full_training_earns(joined):
    def earned(router):
        columns = [TEST.candidates.index(c) for c in picks(router)]
        return TEST.performance[np.arange(len(TEST)), columns].mean()

    full, old = fit_router("fusion", TRAIN, "none"), fit_router("fusion", without(TRAIN), "none")
    assert earned(joined) >= 0.95 * earned(full) and earned(joined) > earned(old) + 0.1


def test_saved_and_loaded(joined, tmp_path):
    joined.save_pretrained(tmp_path)
    loaded = load_router(tmp_path)
    assert loaded.candidates == joined.candidates and loaded.learned_candidates == ["bee", "cat"]
    for one, two in zip(loaded.route(TEST.queries), joined.route(TEST.queries), strict=True):
        assert one.to_dict() == two.to_dict()


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in SLOW])
def test_every_kind_takes_a_new_llm_or_says_why_not(kind, tmp_path):
    router = fit_router(kind, without(TRAIN), tiny_bert(tmp_path) if kind == "encoder" else "none")
    before = router.predict(TEST.queries)
    try:
        add_to_router(router, toy_data(40, seed=1), "dog")
    except UserError as error:
        assert "does not predict" in str(error) or "train" in str(error)  # noqa: PT017
        return
    after = router.predict(TEST.queries)
    assert after.candidates == ["bee", "cat", "dog"] and np.isfinite(after.performance).all()
    np.testing.assert_allclose(after.performance[:, :2], before.performance, atol=1e-6)
    remove_from_router(router, "dog")
    np.testing.assert_allclose(router.predict(TEST.queries).performance, before.performance, atol=1e-6)


def test_an_llm_like_those_known_is_judged_with_few_queries():
    # A copy of `bee`: five queries must not make it look better than forty make it.
    twin = renamed(toy_data(5, seed=2).select(["bee"]), bee="bea")
    router = add_to_router(fit_router("fusion", TRAIN, "none"), twin, "bea")
    predicted = router.predict(TEST.queries).performance
    assert np.abs(predicted[:, 3] - predicted[:, 0]).mean() < 0.5
    assert (picks(router) == "bea").mean() < 0.4


def test_an_llm_that_is_nowhere_better_does_next_to_no_harm():
    """The best of many guesses is mostly too good: what is not known of an LLM is taken off what is expected of it."""
    router, lost = fit_router("fusion", TRAIN, "none"), []
    right = np.full((len(TEST), 4), 0.2)
    right[np.arange(len(TEST)), [GOOD[t] for t in TEST.tasks]] = 0.9
    right[:, 3] = 0.75
    line, before = np.arange(len(TEST)), right[:, :3].max(1)
    for seed in range(10):
        few = renamed(toy_data(15, seed=seed + 10).select(["bee"]), bee="eel")
        few.performance[:] = np.random.default_rng(seed).random((15, 1)) < 0.75
        joined = deepcopy(router)
        add_to_router(joined, few, "eel")
        columns = [joined.candidates.index(c) for c in picks(joined)]
        lost.append((before - right[line, columns]).mean())
    assert np.mean(lost) < 0.005


def test_the_fewer_queries_the_more_is_taken_off():
    router = fit_router("fusion", without(TRAIN), "none")
    expected = []
    for n in (6, 30, 120):
        joined = add_to_router(deepcopy(router), toy_data(n, seed=1), "dog")
        expected.append(joined.predict(TEST.queries).performance[TASKS == "capitals", 2].mean())
    assert expected[0] < expected[1] < expected[2] < 0.95


def test_how_hard_the_queries_were_is_taken_into_account():
    """Forty queries that all known ones answered better than expected say less good of a new one than they seem to."""
    rng, m, n = np.random.default_rng(0), 5, 40
    columns = np.full((n, m), 0.5) + 0.02 * rng.standard_normal((n, m))
    easy = 0.2 + 0.2 * rng.standard_normal(n)
    known = columns + easy[:, None] + 0.1 * rng.standard_normal((n, m))
    y, like = 0.5 + easy + 0.1 * rng.standard_normal(n), np.full(m, 1 / m)

    def believed(measured):
        found = posterior(columns, y, like, difficulty(measured - columns))
        return columns.mean(0) @ found["weight"] + found["bias"], found["spread"]

    (plain, wide), (fair, narrow) = believed(np.full((n, m), np.nan)), believed(known)
    assert plain > 0.65 and abs(fair - 0.5) < 0.05
    middle = np.append(columns.mean(0), 1.0)
    assert np.linalg.norm(middle @ narrow) < 0.8 * np.linalg.norm(middle @ wide)


def test_less_is_taken_off_the_whole_than_off_what_differs_from_kind_to_kind():
    rng = np.random.default_rng(1)
    columns = rng.random((50, 4))
    found = posterior(columns, rng.random(50), np.full(4, 0.25), difficulty(np.full((50, 4), np.nan)))
    taken = [np.linalg.norm(np.append(at, 1.0) @ found["spread"]) for at in (columns.mean(0), columns.mean(0) + 0.4)]
    assert 0 < 2 * taken[0] < taken[1]


def test_scores_of_known_candidates_are_used_where_the_log_has_them():
    router, data = fit_router("fusion", without(TRAIN), "none"), toy_data(40, seed=1)
    alone = add_to_router(deepcopy(router), data.select(["dog"]), "dog")
    lucky = replace(data, performance=data.performance.copy())
    lucky.performance[:, :2] = np.minimum(lucky.performance[:, :2] + 0.3, 1.0)
    beside = add_to_router(deepcopy(router), lucky, "dog")
    assert len(router.learned_candidates) < FEWEST_KNOWN  # two known ones tell nothing of difficulty
    np.testing.assert_allclose(*(r.predict(TEST.queries).performance for r in (alone, beside)), atol=1e-6)
    router = fit_router("fusion", TRAIN, "none")
    new = renamed(data.select(["dog"]), dog="elk")
    both = replace(
        lucky, candidates=[*lucky.candidates, "elk"], performance=np.hstack([lucky.performance, new.performance]),
        cost=np.hstack([lucky.cost, new.cost]), judge=np.hstack([lucky.judge, new.judge]),
    )  # fmt: skip
    alone, beside = (add_to_router(deepcopy(router), d, "elk").predict(TEST.queries).performance for d in (new, both))
    assert alone[:, 3].mean() > beside[:, 3].mean() + 0.01


def test_a_router_from_before_scores_had_a_spread_takes_one_more():
    router = add_to_router(fit_router("fusion", TRAIN.select(["bee"]), "none"), toy_data(40, seed=1), "cat")
    before = router.predict(TEST.queries).performance
    for name in [n for n in router.config.buffers if n.endswith("_spread")]:
        delattr(router, name)
        del router.config.buffers[name]
    plain = router.predict(TEST.queries).performance
    assert (plain[:, 1] >= before[:, 1]).all() and (plain[:, 1] > before[:, 1] + 1e-3).any()
    add_to_router(router, toy_data(40, seed=1), "dog")
    after = router.predict(TEST.queries).performance
    np.testing.assert_allclose(after[:, :2], plain, atol=1e-6)
    assert np.isfinite(after).all()


def test_the_pool_says_which_candidates_cost_alike_and_nothing_of_scores():
    data = renamed(toy_data(8, seed=3).select(["bee"]), bee="new")

    def pool(like: str) -> list[dict]:
        twins = (like, "new")
        prices = {n: 1.0 if n in twins else 50.0 for n in ("bee", "cat", "dog", "new")}
        return [{"name": n, "size": "s" if n in twins else "l", "output_price": p} for n, p in prices.items()]

    router, guessed = fit_router("fusion", TRAIN, "none"), []
    output = add_llm._heads(router, data.queries)
    for like in ("bee", "dog"):
        likeness = add_llm._likeness(router, "new", data, output, pool(like))
        assert likeness.argmax() == router.candidates.index(like) and likeness.max() > 0.9
        joined = add_to_router(deepcopy(router), data, "new", pool(like))
        guessed.append(joined.predict(TEST.queries).performance[:, 3])
    np.testing.assert_array_equal(*guessed)


def test_both_modes_join_and_leave_together():
    data = replace(TRAIN, candidates=["bee", "new", "new_think"])
    router = add_to_router(fit_router("fusion", data.select(["bee"]), "none"), data, "new")
    assert router.candidates == ["bee", "new", "new_think"]
    assert remove_from_router(router, "new").candidates == ["bee"]


def test_removed_llms_are_never_chosen_and_can_be_measured_anew(tmp_path):
    router = remove_from_router(fit_router("fusion", TRAIN, "none"), "bee")
    assert router.candidates == ["cat", "dog"] and "bee" not in set(picks(router))
    assert router.predict(TEST.queries).performance.shape == (90, 2)
    add_to_router(router, toy_data(40, seed=1), "bee")
    router.save_pretrained(tmp_path)
    assert load_router(tmp_path).candidates == ["cat", "dog", "bee"]
    assert (picks(router)[TASKS == "sums"] == "bee").mean() > 0.8
    explained = router.route(TEST.queries[:1], explain=True)[0]
    assert explained.nearest and "bee" in explained.nearest[0]["scores"]


def test_missing_costs_and_scores():
    holes = toy_data(60, seed=4, missing=0.5)
    holes.cost[:] = np.nan
    router = add_to_router(fit_router("fusion", without(TRAIN), "none"), holes, "dog")
    predicted = router.predict(TEST.queries)
    assert np.isfinite(predicted.performance).all() and (picks(router)[TASKS == "capitals"] == "dog").mean() > 0.8


def test_wrong_input_says_what_to_do():
    router = fit_router("fusion", without(TRAIN), "none")
    with pytest.raises(UserError, match="the log holds no answers of cow: expected one of bee, cat, dog"):
        add_to_router(router, TRAIN, "cow")
    with pytest.raises(UserError, match=r"the router knows cat already: .*remove-llm"):
        add_to_router(router, TRAIN, "cat")
    with pytest.raises(UserError, match=r"dog: expected at least 5 scored queries \(better 20 to 50\), found 4"):
        add_to_router(router, toy_data(4), "dog")
    with pytest.raises(UserError, match="does not know cow"):
        remove_from_router(router, "cow")
    with pytest.raises(UserError, match="only LLM"):
        remove_from_router(remove_from_router(router, "bee"), "cat")


def log_rows(data: RoutingData) -> list[dict]:
    return [
        {
            "query_id": data.query_ids[i], "task": data.tasks[i], "source_id": str(i), "query": data.queries[i],
            "ground_truth": ["1"], "metric": "cem", "llm": name, "mode": "direct",
            "performance": float(data.performance[i, c]), "cost": float(data.cost[i, c]),
        }
        for i in range(len(data))
        for c, name in enumerate(data.candidates)
    ]  # fmt: skip


def test_on_the_command_line(tmp_path, capsys):
    for name, data in (("old", without(toy_data(90))), ("new", toy_data(40, seed=1).select(["dog"]))):
        write_bench({"train": validate(rows_to_table(log_rows(data)))}, tmp_path / name)
    old, new, router, more, less = (str(tmp_path / n) for n in ("old", "new", "router", "more", "less"))
    assert main(["train-router", old, "--encoder", "none", "--out", router]) == 0
    assert main(["add-llm", router, new, "--llm", "dog", "--out", more]) == 0
    assert "for 3 candidates from 90 queries; dog joined" in capsys.readouterr().out
    assert load_router(router).candidates == ["bee", "cat"]  # what was there is left as it was
    query = TEST.queries[int(np.flatnonzero(TASKS == "capitals")[0])]
    assert main(["route", more, query, "--json", str(tmp_path / "d.json")]) == 0
    assert json.loads((tmp_path / "d.json").read_text())[0]["candidate"] == "dog"
    assert main(["remove-llm", more, "--llm", "cat", "--out", less]) == 0
    assert load_router(less).candidates == ["bee", "dog"]
    capsys.readouterr()
    assert main(["add-llm", more, new, "--llm", "dog", "--out", more]) == 2
    assert "remove it first" in capsys.readouterr().err

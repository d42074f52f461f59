"""Figures of routers: anchors, intervals, frontier and cross-validation, checked against plain arithmetic."""

import json
import math

import numpy as np
import pytest
from toy_log import toy_data

from fusion_hf import eval_router
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.rewards import SCENARIOS, Scaling, reward
from fusion_hf.logs.schema import rows_to_table, split_candidate, validate
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.decisions import Predictions
from fusion_hf.routers.measuring.anchors import ANCHORS
from fusion_hf.routers.measuring.cross_validation import cross_validate, fold_of
from fusion_hf.routers.measuring.evaluate import (
    evaluate_router,
)
from fusion_hf.routers.measuring.report import format_cv, format_evaluation

SOME = ("fusion", "knn", "linear", "svm")  # kinds that learn the toy without a text encoder
TRAIN, TEST = toy_data(120, judge=True), toy_data(60, split="test", judge=True)


@pytest.fixture(scope="module")
def router():
    return fit_router("fusion", TRAIN, encoder="none")


@pytest.fixture(scope="module")
def result(router):
    return evaluate_router(router, TEST, TRAIN)


def finite(value):
    """Every number in a nested dict is finite or null, as JSON wants it."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def test_shape_of_the_result(result):
    assert result["split"] == "test" and result["queries"] == 60
    assert list(result["scenarios"]) == list(SCENARIOS)
    for s in result["scenarios"].values():
        assert set(s["anchors"]) == set(ANCHORS) and set(s["by_task"]) == {"sums", "code", "capitals"}
        assert s["ci95"][0] <= s["reward"] <= s["ci95"][1]
        assert sum(t["queries"] for t in s["by_task"].values()) == 60 == sum(s["picks"].values())
        mean = sum(t["reward"] * t["queries"] for t in s["by_task"].values()) / 60
        assert mean == pytest.approx(s["reward"])
    assert set(result["cost_share_at"]) == {"0.95", "0.99", "1.0"}
    assert set(result["seconds"]) == {"encode", "head", "load"}
    assert finite(result) and json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("name", SCENARIOS)
def test_anchors_are_what_they_say(result, name):
    scaling, scenario = Scaling.fit(TRAIN), SCENARIOS[name]
    rewards, learned = reward(TEST, scenario, scaling), reward(TRAIN, scenario, scaling)
    anchors = result["scenarios"][name]["anchors"]
    best = learned.mean(0).argmax()  # chosen on train, not on test
    assert anchors["best-single"]["candidate"] == TEST.candidates[best]
    assert anchors["best-single"]["reward"] == pytest.approx(rewards[:, best].mean())
    assert anchors["oracle"]["reward"] == pytest.approx(rewards.max(1).mean())
    assert anchors["random"]["reward"] == pytest.approx(rewards.mean())
    assert anchors["cheapest"]["candidate"] == "bee"
    tasks = np.array(TEST.tasks)
    expected = [learned[np.array(TRAIN.tasks) == t].mean(0).argmax() for t in tasks]
    assert anchors["best-per-task"]["reward"] == pytest.approx(rewards[np.arange(60), expected].mean())


def test_oracle_takes_the_cheaper_of_two_that_are_right(result):
    both = TEST.performance.max(1, keepdims=True) == TEST.performance
    cheapest_right = np.where(both, TEST.cost, np.inf).min(1).mean()
    assert result["scenarios"]["performance"]["anchors"]["oracle"]["cost_usd"] == pytest.approx(cheapest_right)


def test_router_beats_the_best_single_here(result):
    for name in ("performance", "balance"):
        s = result["scenarios"][name]
        assert s["vs_best_single"]["low"] > 0
        assert s["anchors"]["best-single"]["reward"] < s["reward"] <= s["anchors"]["oracle"]["reward"] + 1e-12


def test_frontier_rises_and_aiq_is_its_area(result):
    cost = [p["cost_usd"] for p in result["frontier"]]
    quality = [p["performance"] for p in result["frontier"]]
    assert cost == sorted(cost) and quality == sorted(quality) and len(set(quality)) == len(quality)
    assert 0 < result["aiq_singles"] < result["aiq"] <= 1
    shares = [result["cost_share_at"][k] for k in ("0.95", "0.99", "1.0")]
    assert shares == sorted(shares)
    best = TRAIN.performance.mean(0).argmax()
    single, price = TEST.performance[:, best].mean(), TEST.cost[:, best].mean()
    for s, share in zip((0.95, 0.99, 1.0), shares, strict=True):
        expected = min(c for c, q in zip(cost, quality, strict=True) if q >= s * single) / price
        assert share == pytest.approx(expected)


def test_perfect_predictions_reach_the_oracle(router, monkeypatch):
    scaling = Scaling.fit(TRAIN)
    raw = {n: getattr(TEST, n) for n in ("performance", "cost", "judge")}
    truth = Predictions(TEST.candidates, raw, {n: scaling.scaled(TEST, n) for n in raw}, [[] for _ in TEST.queries])
    monkeypatch.setattr(type(router), "predict", lambda self, queries, embeddings=None: truth)
    found = evaluate_router(router, TEST, TRAIN)
    for s in found["scenarios"].values():
        assert s["reward"] == pytest.approx(s["anchors"]["oracle"]["reward"])


def test_logs_without_costs_have_no_frontier():
    train, test = toy_data(costs=False), toy_data(30, split="test", costs=False)
    found = evaluate_router(fit_router("linear", train, encoder="none"), test, train)
    assert list(found["scenarios"]) == ["performance"] and found["aiq"] is None and found["frontier"] == []
    assert found["scenarios"]["performance"]["cost_usd"] is None
    assert found["scenarios"]["performance"]["anchors"]["cheapest"]["reward"] is None
    assert finite(found) and "-" in format_evaluation(found)
    with pytest.raises(UserError, match="'balance' cannot be measured here: expected one of performance"):
        evaluate_router(fit_router("linear", train, encoder="none"), test, train, ["balance"])


def test_missing_cells_in_the_test_split(router):
    holes = toy_data(60, split="test", missing=0.3)
    found = evaluate_router(router, holes, TRAIN, ["performance"])["scenarios"]["performance"]
    assert finite(found)
    single = holes.candidates.index(found["anchors"]["best-single"]["candidate"])
    seen = ~np.isnan(holes.performance[:, single])  # every line stands on queries that the best single answered too
    oracle = np.nanmax(holes.performance[seen], 1).mean()
    assert found["anchors"]["oracle"] == pytest.approx(found["anchors"]["oracle"] | {"reward": oracle})
    assert found["anchors"]["oracle"]["queries"] == found["anchors"]["best-single"]["queries"] == seen.sum() < 60
    assert found["queries"] <= seen.sum() and sum(t["queries"] for t in found["by_task"].values()) == found["queries"]


def test_only_shared_candidates_are_compared(router):
    found = evaluate_router(router, TEST.select(["cat", "dog"]), TRAIN)
    assert found["candidates"] == ["cat", "dog"]
    assert "bee" not in found["scenarios"]["balance"]["picks"]
    other = type(TEST)(**{**TEST.__dict__, "candidates": ["x", "y", "z"]})
    with pytest.raises(UserError, match="share no candidate"):
        evaluate_router(router, other, TRAIN)


def table_of(data):
    rows = []
    for i, query in enumerate(data.queries):
        for k, candidate in enumerate(data.candidates):
            llm, mode = split_candidate(candidate)
            rows.append(
                {"query_id": data.query_ids[i], "task": data.tasks[i], "source_id": str(i), "query": query,
                 "ground_truth": ["1"], "metric": "cem", "llm": llm, "mode": mode, "cost": data.cost[i, k],
                 "performance": data.performance[i, k], "judge": data.judge[i, k]}
            )  # fmt: skip
    return validate(rows_to_table(rows))


def test_on_a_bench_and_a_saved_router(router, result, tmp_path):
    write_bench({"train": table_of(TRAIN), "test": table_of(TEST)}, tmp_path / "bench")
    router.save_pretrained(tmp_path / "router")
    found = eval_router(tmp_path / "router", tmp_path / "bench", scenario="balance").to_dict()
    assert list(found["scenarios"]) == ["balance"] and found["leaked_queries"] == 0 and found["seconds"]["load"] > 0
    assert found["scenarios"]["balance"]["reward"] == pytest.approx(result["scenarios"]["balance"]["reward"], abs=1e-5)
    text = format_evaluation(found)
    assert "| balance" in text and "AIQ" in text and f"{found['scenarios']['balance']['reward']:.4f}" in text


@pytest.mark.parametrize("scenario", ["performance", "balance"])
def test_cross_validation(scenario):
    found = cross_validate(TRAIN, SOME, folds=3, scenario=scenario, encoder="none", progress=False)
    assert list(found["kinds"]) == list(SOME) and set(found["anchors"]) == set(ANCHORS) and found["queries"] == 120
    anchors = {k: a["reward"] for k, a in found["anchors"].items()}
    for name, k in found["kinds"].items():
        assert anchors["best-single"] < k["reward"] < anchors["oracle"] and 0 < k["gap_recovered"] < 1
        assert 0 < k["se"] < 0.1 and k["fit_seconds"] > 0 and k["ci95"][0] < k["reward"] < k["ci95"][1]
        for other in set(SOME) - {name}:
            gap = k["vs"][other]["difference"]
            assert gap == pytest.approx(k["reward"] - found["kinds"][other]["reward"], abs=1e-9)
            assert gap == pytest.approx(-found["kinds"][other]["vs"][name]["difference"], abs=1e-9)
    assert finite(found) and json.loads(json.dumps(found)) == found
    assert all(f"| {name}" in format_cv(found) for name in SOME)


def test_options_of_a_kind_on_the_command_line(tmp_path, capsys):
    write_bench({"train": table_of(TRAIN)}, tmp_path / "bench")
    train = ["train-router", str(tmp_path / "bench"), "--kind", "pairwise", "--encoder", "none", "--out"]
    options = ["--option", "strong=dog", "--option", "weak=bee", "--option", "steps=20"]
    assert main([*train, str(tmp_path / "router"), *options]) == 0
    router = load_router(tmp_path / "router")
    assert router.config.options["strong"] == "dog" and router.config.options["weak"] == "bee"
    for wrong, message in (
        ("stron=dog", "kind 'pairwise' has no option 'stron': expected strong, weak, steps, rate, decay"),
        ("strong=cow", "unknown candidate 'cow': the log has bee, cat, dog"),
    ):
        assert main([*train, str(tmp_path / "no"), "--option", wrong]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*train, str(tmp_path / "no"), "--option", "strong"])
    assert "--option: expected NAME=VALUE, found 'strong'" in capsys.readouterr().err


def test_pairwise_takes_a_threshold():
    router = fit_router("pairwise", TRAIN, encoder="none", strong="dog", weak="bee")
    win = router.head(router.features(TEST.queries))["win"].numpy()
    for threshold in (0.0, 0.4, 0.6, 1.0):
        chosen = [d.candidate == "dog" for d in router.route(TEST.queries, threshold=threshold)]
        assert chosen == (win > threshold).tolist()
    assert router.route(TEST.queries[:1])[0].reasons == [f"dog wins against bee with probability {win[0]:.2f}"]
    with pytest.raises(UserError, match="threshold: expected a probability, found 2"):
        router.route(TEST.queries, threshold=2)
    with pytest.raises(UserError, match="strong and weak: expected two candidates, found dog twice"):
        fit_router("pairwise", TRAIN, encoder="none", strong="dog", weak="dog")


def test_cross_validation_never_trains_on_what_it_tests():
    # Noise: whoever has seen a query's scores can beat the best single, and nobody else.
    data = toy_data(120)
    data.performance[:] = np.random.default_rng(3).integers(0, 2, data.performance.shape)
    found = cross_validate(data, ["knn"], folds=4, encoder="none", progress=False)
    assert found["kinds"]["knn"]["reward"] < 0.6 < found["anchors"]["oracle"]["reward"]


def test_options_reach_the_kind_that_they_are_meant_for():
    plain, tight, wide = (
        cross_validate(TRAIN, ["svm", "knn"], folds=3, encoder="none", progress=False, options=options)["kinds"]
        for options in (None, {"svm": {"epsilon": 0.0}}, {"svm": {"epsilon": 5.0}})
    )
    assert plain["knn"]["reward"] == tight["knn"]["reward"] == wide["knn"]["reward"]
    assert wide["svm"]["reward"] < tight["svm"]["reward"]  # no error of a score reaches 5, so nothing is learned


def test_cross_validation_does_not_depend_on_order():
    shuffled = TRAIN.subset(np.random.default_rng(0).permutation(len(TRAIN))).select(["dog", "cat", "bee"])
    one, two = (cross_validate(d, ["linear"], folds=3, encoder="none", progress=False) for d in (TRAIN, shuffled))
    assert one["kinds"]["linear"]["reward"] == pytest.approx(two["kinds"]["linear"]["reward"])
    for name, anchor in one["anchors"].items():
        assert anchor == pytest.approx(two["anchors"][name])


def test_folds_are_stratified_and_keep_lone_queries_for_training():
    data = toy_data(31)
    tasks = [*data.tasks[:-1], "alone"]
    data = type(data)(**{**data.__dict__, "tasks": tasks})
    fold = fold_of(data, 5)
    assert fold[-1] == -1 and set(fold[:-1]) == set(range(5))
    for task in ("sums", "code", "capitals"):
        assert np.bincount(fold[:-1][np.array(tasks[:-1]) == task], minlength=5).tolist() == [2] * 5
    found = cross_validate(data, ["linear"], folds=5, encoder="none", progress=False)
    assert found["queries"] == 30 and found["lone_queries"] == 1


def test_wrong_input_of_cross_validation():
    with pytest.raises(UserError, match="folds: expected 2 to 9"):
        cross_validate(toy_data(9), ["knn"], folds=10, encoder="none")
    with pytest.raises(UserError, match="unknown router kind"):
        cross_validate(toy_data(9), ["nope"], folds=2, encoder="none", progress=False)
    with pytest.raises(UserError, match="lacks costs or judge"):
        cross_validate(toy_data(9, costs=False), ["knn"], scenario="cost", encoder="none")
    with pytest.raises(UserError, match="unknown scenario 'best'"):
        cross_validate(toy_data(9), ["knn"], scenario="best", encoder="none")

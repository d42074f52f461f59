"""The contract of every router kind, on a log that can be learned. A new kind is tested by being in the folder."""

import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from contract_inputs import AVERAGE_COST, BLIND, FIXED, NEEDS_LABELS, QUICK, TRAINS_ENCODER
from tiny_bert import tiny_bert
from toy_log import CANDIDATES, GOOD, toy_data
from transformers import AutoConfig, AutoModel

from fusion_hf import plugins
from fusion_hf.encoders.encoder import load_encoder
from fusion_hf.errors import UserError
from fusion_hf.routers import KINDS, fit_router, get_kind, load_router, register

TRAIN, TEST = toy_data(150, judge=True, missing=0.1), toy_data(45, split="test", judge=True)
BEST = [CANDIDATES[GOOD[t]] for t in TEST.tasks]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


@cache
def bert():
    import tempfile

    return load_encoder(tiny_bert(tempfile.mkdtemp()))


def learn(kind, data, encoder="none", **options):
    """A router of the kind; those that train an encoder always get one."""
    encoder = bert() if kind in TRAINS_ENCODER else encoder
    return fit_router(kind, data, encoder, progress=False, **QUICK.get(kind, {}), **options)


@cache
def trained(kind):
    """The router that most tests look at, with a text encoder."""
    return learn(kind, TRAIN, bert())


def picks(router, queries=TEST.queries, **options):
    return [d.candidate for d in router.route(queries, **options)]


def agreement(one, two):
    return np.mean([a == b for a, b in zip(one, two, strict=True)])


def assert_learned(kind, found, least=0.9):
    """That the choices are right, as far as the kind can know."""
    if kind in BLIND:
        return
    known = [i for i, best in enumerate(BEST) if best in set(found)]
    if kind == "pairwise":  # it chooses between two candidates only
        assert len(set(found)) == 2 and len(known) == 30
    else:
        assert len(known) == 45
    assert agreement([found[i] for i in known], [BEST[i] for i in known]) > least


def same(one, two, rtol=1e-4, atol=1e-5):
    for part in ("raw", "scaled"):
        for name, values in getattr(one, part).items():
            np.testing.assert_allclose(values, getattr(two, part)[name], rtol=rtol, atol=atol, err_msg=f"{part} {name}")
    for key, values in (one.votes or {}).items():
        np.testing.assert_allclose(values, two.votes[key], rtol=rtol, atol=atol, err_msg=f"votes {key}")


def test_kinds_are_found_by_their_file():
    assert {"fusion", "knn", "linear", "encoder", "best-single", "paper-svm"} <= set(KINDS)
    with pytest.raises(UserError, match="unknown router kind 'nope': expected one of best-per-task, best-single"):
        get_kind("nope")
    assert len({get_kind(kind).config_class.model_type for kind in KINDS}) == len(KINDS)


@every_kind
def test_what_can_be_learned_is_learned(kind):
    router = trained(kind)
    predictions = router.predict(TEST.queries)
    assert predictions.performance.shape == predictions.cost.shape == (45, 3)
    known = ~np.isnan(predictions.performance)
    assert known.all() or (kind == "pairwise" and known.sum(1).tolist() == [2] * 45)
    assert ((predictions.performance >= 0) & (predictions.performance <= 1))[known].all()
    # Costs are in USD, and except for the averages of anchors and published kinds known to the length of the query.
    error = np.abs(np.log(predictions.cost / TEST.cost)).mean()
    assert error < (0.6 if kind in AVERAGE_COST else 0.1)
    for scenario in ("performance", "judge"):
        assert_learned(kind, picks(router, scenario=scenario))


@every_kind
def test_batch_equals_single(kind):
    router = trained(kind)
    together = router.predict(TEST.queries)
    for i, query in enumerate(TEST.queries[:12]):
        alone = router.predict([query])
        for part in ("raw", "scaled"):
            for name, values in getattr(together, part).items():
                np.testing.assert_allclose(getattr(alone, part)[name][0], values[i], rtol=1e-4, atol=1e-5)
        some = TEST.queries[: i + 1]
        assert router.route([query], "balance")[0].candidate == router.route(some, "balance")[i].candidate
    assert router.route([]) == []


@every_kind
def test_order_of_rows_and_candidates_is_irrelevant(kind):
    shuffled = TRAIN.subset(np.random.default_rng(1).permutation(len(TRAIN))).select(["dog", "bee", "cat"])
    one, two = trained(kind), learn(kind, shuffled, bert())
    assert one.candidates == two.candidates == CANDIDATES
    same(one.predict(TEST.queries), two.predict(TEST.queries), rtol=1e-5)
    backwards = two.predict(TEST.queries[::-1])
    np.testing.assert_allclose(backwards.performance[::-1], one.predict(TEST.queries).performance, atol=1e-5)


@every_kind
def test_missing_cells_are_not_zeros(kind):
    full, holes = learn(kind, toy_data(240)), learn(kind, toy_data(240, missing=0.5))
    # The best of those that were measured is often not the best: winner labels do not bear holes well.
    assert_learned(kind, picks(holes), 0.6 if kind in FIXED else 0.9)
    # A missing cell read as zero would halve what is expected.
    a, b = (r.predict(TEST.queries).performance.mean(0) for r in (full, holes))
    assert np.nanmax(np.abs(a - b)) < 0.12


@every_kind
def test_a_candidate_that_was_never_measured_is_never_chosen(kind):
    data = toy_data()
    for name in ("performance", "cost"):
        getattr(data, name)[:, 1] = np.nan
    router = learn(kind, data)
    assert "cat" not in set(picks(router)) | set(picks(router, scenario="balance"))
    assert all("cat" not in [b["candidate"] for b in d.best] for d in router.route(TEST.queries))
    with pytest.raises(UserError, match="cannot choose any of cat"):
        router.route(TEST.queries[:1], candidates=["cat"])


@every_kind
def test_log_without_costs(kind):
    data = toy_data(costs=False)
    if kind == "cheapest":
        with pytest.raises(UserError, match="needs costs"):
            learn(kind, data)
        return
    router = learn(kind, data)
    one = router.route(TEST.queries[:1])[0]
    assert one.cost is None and "cost not known" in one.explain()
    assert np.isnan(router.predict(TEST.queries[:2]).cost).all()
    for options in ({"scenario": "balance"}, {"max_cost": 1.0}, {"alpha": 1.0, "beta": 0.1}):
        with pytest.raises(UserError, match="log without costs"):
            router.route(TEST.queries, **options)
    with pytest.raises(UserError, match="needs judge scores"):
        router.route(TEST.queries, scenario="judge")


@every_kind
def test_without_task_labels(kind):
    router = learn(kind, TRAIN, task_labels=False)
    if kind not in NEEDS_LABELS:
        assert_learned(kind, picks(router))
    assert router.config.tasks is None
    renamed = type(TRAIN)(**{**TRAIN.__dict__, "tasks": ["x"] * len(TRAIN)})
    same(router.predict(TEST.queries), learn(kind, renamed, task_labels=False).predict(TEST.queries), rtol=1e-5)


@every_kind
@pytest.mark.parametrize("n", [2, 3, 7])
def test_tiny_logs(kind, n):
    found = learn(kind, toy_data(n)).predict([*TEST.queries[:3], ""]).performance
    assert np.isfinite(found).sum(1).min() >= 2


@every_kind
def test_trade_offs_are_chosen_when_routing(kind):
    router = trained(kind)

    def spent(**options):
        return sum(d.cost for d in router.route(TEST.queries, **options))

    if kind != "random":
        assert spent(scenario="performance") >= spent(scenario="balance") >= spent(scenario="cost") > 0
    assert picks(router, alpha=0.5, beta=0.5) == picks(router, scenario="balance")
    with pytest.raises(UserError, match="unknown scenario 'best': expected one of performance, balance"):
        router.route(TEST.queries, scenario="best")
    if kind in FIXED:
        with pytest.raises(UserError, match="learned who wins under fixed trade-offs"):
            router.route(TEST.queries, alpha=0.0, beta=1.0)
        with pytest.raises(UserError, match="does not predict costs"):
            router.route(TEST.queries, max_cost=1.0)
        return
    if kind != "random":
        cheapest = set(picks(router, alpha=0.0, beta=1.0))
        assert cheapest == {"cat" if kind == "pairwise" and "bee" not in picks(router, scenario="cost") else "bee"}
    limit = float(np.nanmean(router.predict(TEST.queries).cost))
    assert all(d.cost <= limit for d in router.route(TEST.queries, max_cost=limit))
    with pytest.raises(UserError, match=r"query 0: no candidate is expected to cost at most 1e-12 USD"):
        router.route(TEST.queries, max_cost=1e-12)


@every_kind
def test_candidates_can_be_restricted(kind):
    router = trained(kind)
    allowed = [c for c in CANDIDATES if c != BEST[0] or kind == "pairwise"]
    assert set(picks(router, candidates=allowed)) <= set(allowed)
    first = router.route(TEST.queries[:1])[0].candidate
    one = router.route(TEST.queries[:1], candidates=[first])[0]
    assert one.candidate == first and one.runner_up is None and len(one.best) == 1
    for wrong in (["cow"], []):
        with pytest.raises(UserError, match="this router knows bee, cat, dog"):
            router.route(TEST.queries, candidates=wrong)


@every_kind
def test_decision_tells_why(kind):
    one = trained(kind).route(TEST.queries[:1], scenario="balance", explain=True)[0]
    assert one.best[0]["candidate"] == one.candidate and one.best[1]["candidate"] == one.runner_up
    assert one.best[0]["reward"] == one.reward >= one.best[1]["reward"]
    assert json.loads(json.dumps(one.to_dict()))["candidate"] == one.candidate
    assert one.candidate in one.explain() and "USD" in one.explain()
    # A checkpoint carries logged queries whatever its kind; the nearest one is of the same task.
    assert len(one.nearest) == 3 and "What is" in one.nearest[0]["query"]
    assert one.explain().count("logged query") == 3 and all(reason in one.explain() for reason in one.reasons)
    assert trained(kind).route(TEST.queries[:1], scenario="balance")[0].nearest == []


@every_kind
def test_loads_in_half_precision(kind, tmp_path):
    router = trained(kind)
    router.save_pretrained(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".bin", ".pkl", ".pt")]
    loaded = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert type(loaded) is type(router) and type(AutoConfig.from_pretrained(tmp_path)) is type(router.config)
    assert loaded.encoder.dtype == torch.bfloat16 and not loaded.training
    for name, value in router.named_buffers(recurse=False):
        torch.testing.assert_close(dict(loaded.named_buffers())[name], value, rtol=0, atol=0, equal_nan=True)
    assert agreement(picks(loaded), picks(router)) > 0.9
    gap = np.abs(loaded.predict(TEST.queries).performance - router.predict(TEST.queries).performance)
    assert np.nanmedian(gap) < 0.05


SCRIPT = """
import json, sys
files, kinds = json.loads(sys.argv[1]), sys.argv[2:]
class Hidden:  # an installed package is found in other ways than by sys.path
    def find_spec(self, name, path=None, target=None):
        if name == "random":  # Python's own, though a kind is called like it
            return None
        if name.split(".")[0] in ("fusion_hf", *(kind.replace("-", "_") for kind in kinds)):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
from transformers import AutoModel
queries, found = json.load(open("queries.json")), {"alone": {}, "with us": {}}
for kind in kinds:
    router = AutoModel.from_pretrained(kind, trust_remote_code=True)
    found["alone"][kind] = [d.to_dict() for d in router.route(queries, scenario="balance")]
    router.save_pretrained(kind + "-again")
assert "fusion_hf" not in sys.modules
sys.meta_path.pop(0)
import fusion_hf
for file in files:
    fusion_hf.plugins.add(file)
for kind in kinds:
    if files:
        fusion_hf.routers.get_kind(kind)  # known to AutoModel from then on
    router = AutoModel.from_pretrained(kind)
    # The file of a kind that is called like something of Python's own ends in an underscore.
    file = kind.replace("-", "_")
    assert type(router).__module__.rstrip("_") in ("fusion_hf.routers.kinds." + file, file)
    found["with us"][kind] = [d.to_dict() for d in router.route(queries, scenario="balance")]
json.dump(found, open("found.json", "w"))
"""
OURS = [kind for kind in KINDS if plugins.ours("routers", kind)]
OTHERS = [[kind] for kind in KINDS if kind not in OURS]


@pytest.mark.parametrize("kinds", [OURS, *OTHERS], ids=lambda kinds: "ours" if kinds == OURS else kinds[0])
def test_fresh_process_with_and_without_our_package(kinds, tmp_path):
    for kind in kinds:
        trained(kind).save_pretrained(tmp_path / kind)
    (tmp_path / "queries.json").write_text(json.dumps(TEST.queries))
    (tmp_path / "run.py").write_text(SCRIPT)
    files = json.dumps(os.environ.get("CONTRACT_FILES", "").split())
    done = subprocess.run(
        [sys.executable, "run.py", files, *kinds], cwd=tmp_path, env=os.environ | {"HF_HOME": str(tmp_path / "hf")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for kind in kinds:
        expected = trained(kind).route(TEST.queries, scenario="balance")
        for where in ("alone", "with us"):
            decisions = found[where][kind]
            assert [d["candidate"] for d in decisions] == [d.candidate for d in expected], (where, kind)
            np.testing.assert_allclose([d["cost"] for d in decisions], [d.cost for d in expected], rtol=1e-4)
            assert [d["reasons"] for d in decisions] == [d.reasons for d in expected]
        # What was loaded as remote code has saved its code again.
        same(load_router(tmp_path / f"{kind}-again").predict(TEST.queries), trained(kind).predict(TEST.queries))

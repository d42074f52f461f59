"""What is inside single kinds of routers, checked against plain arithmetic."""

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert
from toy_log import CANDIDATES, toy_data

from fusion_hf.encoders.encoder import load_encoder
from fusion_hf.routers import fit_router
from fusion_hf.routers.kinds._paper import winners
from fusion_hf.routers.kinds.dc import llm_loss, sample_loss
from fusion_hf.routers.kinds.graph import _descriptions, _Graph
from fusion_hf.routers.kinds.paper_svm import C, absolute_regression
from fusion_hf.routers.kinds.svm import support_vectors
from fusion_hf.routers.learning.ridge import Ridge
from fusion_hf.routers.targets import Targets


def regression(n=80, d=6, k=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, x @ rng.normal(size=(d, k)) + rng.normal(size=(n, k))


def targets(score, cost=None, **more):
    raw = {"performance": np.array(score, float)} | ({} if cost is None else {"cost": np.array(cost, float)})
    scenarios = {"performance": {"alpha": 1.0, "beta": 0.0, "score": "performance"}}
    if cost is not None:
        scenarios["cost"] = {"alpha": 0.2, "beta": 0.8, "score": "performance"}
    return Targets(None, raw, raw, [""] * len(score), scenarios=scenarios, **more)


def test_support_vectors_are_at_the_minimum():
    x, y = regression()
    weight, bias = support_vectors(Ridge(x), y, 5.0, 0.3, rounds=1000)
    rest = y - x @ weight - bias
    pull = np.sign(rest) * np.maximum(np.abs(rest) - 0.3, 0)
    assert np.abs(x.T @ pull - 5.0 * weight).max() < 1e-2  # the gradient, half of it
    assert np.abs(pull.sum(0)).max() < 1e-2
    assert (np.abs(rest) < 0.3).any() and (np.abs(rest) > 0.3).any()


def test_support_vectors_leave_missing_scores_out():
    x, y = regression()
    holes = y.copy()
    holes[::3, 1], holes[:, 2] = np.nan, np.nan
    rows = np.arange(len(x)) % 3 != 0
    weight, bias = support_vectors(Ridge(x), holes, 5.0, 0.3, rounds=2000)
    alone = support_vectors(Ridge(x[rows]), y[rows], 5.0, 0.3, rounds=2000)
    np.testing.assert_allclose(weight[:, 1], alone[0][:, 1], atol=2e-2)
    assert np.isnan(bias[2]) and np.isfinite(bias[:2]).all()


def test_absolute_regression_is_at_the_minimum():
    x, y = regression()

    def loss(weight, bias):
        return (weight**2).sum() / 2 + C * np.abs(y - x @ weight - bias).sum()

    weight, bias = absolute_regression(x, y, rounds=2000)
    best, rng = loss(weight, bias), np.random.default_rng(1)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(50):
            moved = loss(weight + size * rng.normal(size=weight.shape), bias + size * rng.normal(size=bias.shape))
            assert moved > best - 1e-3


def test_winners_take_the_first_of_ties_and_depend_on_the_trade_off():
    found = winners(targets([[1, 1, 0], [0, 0, 0], [np.nan, 0, 1], [np.nan] * 3], [[9, 1, 1]] * 3 + [[np.nan] * 3]))
    assert found.shape == (4, 2, 3)
    assert found[:, 0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert found[:, 1].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_published_routers_give_ties_to_the_first_name():
    data = toy_data(90)
    data.performance[:] = np.where(np.arange(90)[:, None] % 3 == 0, [0, 1, 1], [1, 1, 1])
    router = fit_router("paper-knn", data, encoder="none")
    some = [q for q, t in zip(data.queries, data.tasks, strict=True) if t != "sums"]
    assert {d.candidate for d in router.route(some)} == {"bee"}  # although cat and dog are never worse


def test_sample_and_llm_loss():
    near, score = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    expected = -np.log(np.exp(2) / (np.exp(2) + np.exp(1) + 1))
    assert llm_loss(near, score).item() == pytest.approx(expected, abs=1e-6)
    assert llm_loss(near, torch.tensor([[1.0, torch.nan, 0.0]])).item() == pytest.approx(-np.log(1 / (1 + np.exp(-2))))
    for nothing in ([[1.0, 1.0, 1.0]], [[torch.nan, torch.nan, 1.0]], [[torch.nan] * 3]):
        assert llm_loss(near, torch.tensor(nothing)).item() == 0
    # Two that are right: each against the one that is wrong.
    both = llm_loss(near, torch.tensor([[1.0, 1.0, 0.0]])).item()
    assert both == pytest.approx(-np.log(1 / (1 + np.exp(-2))) - np.log(1 / (1 + np.exp(-1))), abs=1e-6)


def test_sample_and_sample_loss():
    near, group = torch.tensor([[9.0, 2.0, 0.0], [2.0, 9.0, 0.0], [0.0, 0.0, 9.0]]), torch.tensor([0, 0, 1])
    # The third has nobody of its group, and counts as zero.
    assert sample_loss(near, group).item() == pytest.approx(2 / 3 * -np.log(1 / (1 + np.exp(-2))), abs=1e-6)
    assert sample_loss(near, torch.zeros(3, dtype=torch.long)).item() == 0
    assert sample_loss(near[:1, :1], group[:1]).item() == 0


def test_a_query_of_the_graph_does_not_see_its_own_edges():
    x, _ = regression(n=12)
    score = np.random.default_rng(0).integers(0, 2, (12, 3)).astype(float)
    share = np.eye(2)[np.arange(12) % 2]
    rows, generator = torch.tensor([0, 5]), torch.Generator().manual_seed(0)
    parameters = {
        "llm": torch.randn(3, 4), "send": torch.randn(4, 4), "gate": torch.randn(2, 4), "task_gate": torch.randn(2, 4),
        "gather": torch.randn(4, 4), "task_bias": torch.zeros(4),
    }  # fmt: skip
    inner = torch.randn(12, 4)
    found = []
    for flip in (False, True):
        other = score.copy()
        other[0] = 1 - other[0] if flip else other[0]
        graph = _Graph(x, share, other, targets(score))
        graph.edges[1] += graph.y.nanmean()  # the mean that edges are told from is of all queries
        seen = graph.others(rows, generator)
        assert seen.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
        found.append(graph.nodes(parameters, inner[seen], seen))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_graph_reads_what_the_pool_says(tmp_path):
    encoder = load_encoder(tiny_bert(tmp_path))
    pool = [{"name": name, "description": f"the {name} = {i}"} for i, name in enumerate(CANDIDATES)]
    assert _descriptions(targets([[1, 0, 0]], llms=pool)) is None  # without an encoder
    assert _descriptions(targets([[1, 0, 0]], llms=[{}] * 3, text_encoder=encoder)) is None
    vectors = _descriptions(targets([[1, 0, 0]], llms=pool, text_encoder=encoder))
    assert vectors.shape == (3, 16) and vectors.sum(0).abs().max() < 1
    with_pool, without = (
        fit_router("graph", toy_data(), encoder, progress=False, steps=5, llms=llms) for llms in (pool, None)
    )
    assert not torch.equal(with_pool.llm, without.llm)

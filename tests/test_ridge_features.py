"""The numerics under the routers: ridge with missing targets, group means, k-means, text features."""

import numpy as np
import pytest
import torch

from fusion_hf.routers import features as f
from fusion_hf.routers.learning.clusters import group_means, kmeans
from fusion_hf.routers.learning.ridge import Ridge, SinglePenalty

TEXTS = ["", " ", "a", "What is 2 + 2?", "def f(x):\n    return x", "Ünï 中文 😀 \ud800", "word " * 5000, "\x00\n\n"]


def plain_ridge(x, y, penalty):
    x1 = np.concatenate([x, np.ones((len(x), 1))], 1)
    ridge = penalty * np.eye(x1.shape[1])
    ridge[-1, -1] = 0
    w = np.linalg.solve(x1.T @ x1 + ridge, x1.T @ y)
    return w[:-1], w[-1]


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_ridge_is_the_solution_of_the_normal_equations(penalty):
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 1, (50, 6)), rng.normal(3, 1, (50, 2))
    for found, expected in zip(Ridge(x).solve(y, penalty), plain_ridge(x, y, penalty), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_ridge_with_missing_targets_is_the_ridge_on_the_measured_rows():
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (200, 4))
    y = x @ rng.normal(0, 1, (4, 3)) + 5 + rng.normal(0, 0.1, (200, 3))
    holes = rng.random(y.shape) < 0.3
    weight, bias = Ridge(x).solve(np.where(holes, np.nan, y), 1.0)
    for k in range(3):
        w, b = plain_ridge(x[~holes[:, k]], y[~holes[:, k], k], 1.0)
        np.testing.assert_allclose(weight[:, k], w, atol=1e-3)
        np.testing.assert_allclose(bias[k], b, atol=1e-3)
    assert np.isnan(Ridge(x).solve(np.full((200, 1), np.nan), 1.0)[1]).all()


def test_columns_without_a_gap_do_not_feel_those_with_gaps():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    y[:20, 1] = np.nan
    weights, intercept = Ridge(x).solve(y, 0.5)
    for column in range(3):
        alone = Ridge(x).solve(y[:, [column]], 0.5)
        assert np.allclose(weights[:, [column]], alone[0]) and np.allclose(intercept[[column]], alone[1])


@pytest.mark.parametrize("rows", [60, 5])  # more and fewer than columns
def test_a_ridge_for_one_penalty_is_the_same_ridge(rows):
    rng = np.random.default_rng(4)
    x, y = rng.normal(2, 1, (rows, 8)), rng.normal(3, 1, (rows, 3))
    y[::3, 1] = np.nan
    for found, expected in zip(SinglePenalty(x, 2.0).solve(y, 2.0), Ridge(x).solve(y, 2.0), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    with pytest.raises(ValueError, match=r"the penalty 2\.0, found 3\.0"):
        SinglePenalty(x, 2.0).solve(y[:, :1], 3.0)


def test_group_means_over_measured_cells():
    y = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan], [8.0, np.nan, np.nan]])
    onehot = np.eye(2)[[0, 0, 1]]
    np.testing.assert_allclose(group_means(y, onehot), [[2, 4, np.nan], [8, 4, np.nan]])
    np.testing.assert_allclose(group_means(y, onehot, prior=1.0)[:, 0], [8 / 3, 6])


def test_kmeans_finds_what_is_apart_and_survives_equal_rows():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(c, 0.1, (20, 2)) for c in (0, 5, 10)])
    groups = kmeans(x, 3)
    assert [len(set(groups[i : i + 20])) for i in (0, 20, 40)] == [1, 1, 1] and len(set(groups)) == 3
    assert set(kmeans(np.ones((10, 2)), 4)) == {0}


def test_features_of_odd_texts_are_finite_and_do_not_depend_on_company():
    state = f.fit_features(TEXTS)
    x = f.text_features(state, TEXTS)
    assert x.shape == (len(TEXTS), f.SURFACE + len(TEXTS)) and torch.isfinite(x).all()
    alone = torch.cat([f.text_features(state, [t]) for t in TEXTS])
    torch.testing.assert_close(x, alone, rtol=1e-5, atol=1e-6)
    assert f.text_features(state, []).shape == (0, x.shape[1])


def test_svd_keeps_the_angles_between_texts():
    texts = [f"{a} {b} {c}" for a in ("sum", "code", "city") for b in ("of", "in", "at") for c in "abcdefgh"]
    rows = f.WordRows(texts, [""] * len(texts))
    value = rows.weighted(rows.idf())
    dense = torch.zeros(len(texts), f.BUCKETS)
    for i in range(len(texts)):
        part = slice(rows.ends[i], rows.ends[i + 1])
        dense[i, rows.index[part]] = torch.from_numpy(value[part])
    np.testing.assert_allclose(dense.norm(dim=1), 1, rtol=1e-5)
    low = rows.times(value, f.fit_svd(rows, value, len(texts)))
    torch.testing.assert_close(low @ low.T, dense @ dense.T, rtol=0, atol=5e-3)


def test_hashing_sees_words_pairs_and_case():
    def hits(text):
        return set(f.hashed(text)[0].tolist())

    assert hits("Alpha  beta") == hits("alpha beta") == hits("alpha\nbeta")
    assert hits("alpha beta") != hits("beta alpha")
    assert max(hits("the quick brown fox")) < f.BUCKETS and min(hits("the quick brown fox")) >= 0
    index, value = f.hashed("same same same same")
    assert len(set(index.tolist())) == len(index) and value.max() == pytest.approx(np.log1p(4), rel=1e-6)
    middle = "a" * 750 + "b" * 9000 + "c" * 750  # of a long text both ends are read
    assert hits(middle) == hits("a" * 750 + " " + "c" * 750) != hits(middle[:1500])


def test_surface_reads_what_it_names():
    plain, code = f.surface("Who wrote it?"), f.surface("def f(x):\n    return x + 10")
    assert len(plain) == len(code) == f.SURFACE
    assert plain[13] and not code[13]  # ends with a question mark
    assert code[11] and not plain[11]  # looks like code

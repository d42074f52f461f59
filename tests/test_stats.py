import numpy as np
import pytest

from fusion_hf.logs.stats import aiq, bootstrap_ci, hull, paired


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(200):
        _, low, high = bootstrap_ci(rng.random(100) < 0.3, n=400, seed=i)
        hits += low <= 0.3 <= high
    assert 180 <= hits <= 199


def test_paired_difference_is_tighter_than_two_intervals():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    better = base + 0.05 + 0.01 * rng.standard_normal(400)
    result = paired(better, base)
    assert result["low"] > 0.04 and result["high"] < 0.06
    assert result["se"] == pytest.approx((better - base).std(ddof=1) / 20)


def test_nan_is_left_out_and_nothing_gives_nan():
    assert bootstrap_ci(np.array([1.0, np.nan, 1.0]))[0] == 1
    assert np.isnan(bootstrap_ci(np.array([]))[0])


def test_hull_is_concave_rising_and_above_every_point():
    rng = np.random.default_rng(3)
    cost, quality = rng.random(60), rng.random(60)
    x, y = hull(cost, quality)
    slopes = np.diff(y) / np.diff(x)
    assert (np.diff(x) > 0).all() and (slopes > 0).all() and (np.diff(slopes) <= 1e-12).all()
    inside = cost >= x[0]
    assert (np.interp(cost[inside], x, y) >= quality[inside] - 1e-12).all()


def test_aiq_of_two_points_by_hand():
    # From (0, .5) to (1, 1), then flat to 2: areas .75 and 1, over 2.
    assert aiq([0.0, 1.0], [0.5, 1.0], max_cost=2.0) == pytest.approx(0.875)
    assert aiq([0.0], [0.4]) == 0.4
    # What costs less than the cheapest point is as good as that point.
    assert aiq([1.0, 2.0], [0.5, 1.0]) == pytest.approx((0.5 + 0.75) / 2)

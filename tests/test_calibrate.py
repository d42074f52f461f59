"""From a budget or a quality to a trade-off that meets it, and that a saved router then knows by name."""

import json

import numpy as np
import pytest
from test_evaluate_routers import table_of
from toy_log import toy_data

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.log import write_bench
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.measuring.calibrate import calibrate_router, fixed_ratios, follower

TRAIN, HELD, TEST = toy_data(150, judge=True), *(toy_data(300, seed=s, judge=True, split="test") for s in (1, 2))


@pytest.fixture(scope="module")
def router():
    return fit_router("fusion", TRAIN, encoder="none")


def spent(router, data, found):
    performance, cost = follower(router, data)(found["alpha"], found["beta"])
    return performance.mean(), cost.mean()


@pytest.fixture(scope="module")
def ends(router):
    """(performance, cost) of the dearest and the cheapest trade-off on the held-out queries."""
    follow = follower(router, HELD)
    return [tuple(v.mean() for v in follow(*trade)) for trade in ((1.0, 0.0), (0.0, 1.0))]


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 2.0])
def test_budgets_are_kept_and_used(router, ends, part):
    (_, most), (_, least) = ends
    budget = least + part * (most - least) + 1e-12
    found = calibrate_router(router, HELD, max_cost=budget)
    performance, cost = spent(router, HELD, found)
    assert (performance, cost) == pytest.approx((found["performance"], found["cost_usd"]))
    assert cost <= budget and found["alpha"] + found["beta"] == pytest.approx(1)
    assert found["cost_usd_ci95"][0] <= cost <= found["cost_usd_ci95"][1]
    # No trade-off of a fine grid that cares clearly more for performance keeps to the budget.
    follow = follower(router, HELD)
    ratios = np.geomspace(1e-3, 1e4, 200)
    kept = [r for r in ratios if follow(1 / (1 + r), r / (1 + r))[1].mean() <= budget]
    assert found["beta"] / found["alpha"] <= 1.02 * kept[0] if kept and found["alpha"] else part == 0
    # It also holds on other queries, within what its interval says.
    low, high = found["cost_usd_ci95"]
    assert low - (high - low) <= spent(router, TEST, found)[1] <= high + (high - low)


def test_qualities_are_reached_at_the_least_cost(router, ends):
    single = HELD.performance.mean(0).max()
    last = None
    for share in (0.6, 0.9, 1.0, ends[0][0] / single):
        found = calibrate_router(router, HELD, min_quality=share)
        assert found["quality"] >= share - 1e-9 and found["quality"] == pytest.approx(found["performance"] / single)
        assert found["quality_ci95"][0] <= found["quality"] <= found["quality_ci95"][1]
        assert last is None or found["cost_usd"] >= last - 1e-12
        last = found["cost_usd"]
    assert found["best_single"] == HELD.candidates[HELD.performance.mean(0).argmax()]


def test_what_cannot_be_met_says_what_can(router):
    with pytest.raises(UserError, match="a budget of 1e-09 USD a query cannot be kept: the router needs at least"):
        calibrate_router(router, HELD, max_cost=1e-9)
    with pytest.raises(UserError, match=r"expected at most \S+ of the best single"):
        calibrate_router(router, HELD, min_quality=5.0)
    for wrong in ({}, {"max_cost": 1.0, "min_quality": 0.9}):
        with pytest.raises(UserError, match="either max_cost or min_quality"):
            calibrate_router(router, HELD, **wrong)
    with pytest.raises(UserError, match="with costs"):
        calibrate_router(router, toy_data(60, costs=False), max_cost=1.0)
    with pytest.raises(UserError, match="the log lacks candidates of the router: expected dog"):
        calibrate_router(router, HELD.select(["bee", "cat"]), max_cost=1.0)


def test_missing_cells_are_left_out(router):
    data = toy_data(300, seed=1, split="test", missing=0.3)
    found = calibrate_router(router, data, min_quality=0.9)
    assert 150 < found["queries"] < 300
    assert abs(found["performance"] - calibrate_router(router, HELD, min_quality=0.9)["performance"]) < 0.15


def test_a_kind_with_fixed_trade_offs_chooses_among_them():
    router = fit_router("paper-knn", TRAIN, encoder="none")
    ratios = fixed_ratios(router)
    found = calibrate_router(router, HELD, max_cost=1.0)
    assert found["beta"] / found["alpha"] in ratios
    assert fixed_ratios(fit_router("knn", TRAIN, encoder="none")) is None


def test_command_saves_a_scenario(router, tmp_path, capsys):
    write_bench({"train": table_of(TRAIN), "test": table_of(HELD)}, tmp_path / "bench")
    router.save_pretrained(tmp_path / "router")
    before = dict(router.config.scenarios)
    budget = 0.6 * follower(router, HELD)(1.0, 0.0)[1].mean()
    args = ["calibrate", str(tmp_path / "router"), str(tmp_path / "bench"), "--max-cost", str(budget)]
    assert main([*args, "--out", str(tmp_path / "out"), "--name", "cheap", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["split"] == "test" and found["cost_usd"] <= budget and "USD a query" in capsys.readouterr().out
    loaded = load_router(tmp_path / "out")
    assert loaded.config.scenarios == before | {
        "cheap": {k: found[k] for k in ("alpha", "beta")} | {"score": "performance"}
    }
    assert loaded.config.options["calibrated"]["cheap"]["cost_usd"] == found["cost_usd"]
    named = [d.candidate for d in loaded.route(HELD.queries, "cheap")]
    assert named == [d.candidate for d in router.route(HELD.queries, alpha=found["alpha"], beta=found["beta"])]
    cost = np.mean([HELD.cost[i, HELD.candidates.index(c)] for i, c in enumerate(named)])
    assert cost == pytest.approx(found["cost_usd"])
    assert main(["route", str(tmp_path / "out"), HELD.queries[0], "--scenario", "cheap"]) == 0
    assert main(args[:3]) == 2 and "either a max_cost or a min_quality" in capsys.readouterr().err
    assert main([*args, "--split", "nope"]) == 2 and "expected one of train, test" in capsys.readouterr().err

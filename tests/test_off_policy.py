"""Estimates from served traffic: unbiased, and with intervals that cover the truth, on a log that tells it."""

import numpy as np
import pytest
from toy_log import CANDIDATES, toy_data

from fusion_hf.errors import UserError
from fusion_hf.logs.schema import query_id, rows_to_table
from fusion_hf.routers import fit_router
from fusion_hf.routers.measuring.off_policy import doubly_robust, estimate, ips
from fusion_hf.routers.measuring.served import ServedTraffic, evaluate_served, read_traffic


def test_terms_by_hand():
    reward, p, agrees = np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.25]), np.array([True, False, True])
    assert ips(reward, p, agrees).tolist() == [2.0, 0.0, 4.0]
    logged, chosen = np.array([0.5, 0.5, 0.5]), np.array([0.5, 0.75, 0.5])
    assert doubly_robust(reward, p, agrees, logged, chosen).tolist() == [1.5, 0.75, 2.5]
    found = estimate(np.array([0.0, 1.0]))
    assert found["value"] == 0.5 and found["low"] == pytest.approx(0.5 - 1.96 * 0.5, abs=1e-3)
    assert estimate(np.array([1.0]))["se"] is None and estimate(np.array([]))["value"] is None


class Once:
    """A router whose predictions for the queries are made once."""

    def __init__(self, router, queries):
        self.config, self.candidates = router.config, router.candidates
        self._found = router.predict(queries), router.route(queries)

    def predict(self, queries):
        return self._found[0]

    def route(self, queries, scenario):
        return self._found[1]


@pytest.fixture(scope="module")
def world():
    """A full log that knows every score, the policy that served it, and a router that is to be measured."""
    full = toy_data(600, seed=5)
    old = fit_router("best-single", toy_data(90), encoder="none", progress=False)
    new = fit_router("knn", toy_data(120), encoder="none", progress=False)
    best = np.array([CANDIDATES.index(d.candidate) for d in old.route(full.queries)])
    return full, best, Once(new, full.queries)


def serve(full, best, explore, rng):
    """Traffic as `serve --explore` logs it: one answer a request."""
    n = len(full.queries)
    drawn = rng.random(n) < explore
    chosen = np.where(drawn, rng.integers(0, 3, n), best)
    propensity = explore / 3 + (1 - explore) * (chosen == best)
    line = np.arange(n)
    return ServedTraffic(
        full.queries,
        [CANDIDATES[c] for c in chosen],
        full.performance[line, chosen],
        full.cost[line, chosen],
        propensity,
    )


@pytest.mark.parametrize("explore", [0.1, 0.3, 1.0])
def test_intervals_cover_the_truth(world, explore):
    full, best, new = world
    choice = np.array([CANDIDATES.index(d.candidate) for d in new.route(full.queries, "performance")])
    truth = full.performance[np.arange(len(full.queries)), choice].mean()
    rng = np.random.default_rng(1)
    values, covered, widths = {}, {}, {}
    rounds = 300
    for _ in range(rounds):
        found = evaluate_served(new, serve(full, best, explore, rng), "performance").scenarios["performance"]
        for name, one in found["performance"].items():
            values.setdefault(name, []).append(one["value"])
            # The queries are the same each time, so the interval for a new sample of queries covers at least as often.
            covered[name] = covered.get(name, 0) + (one["low"] <= truth <= one["high"])
            widths.setdefault(name, []).append(one["high"] - one["low"])
    for name in ("ips", "doubly_robust"):
        spread = np.std(values[name]) / np.sqrt(rounds)
        assert abs(np.mean(values[name]) - truth) < 4 * spread, name
        assert covered[name] >= 0.9 * rounds, (name, covered)
    assert np.mean(widths["doubly_robust"]) < np.mean(widths["ips"])


def row(number, **fields):
    name = f"req-{number}"
    base = {"query_id": query_id("sums", name, "q"), "task": "sums", "source_id": name, "query": "What is 1 + 2 * 3?",
            "ground_truth": [], "metric": "", "llm": "bee", "mode": "direct", "request_id": name, "attempt": 1,
            "propensity": 0.5, "performance": 1.0, "cost": 1e-5, "explored": False}  # fmt: skip
    return base | fields


def test_what_cannot_count_is_counted():
    table = rows_to_table([
        row(1), row(2, query=""), row(3, performance=None), row(4, propensity=None), row(5, llm="eel"),
        row(6, attempt=2), row(7, performance=None, judge=0.5),
    ])  # fmt: skip
    traffic = read_traffic(table, CANDIDATES)
    assert (traffic.read, len(traffic)) == (6, 2) and traffic.reward.tolist() == [1.0, 0.5]
    assert set(traffic.dropped.values()) == {1}
    with pytest.raises(UserError, match=r"none of 1 served requests can be used \(1 without a score\)"):
        read_traffic(rows_to_table([row(1, performance=None)]), CANDIDATES)
    with pytest.raises(UserError, match="expected rows of  fusion-hf serve"):
        read_traffic(rows_to_table([row(1, request_id=None)]), CANDIDATES)


def test_traffic_without_exploration_is_said_to_tell_little(world):
    full, best, new = world
    traffic = serve(full, best, 0.0, np.random.default_rng(0))
    assert any("never explored" in w for w in evaluate_served(new, traffic, "performance").warnings)


def test_the_command_takes_served_traffic_in_place_of_a_log(tmp_path, capsys):
    from test_update import traffic, weak_router
    from toy_log import GOOD

    from fusion_hf.cli import main

    router = weak_router(tmp_path / "router")
    logs = traffic(tmp_path / "served", lambda task, chosen: float(GOOD[task] == chosen), n=60)
    assert main(["eval-router", str(router), "--served", str(logs), "--scenario", "performance"]) == 0
    assert "60 of 60 requests count (none left out)" in capsys.readouterr().out
    assert main(["eval-router", str(router)]) == 2
    assert "expected a log, or the folder of served traffic" in capsys.readouterr().err

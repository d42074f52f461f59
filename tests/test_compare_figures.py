"""Figures of a comparison: laws of the resamples, and values worked out by hand."""

import numpy as np
import pytest
from conftest import make_rows

from fusion_hf.comparison import Splits, gather
from fusion_hf.comparison.logged import anchor_systems, single_systems
from fusion_hf.comparison.measure import best_per_task, domains_of, measure, win_shares
from fusion_hf.comparison.resample import Columns, Resamples
from fusion_hf.comparison.systems import System
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.logs.stats import bootstrap_ci


def rows_of(queries):
    """Log rows from {task: [{llm: (performance, cost)}, …]}."""
    rows = []
    for task, scored in queries.items():
        for i, cells in enumerate(scored):
            for llm, (performance, cost) in cells.items():
                [row] = make_rows(1, llms=(llm,), tasks=(task,), split=f"{task} {i}")
                rows.append(row | {"source_id": str(i), "query_id": f"{task}{i:04d}", "query": f"{task} question {i}"}
                            | {"performance": performance, "cost": cost})  # fmt: skip
    return rows


def splits_of(queries, validation=None, train=None):
    def data(part):
        return None if part is None else RoutingData.from_table(rows_to_table(rows_of(part)))

    return Splits(data(train or queries), data(validation), data(queries), 0)


def measured(splits):
    return measure([*anchor_systems(splits), *single_systems(splits)], splits)


UNEVEN = {
    "gsm8k": [{"a": (1.0, 1e-3), "b": (0.0, 2e-3)}] * 30,
    "squad": [{"a": (0.0, 1e-3), "b": (1.0, 4e-3)}] * 10,
}


def test_every_resample_keeps_the_size_of_every_task():
    tasks = ["x"] * 7 + ["y"] * 3
    sums = Resamples(tasks, draws=50).sums(np.stack([np.ones(10), np.arange(10.0)], 1))
    assert (sums[0, :, 0] == 7).all() and (sums[1, :, 0] == 3).all()
    assert sums[0, 0, 1] == sum(range(7)) and sums[1, 0, 1] == 7 + 8 + 9
    assert len(np.unique(sums[0, 1:, 1])) > 10


def test_equal_columns_are_resampled_once():
    columns = Columns()
    first, twin, other = columns.add(np.array([1.0, np.nan])), columns.add([1.0, 0.0]), columns.add([1.0, 1.0])
    assert first == twin != other and columns.array().shape == (2, 2)


def test_of_one_task_the_interval_is_the_usual_bootstrap_interval():
    rng = np.random.default_rng(3)
    queries = {"gsm8k": [{"a": (float(x), 1e-3), "b": (0.0, 1e-3)} for x in rng.random(200) < 0.4]}
    figures = measured(splits_of(queries))["systems"]["a"]
    values = np.array([cells["a"][0] for cells in queries["gsm8k"]])
    _, low, high = bootstrap_ci(values)
    assert figures["ci95"] == pytest.approx([low, high], abs=0.012)
    se = figures["vs_best_single"]["se"]
    assert se == 0.0 and measured(splits_of(queries))["systems"]["b"]["vs_best_single"]["se"] == pytest.approx(
        values.std() / 200**0.5, rel=0.15
    )


def test_averages_over_queries_and_over_tasks_by_hand():
    systems = measured(splits_of(UNEVEN))["systems"]
    a, b = systems["a"], systems["b"]
    assert a["performance"] == 0.75 and a["over_tasks"]["performance"] == 0.5
    assert b["cost_usd"] == pytest.approx((30 * 2e-3 + 10 * 4e-3) / 40)
    assert b["over_tasks"]["cost_usd"] == pytest.approx(3e-3)
    # a is best single: cheaper, and as good over tasks. Its queries cost the same, so the ratio has no spread.
    assert b["cost_ratio"]["ratio"] == pytest.approx(2.5) and b["over_tasks"]["cost_ratio"]["ratio"] == pytest.approx(3)
    assert list(b["by_task"]["squad"]["cost_ratio"].values()) == pytest.approx([4, 4, 4])
    assert b["vs_best_single"]["difference"] == pytest.approx(-0.5)
    assert b["over_tasks"]["vs_best_single"]["difference"] == pytest.approx(0)
    assert systems["best per task"]["gap_recovered"] == 1.0 and a["gap_recovered"] == 0.0
    # oracle - best single = 1/4 over queries; b loses 1/2 against it
    assert b["gap_recovered"] == pytest.approx(-2)
    assert a["by_domain"]["Math"]["performance"] == 1.0 and a["by_domain"]["Reading"]["performance"] == 0.0


def test_the_best_single_is_even_with_itself_however_often_it_is_drawn():
    figures = measured(splits_of(UNEVEN))["systems"]["best single"]
    assert figures["vs_best_single"] == {"difference": 0.0, "se": 0.0, "low": 0.0, "high": 0.0}
    assert figures["cost_ratio"] == {"ratio": 1.0, "low": 1.0, "high": 1.0}


def test_what_was_not_measured_is_null_and_left_out_of_pairs():
    queries = {
        "gsm8k": [{"a": (1.0, None), "b": (1.0, None)}] * 4
        + [{"a": (1.0, None), "b": (None, None)}] * 4
        + [{"a": (0.0, None), "b": (1.0, None)}] * 2
        + [{"a": (0.0, None), "b": (None, None)}]
    }
    train = {"gsm8k": [{"a": (1.0, None), "b": (0.0, None)}] * 3}
    result = measured(splits_of(queries, train=train))
    a, b = result["systems"]["a"], result["systems"]["b"]
    assert a["performance"] == pytest.approx(8 / 11) and b["performance"] == 1.0
    assert (a["queries"], b["queries"], b["by_task"]["gsm8k"]["queries"]) == (11, 6, 6)
    assert b["vs_best_single"]["difference"] == pytest.approx(2 / 6)  # on the six queries that both answered
    for name in ("cost_usd", "tokens", "judge", "latency_s"):
        assert a[name] is None
    assert a["cost_ratio"] == {"ratio": None, "low": None, "high": None}
    assert result["hulls"] == {"singles": [], "all": []}
    assert result["systems"]["per-query oracle"]["validation"] is None


def test_a_system_that_nothing_was_measured_of_has_null_figures():
    splits = splits_of(UNEVEN)
    nothing = np.full(40, np.nan)
    ghost = System("ghost", "single", nothing, nothing, nothing, nothing, nothing)
    figures = measure([*anchor_systems(splits), ghost], splits)["systems"]["ghost"]
    assert figures["performance"] is None and figures["ci95"] is None
    assert figures["vs_best_single"] == {"difference": None, "se": None, "low": None, "high": None}


def test_shares_of_wins_ties_and_losses_by_hand():
    splits = splits_of(UNEVEN)
    pairs = win_shares(single_systems(splits))
    assert pairs == {"systems": ["a", "b"], "win": [[0.0, 0.75], [0.25, 0.0]], "tie": [[1.0, 0.0], [0.0, 1.0]]}


def test_wins_and_losses_mirror_and_sum_to_one_with_ties():
    rng = np.random.default_rng(0)
    queries = {"squad": [{x: (float(rng.integers(0, 3) / 2), 1e-3) for x in "abc"} for _ in range(60)]}
    pairs = win_shares(single_systems(splits_of(queries)))
    win, tie = np.array(pairs["win"]), np.array(pairs["tie"])
    assert np.allclose(win + win.T + tie, 1) and (tie == tie.T).all()


def test_the_hull_leaves_out_the_oracle_and_dominated_systems():
    result = measured(splits_of(UNEVEN))
    assert [p["system"] for p in result["hulls"]["singles"]] == ["a"]
    corners = {p["system"] for p in result["hulls"]["all"]}
    assert "best per task" in corners and "per-query oracle" not in corners and "b" not in corners


def test_the_choice_takes_the_best_llm_of_train_and_validation_then_the_cheaper():
    test = {"gsm8k": [{"a": (0.0, 1e-3), "b": (1.0, 2e-3), "c": (0.0, 5e-4)}] * 4}
    train = {"gsm8k": [{"a": (0.0, 1e-3), "b": (0.0, 2e-3), "c": (0.0, 5e-4)}] * 4}

    def chosen(a, b, c):
        splits = splits_of(test, {"gsm8k": [{"a": (a, 1e-3), "b": (b, 2e-3), "c": (c, 5e-4)}] * 4}, train)
        systems = [*anchor_systems(splits), *single_systems(splits)]
        return measure(systems, splits)["best_per_task"]["gsm8k"]

    won = chosen(0.0, 1.0, 0.0)
    assert [won[k] for k in ("system", "validation", "test", "best_single_test")] == ["b", 1.0, 1.0, 0.0]
    assert chosen(1.0, 1.0, 1.0)["system"] == "c"  # all the same: the cheapest
    assert chosen(0.0, 1.0, 1.0)["system"] == "c"  # as good as b, and cheaper
    assert chosen(1.0, 0.0, 0.0)["test"] == 0.0  # what it scored on test is no reason


def test_nothing_is_chosen_without_validation():
    splits = splits_of(UNEVEN)
    systems = single_systems(splits)
    assert best_per_task([*anchor_systems(splits), *systems], splits, {}) == {}
    assert measured(splits)["queries"] == {"train": 40, "test": 40}


def test_unknown_tasks_stand_in_a_domain_of_their_own():
    assert domains_of(["winogrande", "mbpp", "gsm8k"]) == {"Math": ["gsm8k"], "Code": ["mbpp"], "Other": ["winogrande"]}


def test_the_order_of_rows_in_the_log_does_not_matter(tmp_path):
    rng = np.random.default_rng(1)
    results = []
    for name in ("one", "two"):
        tables = {}
        for split in ("train", "test"):
            rows = make_rows(30, split=split)
            rng.shuffle(rows)
            tables[split] = validate(rows_to_table(rows))
        systems, splits, _ = gather(write_bench(tables, tmp_path / name))
        results.append(measure(systems, splits))
    assert results[0] == results[1]


def test_rewards_of_scenarios_by_hand():
    """Costs of gsm8k run from 1e-3 to 2e-3 on train, those of squad to 4e-3; performance from 0 to 1."""
    systems = measured(splits_of(UNEVEN))["systems"]
    a, b, best = (systems[n]["rewards"] for n in ("a", "b", "best per task"))
    assert [a[s]["reward"] for s in ("performance", "balance", "cost")] == pytest.approx([0.75, 0.375, 0.15])
    assert b["balance"]["reward"] == pytest.approx(0.5 * 0.25 - 0.5)
    assert best["balance"]["reward"] == pytest.approx((30 * 0.5 + 10 * 0.0) / 40)
    assert best["cost"]["ci95"] == pytest.approx([best["cost"]["reward"]] * 2)  # all queries of a task are alike
    assert set(a) == {"performance", "balance", "cost"}  # judge: nobody judged


def test_a_system_without_costs_has_no_reward_where_costs_count():
    splits = splits_of(UNEVEN)
    free = System("x", "single", np.ones(40), *[np.full(40, np.nan)] * 4)
    rewards = measure([*anchor_systems(splits), free], splits)["systems"]["x"]["rewards"]
    assert rewards["performance"]["reward"] == 1.0 and rewards["cost"] == {"reward": None, "ci95": None}

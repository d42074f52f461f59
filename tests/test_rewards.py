import numpy as np
import pytest
from conftest import make_rows

from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.rewards import SCENARIOS, Scaling, Scenario, available_scenarios, get_scenario, pick, reward
from fusion_hf.logs.schema import rows_to_table


@pytest.fixture
def data():
    return RoutingData.from_table(rows_to_table(make_rows()))


def test_rewards_follow_the_definition_in_each_task(data):
    scaling = Scaling.fit(data)
    for task in ("gsm8k", "squad"):
        part = data.of_task(task)
        p, c = part.performance, part.cost
        for name in ("performance", "balance", "cost"):
            s = SCENARIOS[name]
            expected = s.alpha * (p - p.min()) / (p.max() - p.min()) - s.beta * (c - c.min()) / (c.max() - c.min())
            assert np.allclose(reward(part, s, scaling), expected)


def test_scaling_comes_from_train_only(data):
    scaling = Scaling.fit(data.subset(range(6)))
    assert np.nanmax(scaling.scaled(data, "cost")) > 1 or np.nanmin(scaling.scaled(data, "cost")) >= 0
    assert scaling.low["cost"]["gsm8k"] == data.subset(range(6)).of_task("gsm8k").cost.min()


def test_a_task_that_training_never_saw_is_measured_in_units_of_the_whole_log(data):
    train, test = data.of_task("gsm8k"), data.of_task("squad")
    train.cost[:2] *= 3
    scaling = Scaling.fit(train)
    np.testing.assert_array_equal(scaling.scaled(test, "performance"), test.performance)
    low, span = train.cost.min(), train.cost.max() - train.cost.min()
    np.testing.assert_allclose(scaling.scaled(test, "cost"), (test.cost - low) / span)
    np.testing.assert_allclose(scaling.scaled(train, "cost"), (train.cost - low) / span)
    free = data.of_task("gsm8k")
    free.cost[:] = np.nan
    with pytest.raises(UserError, match="the training split has no cost to scale by"):
        Scaling.fit(free).scaled(test, "cost")


def test_a_constant_quantity_scales_to_zero_and_not_to_nan(data):
    data.performance[:] = 1.0
    assert (Scaling.fit(data).scaled(data, "performance") == 0).all()


def test_missing_cells_stay_missing_in_the_reward(data):
    data.performance[2, 1] = np.nan
    values = reward(data, Scenario(0.5, 0.5), Scaling.fit(data))
    assert np.isnan(values[2, 1]) and np.isnan(values).sum() == 1


def test_ties_go_to_the_cheaper_candidate_then_to_the_first_name():
    rewards = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [np.nan, 0.2, 0.1], [0.5, 0.5, 0.5]])
    cost = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 2.0], [0.0, 9.0, 0.0], [np.nan, np.nan, np.nan]])
    assert pick(rewards, cost, ["a", "b", "c"]).tolist() == [1, 0, 1, 0]


def test_a_pick_does_not_depend_on_the_order_of_candidates():
    rng = np.random.default_rng(0)
    rewards, cost = rng.integers(0, 3, (50, 5)) / 2, rng.integers(0, 2, (50, 5)) / 10
    names = list("abcde")
    order = rng.permutation(5)
    one = [names[i] for i in pick(rewards, cost, names)]
    shuffled = [names[i] for i in order]
    assert one == [shuffled[i] for i in pick(rewards[:, order], cost[:, order], shuffled)]


def test_scenarios_that_a_log_cannot_measure_are_not_offered(data):
    assert available_scenarios(data) == ["performance", "balance", "cost"]
    data.cost[:] = np.nan
    data.judge[:] = 0.5
    assert available_scenarios(data) == ["performance", "judge"]
    with pytest.raises(UserError, match="unknown scenario 'cheap': expected one of performance"):
        get_scenario("cheap")

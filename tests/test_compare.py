import json

import numpy as np
import pytest
from conftest import make_rows

from fusion_hf.comparison.systems import luck
from fusion_hf.comparison.verbs import compare
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate


def table(n, split):
    return validate(rows_to_table(make_rows(n, split=split)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    tables = {"train": table(24, "train"), "partial_test": table(12, "partial_test"), "test": table(40, "test")}
    return write_bench(tables, tmp_path_factory.mktemp("compare") / "bench")


@pytest.fixture(scope="module")
def thought_log(bench, tmp_path_factory):
    """Answers of another system to the same queries: right on squad only, and free."""
    rows = [
        row | {"llm": "reader", "performance": float(row["task"] == "squad"), "cost": 0.0}
        for split in ("partial_test", "test")
        for row in read_log(bench, split).to_pylist()
        if row["llm"] == "ant"
    ]
    path = tmp_path_factory.mktemp("log") / "thought.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return path


@pytest.fixture(scope="module")
def result(bench, thought_log, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return compare(bench, out, thoughts={"reader": thought_log}).report, out


def test_anchors_by_hand(result):
    systems = result[0]["systems"]
    assert result[0]["best_single"] == "ant"  # ant and bee are right on half of the queries; ant is cheaper
    assert systems["best single"]["performance"] == 0.5
    assert systems["best per task"]["performance"] == 1.0
    assert systems["per-query oracle"]["performance"] == 1.0
    assert systems["cow"]["performance"] == pytest.approx(14 / 40)
    assert systems["cheapest"]["cost_usd"] == systems["ant"]["cost_usd"] < systems["bee"]["cost_usd"]
    assert systems["best per task"]["gap_recovered"] == 1.0


def test_a_log_of_answers_is_measured_on_the_same_queries(result):
    thought = result[0]["systems"]["reader"]
    assert thought["level"] == "thought" and thought["performance"] == 0.5 and thought["cost_usd"] == 0.0
    assert thought["by_task"]["squad"]["vs_best_single"]["difference"] == 1.0
    assert thought["by_task"]["gsm8k"]["performance"] == 0.0


def test_the_configuration_is_chosen_on_validation(result):
    chosen = result[0]["best_per_task"]
    assert chosen["gsm8k"]["system"] == "ant"
    assert chosen["squad"]["validation"] == chosen["squad"]["test"] == 1.0
    assert chosen["squad"]["best_single_test"] == 0.0


def test_the_report_says_where_a_level_loses(result):
    text = (result[1] / "report.md").read_text()
    assert "worse (interval below 0): gsm8k" in text and "better (interval above 0): squad" in text
    assert (result[1] / "report.png").stat().st_size > 10_000
    assert json.loads((result[1] / "report.json").read_text()) == json.loads(json.dumps(result[0]))


def test_luck_is_what_independent_guessers_reach():
    rows = make_rows(400, llms=tuple("abcd"), tasks=("squad",))
    rng = np.random.default_rng(0)
    for row in rows:
        row["performance"] = float(rng.random() < 0.25)
    data = RoutingData.from_table(rows_to_table(rows))
    assert luck(data).mean() == pytest.approx(1 - 0.75**4, abs=0.05)
    assert data.performance.max(1).mean() == pytest.approx(luck(data).mean(), abs=0.06)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"thoughts": "log.jsonl"}, r"thoughts: expected a name for each log, as \{name: log\}, found str"),
        ({"models": {"reader": "none.jsonl"}}, "nothing there"),
        ({"thoughts": {"a": "x.jsonl"}, "models": {"a": "y.jsonl"}}, "two logs are called 'a'"),
        ({"routers": ["x/router", "y/router"]}, "two of them lie in folders of one name"),
    ],
)
def test_wrong_logs_are_named(bench, tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        compare(bench, tmp_path / "out", **given)


def test_levels_are_what_is_said_and_no_name_decides(bench, thought_log, tmp_path):
    given = {
        "logs": {"modelfarm": thought_log},
        "models": {"thoughtful": thought_log},
        "thoughts": {"model": thought_log},
    }
    systems = compare(bench, tmp_path / "out", **given).report["systems"]
    assert [systems[n]["level"] for n in ("modelfarm", "thoughtful", "model")] == ["single", "model", "thought"]


def test_a_folder_of_others_is_refused_before_any_work_and_ours_is_replaced(bench, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.md").write_text("years")
    with pytest.raises(UserError, match="is not empty, and fusion_hf did not make it"):
        compare("no-such-bench", tmp_path / "thesis")
    compare(bench, tmp_path / "thesis", overwrite=True, combine="knn", encoder="none")
    compare(bench, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "thesis.md").read_text() == "years"
    assert (tmp_path / "thesis" / "report.html").is_file()


def test_a_comparison_is_a_table(result, bench):
    from fusion_hf.comparison.verbs import Comparison

    table = Comparison("out", result[0]).to_pandas().set_index("system")
    assert table.loc["reader", "performance"] == 0.5 and table.loc["reader", "level"] == "thought"
    assert "All of it: out" in str(Comparison("out", result[0]))


def test_a_log_that_misses_test_queries_is_refused(bench, tmp_path):
    path = tmp_path / "part.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in read_log(bench, "test").to_pylist()[:9]))
    with pytest.raises(UserError, match=r"log 'thought': \d+ of 40 test queries are not in it"):
        compare(bench, tmp_path / "out", thoughts={"thought": path})

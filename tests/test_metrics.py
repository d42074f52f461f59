"""Metrics: `evaluate` shells give what the library gives, from a folder and from a Space."""

import json
import re
from pathlib import Path

import evaluate
import hub_double
import numpy as np
import pytest
from conftest import make_rows
from hub_client import Client

from fusion_hf import metrics
from fusion_hf.errors import UserError
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.sample import sample_path
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.metrics.scores import frontier, rewarded
from fusion_hf.tasks.graders import GRADERS, grade

CASES = json.loads((Path(__file__).parent / "grader_cases.json").read_text())


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """`evaluate.load` of a metric's folder, with a cache of its own."""
    cache = str(tmp_path_factory.mktemp("evaluate"))
    return lambda name, *config: evaluate.load(metrics.path(name), *config, cache_dir=cache)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """ant is right on gsm8k, bee on squad, at 1 and 2 parts of the price; cow every third time, at 3."""
    tables = {s: validate(rows_to_table(make_rows(24, split=s))) for s in ("train", "test")}
    return write_bench(tables, tmp_path_factory.mktemp("metrics") / "bench")


def test_every_metric_is_found():
    assert metrics.METRICS == ("fusion_grade", "routing_frontier", "routing_reward")
    with pytest.raises(UserError, match="unknown metric 'bleu': expected one of fusion_grade"):
        metrics.path("bleu")


@pytest.mark.parametrize("name", [n for n in GRADERS if n not in ("code_eval", "math")])
@pytest.mark.parametrize("version", ["strict", "paper"])
def test_the_shell_grades_as_the_library_does(load, name, version):
    cases = [case for case in CASES if case["metric"] == name and case.get("response") is not None][:40]
    assert len(cases) > 5
    texts, golds = [c["response"] for c in cases], [c["ground_truth"] for c in cases]
    queries = [c.get("query", "") for c in cases]
    expected = [grade(name, t, g, q, version).score for t, g, q in zip(texts, golds, queries, strict=True)]
    found = load("fusion_grade", name).compute(predictions=texts, references=golds, queries=queries, version=version)
    assert found["scores"] == expected and found["fusion_grade"] == pytest.approx(np.mean(expected))


def test_programs_are_graded_in_the_sandbox(load, tmp_path):
    gold = {"prompt": "", "setup": "", "tests": ["assert double(3) == 6"], "entry_point": "double"}
    mark = tmp_path / "mark"
    answers = [
        "```python\ndef double(x):\n    return 2 * x\n```",
        f"```python\nopen({str(mark)!r}, 'w').write('out')\ndef double(x):\n    return 6\n```",
        None,
    ]
    found = load("fusion_grade", "code_eval").compute(predictions=answers, references=[[json.dumps(gold)]] * 3)
    assert found["scores"][0] == 1.0 and found["scores"][2] is None and not mark.exists()


def test_missing_is_not_wrong(load):
    grader = load("fusion_grade", "gsm8k")
    found = grader.compute(predictions=[None, "#### 42", "#### 41"], references=[["42"]] * 3)
    assert found == {"fusion_grade": 0.5, "scores": [None, 1.0, 0.0], "extracted": [None, "42", "41"]}
    assert grader.compute(predictions=[None], references=[["42"]])["fusion_grade"] is None


def test_batches_and_task_names(load):
    grader = load("fusion_grade", "squad")  # graded as cem
    grader.add_batch(predictions=["It is Paris."], references=[["Paris", "paris"]])
    grader.add(prediction="Rome", reference=["Paris"])
    assert grader.compute()["scores"] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("config", "references", "more", "message"),
    [
        ("default", [["1"]], {}, "unknown grader or task 'default': expected a config such as gsm8k"),
        ("gsm8k", [["1"]], {"version": "lenient"}, "unknown grader version 'lenient'"),
        ("gsm8k", [[]], {}, "at least one"),
        ("gsm8k", [["1"]], {"queries": ["a", "b"]}, "as many references and queries as predictions"),
    ],
)
def test_wrong_input_of_a_grade(load, config, references, more, message):
    with pytest.raises(UserError, match=message):
        load("fusion_grade", config).compute(predictions=["1"], references=references, **more)


def ids(bench, task=None):
    table = read_log(bench, "test", task=task)
    return sorted(set(table["query_id"].to_pylist()))


def test_rewards_by_hand(load, bench):
    """Performance and cost span 0..1 and 1e-4 .. 12e-4 USD on train, so a dollar costs 1/11e-4 in either task."""
    queries = ids(bench, "gsm8k")
    compute = load("routing_reward").compute
    found = compute(predictions=["ant"] * 12, references=queries, bench=str(bench), scenario="performance")
    assert found["routing_reward"] == 1.0 and found["performance"] == 1.0 and found["oracle"] == 1.0
    wrong = compute(predictions=["bee"] * 12, references=queries, bench=str(bench), alpha=1.0)
    assert wrong["routing_reward"] == 0.0 and wrong["missing"] == 0
    rows = [r for r in read_log(bench, "train").to_pylist() if r["task"] == "gsm8k"]
    low, high = min(r["cost"] for r in rows), max(r["cost"] for r in rows)
    costs = {r["query_id"]: r["cost"] for r in read_log(bench, "test").to_pylist() if r["llm"] == "ant"}
    by_hand = np.mean([0.2 * 1.0 - 0.8 * (costs[q] - low) / (high - low) for q in queries])
    found = compute(predictions=["ant"] * 12, references=queries, bench=str(bench), scenario="cost")
    assert found["routing_reward"] == pytest.approx(by_hand)
    assert found["cost_usd"] == pytest.approx(np.mean([costs[q] for q in queries]))


def test_rewards_are_those_of_eval_router(load, bench):
    from fusion_hf.logs.arrays import RoutingData
    from fusion_hf.routers import fit_router
    from fusion_hf.routers.measuring.evaluate import evaluate_router

    train, test = (RoutingData.from_table(read_log(bench, s)) for s in ("train", "test"))
    router = fit_router("knn", train, encoder="none")
    expected = evaluate_router(router, test, train)["scenarios"]
    for scenario in ("performance", "balance", "cost"):
        picks = [d.candidate for d in router.route(test.queries, scenario)]
        found = load("routing_reward").compute(
            predictions=picks, references=test.query_ids, bench=str(bench), scenario=scenario
        )
        assert found["routing_reward"] == pytest.approx(expected[scenario]["reward"])
        assert found["ci95"] == pytest.approx(expected[scenario]["ci95"])
        for ours, name in (("best_single", "best-single"), ("oracle", "oracle")):
            assert found[ours] == pytest.approx(expected[scenario]["anchors"][name]["reward"])


def test_the_order_of_queries_does_not_matter(bench):
    queries = ids(bench)
    picks = [("ant", "bee", "cow")[i % 3] for i in range(len(queries))]
    order = np.random.default_rng(0).permutation(len(queries))
    shuffled = rewarded([picks[i] for i in order], [queries[i] for i in order], bench)
    assert shuffled["routing_reward"] == pytest.approx(rewarded(picks, queries, bench)["routing_reward"])


def test_wrong_input_of_a_reward(bench):
    queries = ids(bench)
    for picks, references, more, message in (
        (["dog"], queries[:1], {}, "unknown candidate 'dog': expected one of ant, bee, cow"),
        (["ant"], ["nothing"], {}, "the log has no query 'nothing'"),
        (["ant"], queries[:2], {}, "found 1 for 2"),
        ([], [], {}, "at least one query"),
        (["ant"], queries[:1], {"scenario": "cheap"}, "unknown scenario 'cheap'"),
        (["ant"], queries[:1], {"split": "partial_test"}, "no split 'partial_test'"),
    ):
        with pytest.raises(UserError, match=message):
            rewarded(picks, references, bench, **more)


def test_the_frontier_by_hand(load):
    """From (0, .6) flat to (1, .6), up to (3, .8), flat to 4: (.6 + 1.4 + .8) / 4; (2, .61) lies below the hull."""
    found = load("routing_frontier").compute(predictions=[0.6, 0.61, 0.8], references=[1.0, 2.0, 3.0], max_cost=4.0)
    assert found["routing_frontier"] == pytest.approx(0.7)
    assert found["hull"] == [{"cost": 1.0, "quality": 0.6}, {"cost": 3.0, "quality": 0.8}]
    with pytest.raises(UserError, match="finite qualities"):
        frontier([0.5, float("nan")], [1.0, 2.0])


def test_metrics_combine(load):
    both = evaluate.combine({"strict": load("fusion_grade", "gsm8k"), "cem": load("fusion_grade", "cem")})
    found = both.compute(predictions=["#### 42"], references=[["42"]])
    assert found["strict_fusion_grade"] == 1.0 and found["cem_fusion_grade"] == 1.0


def test_every_metric_goes_through_a_space(writer, reader):
    for name in metrics.METRICS:
        status, _, err = writer.cli("push", metrics.path(name), f"user/{name}")
        assert status == 0, err
        repo = hub_double.REPOS["spaces", f"user/{name}"]
        assert {f"{name}.py", "app.py", "README.md", "requirements.txt"} <= set(repo["files"])
        assert not [f for f in repo["files"] if f.endswith(".pyc")]
        card = repo["files"]["README.md"][0].decode()
        assert "sdk: gradio" in card and "tags:\n- evaluate\n- metric" in card
        [snippet] = re.findall(r"```python\n(.*?)```", card, re.S)
        assert f'"user/{name}"' in snippet
        here = snippet.replace(f"user/{name}", metrics.path(name))
        assert reader.out(snippet) == reader.out(here) != ""
    status, _, err = writer.cli("push", metrics.path("fusion_grade"), "user/other_name")
    assert status == 2 and "expected a repository called fusion_grade" in err


def test_a_private_space_and_one_that_was_loaded_before(writer, reader):
    """As datasets: a private one needs the token, and what is in the cache works offline."""
    assert writer.cli("push", metrics.path("fusion_grade"), "user/fusion_grade", "--revision", "try")[0] == 0
    hub_double.REPOS["spaces", "user/fusion_grade"]["private"] = True
    load = "import evaluate; m = evaluate.load('user/fusion_grade', 'gsm8k'{})\n"
    load += "print(m.compute(predictions=['#### 42'], references=[['42']])['fusion_grade'])"
    assert reader.out(load.format(", revision='try'")).strip() == "1.0"
    offline = Client(reader.endpoint, reader.home, offline=True)
    try:
        start = len(hub_double.REQUESTS)
        assert offline.out(load.format(""), token=None).strip() == "1.0"
        assert hub_double.REQUESTS[start:] == []
    finally:
        offline.close()
    stranger = Client(reader.endpoint, reader.home.parent / "stranger")
    try:
        status, _, err = stranger.run(load.format(""), token=None)
        assert status == 1 and "doesn't exist on the Hugging Face Hub" in err  # evaluate's own words
    finally:
        stranger.close()


def test_the_sample_in_the_space_exists():
    assert "tiny-generalist" in set(read_log(sample_path(), "test", columns=["llm"])["llm"].to_pylist())

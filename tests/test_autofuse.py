"""The choice of `autofuse`: by hand, blind to test, and what it reports; and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from loopback_llm import Act, LoopbackLLM
from thought_toys import template_table
from tiny_bert import tiny_bert
from toy_fused import rows_of, toy_bench, toy_pool, toy_splits

from fusion_hf.cli import main
from fusion_hf.comparison import Splits, gather
from fusion_hf.comparison.autofuse import fuse
from fusion_hf.comparison.verbs import autofuse
from fusion_hf.comparison.verdicts import format_fusion
from fusion_hf.comparison.winners import CAUTION, DOUBT, Evidence, choose_by_task, shrink, winners
from fusion_hf.errors import UserError
from fusion_hf.fused import FusedSystem, Thoughts, collect_candidate
from fusion_hf.llms.pool import save_pool
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers import fit_router
from fusion_hf.thoughts import TemplateIndex


def test_gains_are_shrunk_as_computed_by_hand():
    one = np.array([1.0, 0, 0, 0])  # mean 1/4, variance 3/16
    expected, error = shrink([one, one])
    noise = (3 / 16 + DOUBT) / 4
    # Both tasks say the same: the common mean is 1/4, and tasks are taken to differ by the least variance only.
    assert expected == pytest.approx([0.25, 0.25])
    assert error == pytest.approx([np.sqrt(1e-4 * noise / (1e-4 + noise))] * 2)

    expected, error = shrink([np.full(100, 1.0), np.full(100, -1.0), np.array([])])
    # Constant gains of +1 and -1: no noise but DOUBT, variance between tasks 1; so little is taken off.
    noise = DOUBT / 100
    trust = (1 - noise) / (1 - noise + noise)
    assert expected[:2] == pytest.approx([trust, -trust]) and expected[2] == -np.inf
    assert error[:2] == pytest.approx([np.sqrt(trust * noise)] * 2)


def evidence(lucky, n=20):
    """Two tasks of n queries; "a" and "b" are logged candidates, "x" is something else, right on `lucky` of each."""
    task = np.repeat(["t", "u"], n)
    right = np.r_[np.ones(n), np.zeros(n)]
    x = np.r_[np.arange(n) < lucky[0], np.arange(n) < lucky[1]].astype(float)
    scores = {"a": 0.5 + 0 * right, "b": right, "x": x}
    costs = {"a": 1 + 0 * right, "b": 2 + 0 * right, "x": 3 + 0 * right}
    return Evidence(task, scores, costs, ["a", "b"])


def test_the_best_logged_candidate_stands_until_another_is_expected_to_gain():
    found = winners(evidence((20, 12)))
    assert found["t"].system == found["t"].incumbent == "b" and found["t"].gain == 0
    assert found["u"].incumbent == "a" and found["u"].performance in (0.5, 0.6)
    clear = winners(evidence((20, 19)))["u"]
    assert clear.system == "x" and clear.incumbent == "a"
    assert (
        0 < clear.gain < clear.gain_seen == pytest.approx(0.45)
    )  # 19 / 20 - 1 / 2, shrunk towards 0 of the other task
    assert clear.gain > CAUTION * clear.gain_se > 0 and clear.gain_queries == 20
    # Bad on the other task: the same luck on this one is believed less.
    assert winners(evidence((0, 11)))["u"].system == "a"


def test_equals_go_to_the_cheaper_and_then_by_name():
    task, half = np.repeat(["t"], 8), np.full(8, 0.5)
    scores, price = {"b": half, "a": half, "c": half}, {"b": np.ones(8), "a": np.ones(8), "c": 2 * np.ones(8)}
    assert winners(Evidence(task, scores, price, ["c", "b", "a"]))["t"].system == "a"
    price["b"] = np.full(8, 0.5)
    assert winners(Evidence(task, scores, price, ["c", "b", "a"]))["t"].system == "b"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return toy_bench(tmp_path_factory.mktemp("autofuse") / "bench")


@pytest.fixture(scope="module")
def router(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autofuse") / "knn"
    fit_router("knn", RoutingData.from_table(read_log(bench, "train")), encoder="none").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def made(bench, router, tmp_path_factory):
    out = tmp_path_factory.mktemp("autofuse") / "fused"
    return autofuse(bench, toy_pool(), out, {"near": router}).choice, out


def test_every_task_gets_the_llm_that_is_good_at_it_and_the_report_says_so(made):
    result, out = made
    incumbent = {task: entry["incumbent"] for task, entry in result["tasks"].items()}
    assert incumbent == {"sums": "bee", "code": "cat", "capitals": "dog"}
    assert set(result["better"] + result["not separated"] + result["worse"]) == set(incumbent)
    single = next(t for t, llm in incumbent.items() if llm == result["best_single"])
    assert sorted(result["better"]) == sorted(set(incumbent) - {single})
    assert result["tasks"][single]["test"]["verdict"] != "better"
    test = toy_splits()["test"]
    for task, entry in result["tasks"].items():
        if entry["system"] == entry["incumbent"]:
            rows = np.array(test.tasks) == task
            column = test.candidates.index(entry["system"])
            assert entry["test"]["performance"] == pytest.approx(test.performance[rows, column].mean())
    assert result["test"]["difference"] > 0.2 and result["test"]["recognised"]["tasks"] == 1.0
    assert result["test"]["recognised"]["performance"] == pytest.approx(result["test"]["performance"])
    text = format_fusion(result)
    assert f"on 2 of 3 tasks; not separated: {single}." in text
    assert FusedSystem.from_pretrained(out).config["test"] == json.loads(json.dumps(result["test"]))


def test_the_choice_never_looks_at_test(bench, router):
    systems, splits, _ = gather(bench, {"near": router})
    known = {s.name: s for s in systems if s.spec and s.level != "anchor"}
    rng = np.random.default_rng(0)
    order = rng.permutation(len(splits.test))
    wrong = replace(splits.test, performance=1 - splits.test.performance, cost=splits.test.cost[order])
    turned = {n: replace(s, performance=1 - s.performance, cost=s.cost[order]) for n, s in known.items()}
    chosen = choose_by_task(splits, known)
    assert choose_by_task(replace(splits, test=wrong), turned) == chosen
    upside = replace(splits.validation, performance=1 - splits.validation.performance)
    flipped = {n: replace(s, validation=1 - s.validation) for n, s in known.items()}
    before = replace(splits.train, performance=1 - splits.train.performance)
    assert choose_by_task(Splits(before, upside, splits.test, 0), flipped) != chosen


def test_train_rows_count_for_logged_candidates_only(bench, router):
    systems, splits, _ = gather(bench, {"near": router})
    known = {s.name: s for s in systems if s.spec and s.level != "anchor"}
    singles = {n: s for n, s in known.items() if s.level == "single"}
    assert {(w.system, w.queries) for w in choose_by_task(splits, singles).values()} == {(n, 40 + 20) for n in singles}
    # Perfect on validation, but seen there only.
    perfect = replace(known["near (cost)"], validation=np.ones(60))
    found = choose_by_task(splits, singles | {"near (cost)": perfect})
    assert {(w.system, w.queries, w.gain_queries) for w in found.values()} == {("near (cost)", 20, 20)}


def test_what_the_pool_cannot_reach_is_left_out_and_said(bench, router, tmp_path):
    pool = toy_pool().select(["bee", "cat"])
    result = autofuse(bench, pool, tmp_path / "fused", {"near": router}).choice
    assert result["tasks"]["capitals"]["system"] in ("bee", "cat")
    assert "dog is left out: the pool has no dog" in result["notes"]
    assert any(n.startswith("near (performance) is left out: the pool has no dog") for n in result["notes"])
    assert "dog is left out" in format_fusion(result)
    with pytest.raises(UserError, match="expected a pool with LLMs of the log, found far"):
        autofuse(bench, type(pool)([replace(pool["bee"], name="far")]), tmp_path / "none")


def test_another_log_is_chosen_where_it_gains_and_asked_as_its_pool_says(bench, tmp_path):
    """A distilled model that is always right at sums, and wrong elsewhere; its log holds no train rows."""
    splits = toy_splits()
    rows = []
    for split in ("partial_test", "test"):
        good = [[float(t == "sums")] for t in splits[split].tasks]
        cat = splits[split].select(["cat"])
        rows += rows_of(replace(cat, candidates=["cat+sums"], performance=np.array(good)))
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(r) for r in rows))
    pool = toy_pool()
    more = type(pool)([*pool.values(), replace(pool["cat"], name="cat+sums")])
    result = autofuse(bench, more, tmp_path / "fused", models={"student": log}).choice
    assert {t: e["system"] for t, e in result["tasks"].items()} == {"sums": "student", "code": "cat", "capitals": "dog"}
    entry = result["tasks"]["sums"]
    assert entry["level"] == "model" and entry["queries"] == entry["gain_queries"] == 20 and entry["performance"] == 1.0
    fused = FusedSystem.from_pretrained(tmp_path / "fused")
    assert fused.plan(["What is 2 + 3 * 4? Answer with a number."])[0].candidate == "cat+sums"
    with pytest.raises(UserError, match=r"student and again are the same candidate|again and student are the same"):
        autofuse(bench, more, tmp_path / "twice", models={"student": log, "again": log})


def test_a_log_says_which_templates_its_answers_had(bench, tmp_path):
    """bee behind templates is always right; the fused system asks it as the log was collected."""
    TemplateIndex.build(template_table(9), tiny_bert(tmp_path / "bert")).save_pretrained(tmp_path / "plans")
    with LoopbackLLM(lambda prompt, times: Act("?")) as server:
        pool = toy_pool(server.url)
        shown = Thoughts(str(tmp_path / "plans"), k=2, asked="think")
        collect_candidate(bench, pool["bee"], "thought", tmp_path / "log", thoughts=shown, progress=False)
        sent = {s.prompt for s in server.seen}
        result = autofuse(bench, pool, tmp_path / "fused", thoughts={"thought": tmp_path / "log"}).choice
        assert {e["system"] for e in result["tasks"].values()} == {"thought"} and result["test"]["performance"] == 1.0
        server.seen.clear()
        queries = toy_splits()["test"].queries[:6]
        assert [a.text for a in FusedSystem.from_pretrained(tmp_path / "fused")(queries)] == ["?"] * 6
        assert len(server.seen) == 6 and {s.prompt for s in server.seen} <= sent


def test_a_router_over_all_levels_may_win_and_what_was_gathered_is_not_measured_again(bench, router, tmp_path):
    near = {"near": router}
    gathered = systems, splits, _ = gather(bench, near, combine="knn", out=tmp_path)
    sure = [replace(s, validation=np.ones(60)) if s.name == "combined (cost)" else s for s in systems]
    result = fuse(bench, (sure, splits, []), tmp_path / "fused", toy_pool())
    assert {e["system"] for e in result["tasks"].values()} == {"combined (cost)"}
    fused = FusedSystem.from_pretrained(tmp_path / "fused")
    assert fused.config["systems"]["combined (cost)"]["router"] == "routers/combined"
    test = next(s for s in systems if s.name == "combined (cost)")
    assert [d.candidate for d in fused.plan(splits.test.queries)] == test.picked.tolist()
    again = fuse(bench, gathered, tmp_path / "again", toy_pool())
    assert again == autofuse(bench, toy_pool(), tmp_path / "anew", near, combine="knn").choice


def test_nothing_is_chosen_without_validation(tmp_path):
    tables = {s: validate(rows_to_table(rows_of(d))) for s, d in toy_splits().items() if s != "partial_test"}
    bench = write_bench(tables, tmp_path / "bench")
    with pytest.raises(UserError, match="expected a split partial_test to choose on, found none"):
        autofuse(bench, toy_pool(), tmp_path / "fused")


def test_other_files_are_never_replaced(bench, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty, and fusion_hf did not make it"):
        autofuse(bench, toy_pool(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_command(bench, router, tmp_path, capsys):
    pool = str(save_pool(toy_pool(), tmp_path / "pool.yaml"))
    out, figures = str(tmp_path / "fused"), tmp_path / "figures.json"
    argv = ["autofuse", str(bench), "--routers", f"near={router}", "--pool", pool, "--out", out, "--json", str(figures)]
    assert main(argv) == 0 and "of 3 tasks" in capsys.readouterr().out
    assert json.loads(figures.read_text())["better"]
    assert (
        main(["ask", out, "--plan", "def f_1(x):\n    return x + 3\n\nassert f_1(4) == ?\nWrite the missing value."])
        == 0
    )
    assert capsys.readouterr().out.startswith("cat\tcode, by ")
    assert main(["ask", out, "hello", "--plan", "--task", "poems"]) == 2
    assert "unknown task 'poems': expected one of capitals, code, sums" in capsys.readouterr().err


def test_the_command_that_asks(made, tmp_path, capsys):
    with LoopbackLLM() as server:
        pool = str(save_pool(toy_pool(server.url), tmp_path / "pool.yaml"))
        argv = ["ask", str(made[1]), "What is 2 + 3 * 4?", "--pool", pool, "--candidates", "bee", "--task", "sums"]
        assert main([*argv, "--json", str(tmp_path / "answers.json")]) == 0
    assert capsys.readouterr().out == "[bee] It is 42.\n"
    (answer,) = json.loads((tmp_path / "answers.json").read_text())
    assert answer["text"] == "It is 42." and answer["decision"]["task"] == "sums" and answer["output_tokens"] == 5
    assert main([*argv[:3], "--candidates", "eel"]) == 2
    assert "unknown candidate 'eel': this system knows bee, cat, dog" in capsys.readouterr().err

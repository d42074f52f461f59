"""Tasks that training never saw: they are measured, and routed no worse than by the best single LLM."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_evaluate_routers import table_of
from toy_fused import toy_pool
from toy_log import toy_data

import fusion_hf
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.log import write_bench
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.measuring.cross_validation import cross_validate, folds_of
from fusion_hf.routers.measuring.evaluate import evaluate_router
from fusion_hf.routers.measuring.report import format_cv, format_evaluation

WHOLE, TEST = toy_data(240, judge=True), toy_data(90, split="test", judge=True)
TRAIN = WHOLE.subset(np.array(WHOLE.tasks) != "capitals")


def test_a_split_with_such_a_task_is_measured_and_says_so():
    found = evaluate_router(fit_router("fusion", TRAIN, "none"), TEST, TRAIN)
    assert found["unseen_tasks"] == ["capitals"] and found["queries"] == 90
    by_task = found["scenarios"]["cost"]["by_task"]["capitals"]
    assert by_task["queries"] == 30 and by_task["reward"] is not None
    # cost first: .2 * score - .8 * cost in units of all tasks of train
    low, span = TRAIN.cost.min(), TRAIN.cost.max() - TRAIN.cost.min()
    expected = 0.2 * by_task["performance"] - 0.8 * (by_task["cost_usd"] - low) / span
    assert by_task["reward"] == pytest.approx(expected)
    assert "Training never saw capitals: scores there are taken as they are" in format_evaluation(found)
    known = evaluate_router(fit_router("fusion", WHOLE, "none"), TEST, WHOLE)
    assert known["unseen_tasks"] == [] and "never saw" not in format_evaluation(known)


def test_each_task_held_out_in_turn():
    fold, count = folds_of(WHOLE, "tasks")
    assert count == 3 and [len(set(np.array(WHOLE.tasks)[fold == f])) for f in range(3)] == [1, 1, 1]
    found = cross_validate(WHOLE, ["fusion", "best-single"], "tasks", encoder="none", progress=False)
    assert found["folds"] == 3 and found["held_out"] == "tasks" and found["queries"] == 240
    line = found["kinds"]["fusion"]
    assert set(line["by_task"]) == {"capitals", "code", "sums"}
    mean = np.mean([gap["difference"] for gap in line["by_task"].values()])  # tasks are of one size
    assert mean == pytest.approx(line["vs"]["best-single"]["difference"])
    assert found["anchors"]["best-per-task"] == found["anchors"]["best-single"]  # nothing is known of the task
    text = format_cv(found)
    assert "3 tasks, each held out in turn" in text and "against best single" in text
    with pytest.raises(UserError, match=r"at least two tasks, found one \(sums\)"):
        folds_of(WHOLE.of_task("sums"), "tasks")
    for wrong in ("task", 1, 1000):
        with pytest.raises(UserError, match=r"folds: expected 2 to 240 \(the number of queries\) or tasks"):
            folds_of(WHOLE, wrong)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A bench of which only the test split has the task capitals."""
    folder = tmp_path_factory.mktemp("unseen") / "bench"
    checked = replace(toy_data(60, seed=3, judge=True), query_ids=[f"checked-{i}" for i in range(60)])
    checked = checked.subset(np.array(checked.tasks) != "capitals")
    write_bench({"train": table_of(TRAIN), "partial_test": table_of(checked), "test": table_of(TEST)}, folder)
    return str(folder)


def test_on_the_command_line(log, tmp_path, capsys):
    router, out = str(tmp_path / "router"), tmp_path / "figures.json"
    assert main(["train-router", log, "--encoder", "none", "--out", router]) == 0
    assert main(["eval-router", router, log, "--json", str(out)]) == 0
    assert json.loads(out.read_text())["unseen_tasks"] == ["capitals"]
    assert "Training never saw capitals" in capsys.readouterr().out
    assert main(["cv-router", log, "--kind", "knn", "--folds", "tasks", "--encoder", "none", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["held_out"] == "tasks"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["cv-router", log, "--kind", "knn", "--folds", "task"])
    assert "expected a number or tasks, found 'task'" in capsys.readouterr().err
    board = fusion_hf.leaderboard(log, kind=["knn"], encoder="none", folds="tasks", seeds=1)
    assert board.held_out == "tasks" and "each of 2 tasks held out in turn" in str(board)


POEM = "Write a short poem on the {} of the sea, in which no line rhymes with another, please."
ODD = [POEM.format(word) for word in ("colour", "sound", "salt", "depth", "storms", "gulls", "tides", "wrecks")]


def uneven(n=360, missing=0.0):
    """A log on which `bee` is good at everything, and each of the others is better at one task and bad at the rest."""
    data = toy_data(n)
    rng, tasks = np.random.default_rng(1), np.array(data.tasks)
    right = np.stack([np.full(n, 0.7), np.where(tasks == "code", 1.0, 0.1), np.where(tasks == "capitals", 1.0, 0.1)], 1)
    data.performance[:] = rng.random((n, 3)) < right
    data.performance[rng.random((n, 3)) < missing] = np.nan
    return data


@pytest.fixture(scope="module", params=[True, False], ids=["labels", "no labels"])
def router(request):
    log = uneven()
    return fit_router("fusion", log, "none", task_labels=request.param), log


def test_queries_unlike_all_others_go_to_the_best_single_llm(router):
    model, log = router
    best = log.candidates[int(log.performance.mean(0).argmax())]
    assert best == "bee"
    odd, known = model.route(ODD), model.route(TEST.queries)
    assert {d.candidate for d in odd} == {"bee"} and len({d.candidate for d in known}) == 3
    overall = log.performance.mean(0)
    np.testing.assert_allclose(model.predict(ODD).performance, np.tile(overall, (len(ODD), 1)), atol=0.02)
    assert all("unlike the training queries (" in d.reasons[-1] for d in odd)
    trusted = [d for d in known if "unlike" not in d.reasons[-1]]
    assert len(trusted) > 0.9 * len(known)


def test_trust_is_saved_and_an_older_router_trusts_always(router, tmp_path):
    model, _ = router
    model.save_pretrained(tmp_path)
    loaded = load_router(tmp_path)
    assert [d.to_dict() for d in loaded.route(ODD)] == [d.to_dict() for d in model.route(ODD)]
    del loaded.config.options["trust"]
    assert not any("unlike" in line for d in loaded.route(ODD) for line in d.reasons)


def test_a_log_with_one_kind_of_query_has_nothing_to_hold_out():
    data = WHOLE.of_task("sums").subset(range(20))
    assert fit_router("fusion", data, "none").config.options["trust"] is None


def test_the_scaled_cost_falls_back_too(router):
    model, _ = router
    costs = model.predict(ODD).scaled["cost"]
    assert np.ptp(costs, axis=0).max() < 5e-3 and (np.diff(costs[0]) > 0).all()


def test_sparse_logs_learn_it_from_what_was_measured():
    holes = uneven(missing=0.7)
    _, slope = fit_router("fusion", holes, "none").config.options["trust"]
    assert slope > 0


def test_compare_and_autofuse_take_a_test_split_with_such_a_task(log, tmp_path):
    report = fusion_hf.compare(log, str(tmp_path / "report")).report
    best, per_task = report["systems"]["best single"], report["systems"]["best per task"]
    assert best["rewards"]["cost"]["reward"] is not None and set(best["by_task"]) == {"capitals", "code", "sums"}
    assert per_task["by_task"]["capitals"]["performance"] == best["by_task"]["capitals"]["performance"]
    assert any(note.startswith("Training never saw capitals") for note in report["notes"])
    fused = fusion_hf.autofuse(log, toy_pool(), str(tmp_path / "fused")).choice
    assert set(fused["tasks"]) == {"code", "sums"} and fused["test"]["queries"] == 90
    # On the task that it does not know it answers as on the one that it takes the query for.
    known = [entry["test"] for entry in fused["tasks"].values()]
    capitals = TEST.of_task("capitals").performance
    least, most = (f(capitals[:, :2].mean(0)) / 3 + sum(t["performance"] / 3 for t in known) for f in (min, max))
    assert least - 1e-9 <= fused["test"]["performance"] <= most + 1e-9
    assert any(note.startswith("Training never saw capitals") for note in fused["notes"])

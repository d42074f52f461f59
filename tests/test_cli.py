"""Every command: help with an example, and wrong input as one clear line with exit code 2."""

import json
import re

import numpy as np
import pytest
from conftest import make_rows

from fusion_hf.cli import VERBS, main
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    tables = {s: validate(rows_to_table(make_rows(60, split=s))) for s in ("train", "test")}
    return str(write_bench(tables, tmp_path_factory.mktemp("cli") / "bench"))


@pytest.fixture(scope="module")
def router(bench, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("cli") / "router")
    assert main(["train-router", bench, "--kind", "knn", "--encoder", "none", "--out", folder]) == 0
    return folder


def run(capsys, *argv):
    code = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", VERBS)
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert re.search(rf"example:\n\s+fusion-hf {name}\b", out)


def test_no_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


# A file of each wrong shape, and what the line must say.
WRONG = {
    "missing": (None, "nothing there|does not exist|no such"),
    "not json": ("{oops", "expected .*JSON"),
    "wrong keys": ('[{"prompt": "a", "llm": "b"}]', "expected .*question.*scores"),
    "empty": ("[]", "empty"),
    "out of range": ('[{"question": "a", "scores": {"x": 7.0}}]', "row 0, .*expected a score in 0..1, found 7.0"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("format", ["llmrouter", "routerdc"])
def test_import_names_what_is_wrong(format, name, tmp_path, capsys):
    text, message = WRONG[name]
    path = tmp_path / "train.json"
    if text is not None:
        path.write_text(text)
    code, _, err = run(capsys, "import", format, path, "--task", "gsm8k", "--split", "train", "--out", tmp_path / "b")
    assert code == 2 and err.count("\n") == 1 and err.startswith("fusion-hf import: ")
    assert re.search(message, err), err
    assert not (tmp_path / "b" / "data").exists()


def test_import_of_an_unknown_format_lists_the_known_ones(tmp_path, capsys):
    code, _, err = run(capsys, "import", "excel", tmp_path, "--out", tmp_path / "b")
    assert code == 2 and "routerbench" in err and "llmrouter" in err and err.count("\n") == 1


def test_nan_scores_are_counted_as_not_measured(tmp_path, capsys):
    rows = [{"question": f"q{i}", "scores": {"x": 1.0, "y": float("nan") if i < 3 else 0.5}} for i in range(8)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    code, _, _ = run(capsys, "import", "routerdc", tmp_path / "train.json", "--task", "t", "--split", "train",
                       "--out", tmp_path / "b", "--json", tmp_path / "r.json")  # fmt: skip
    assert code == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["splits"]["train"]["missing"] == 3
    assert result["read"] == result["kept"] + sum(result["dropped"].values())


def test_a_query_in_two_splits_is_counted(tmp_path, capsys):
    rows = [{"question": f"q{i}", "scores": {"x": 1.0, "y": 0.0}} for i in range(8)]
    for split, part in (("train", rows[:6]), ("test", rows[4:])):
        (tmp_path / "log.json").write_text(json.dumps(part))
        code, out, _ = run(capsys, "import", "routerdc", tmp_path / "log.json", "--task", "t", "--split", split,
                           "--out", tmp_path / "b", "--json", tmp_path / "r.json")  # fmt: skip
        assert code == 0
    assert json.loads((tmp_path / "r.json").read_text())["in_two_splits"] == {"train & test": 2}
    code, out, _ = run(capsys, "compare", tmp_path / "b", "--out", tmp_path / "report")
    assert code == 0 and "2 queries stand in both train and test" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train-router", "{none}", "--out", "{tmp}"], "nothing there"),
        (["train-router", "{bench}", "--kind", "oracle9", "--encoder", "none", "--out", "{tmp}"], "expected one of"),
        (["train-router", "{bench}", "--split", "partial_test", "--out", "{tmp}"], "has no split 'partial_test'"),
        (["eval-router", "{none}", "{bench}"], "router"),
        (["eval-router", "{bench}", "{bench}"], "router"),
        (["eval-router", "{router}", "{bench}", "--scenario", "cheap"], "expected one of .*performance"),
        (["cv-router", "{bench}", "--kind", "knn", "--encoder", "none", "--folds", "1"], "folds"),
        (
            ["cv-router", "{bench}", "--kind", "knn", "--option", "svm.epsilon=1"],
            "expected KIND.NAME of a compared",
        ),
        (["cv-router", "{bench}", "--kind", "svm", "--encoder", "none", "--option", "svm.wide=1"], "wide"),
        (["route", "{router}", "hi", "--scenario", "cheap"], "expected one of .*performance"),
        (["route", "{router}", "hi", "--candidates", "ant,dog"], "dog"),
        (["route", "{router}", "--file", "{none}"], "expected a file"),
        (["grade", "{none}"], "nothing there"),
        (["templates", "{none}", "--out", "{tmp}"], "nothing there"),
        (["templates", "{bench}", "--model", "x", "--out", "{tmp}"], "pool"),
        (["think", "{none}", "hi", "--model", "m"], "."),
        (["sft-data", "{none}", "--out", "{tmp}"], "nothing there"),
        (["sft-data", "{bench}", "--select", "judge", "--out", "{tmp}"], "judge"),
        (["collect", "--pool", "{none}", "--tasks", "gsm8k", "--out", "{tmp}"], "."),
        (["build", "{none}", "--split", "train", "--out", "{tmp}"], "nothing there"),
        (["compare", "{none}", "--out", "{tmp}"], "nothing there"),
        (["push", "{none}", "user/x"], "nothing there"),
    ],
)
def test_wrong_input_is_one_line(argv, message, bench, router, tmp_path, capsys):
    places = {"none": tmp_path / "none", "tmp": tmp_path / "out", "bench": bench, "router": router}
    code, _, err = run(capsys, *[a.format(**places) for a in argv])
    lines = [line for line in err.splitlines() if line.startswith("fusion-hf ")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in err, err
    assert re.search(message, lines[0]), lines[0]


def test_a_candidate_missing_in_half_of_the_rows_is_trained_with(tmp_path, capsys):
    rows = [r for i, r in enumerate(make_rows(60)) if not (r["llm"] == "cow" and i % 2)]
    write_bench({"train": validate(rows_to_table(rows))}, tmp_path / "b")
    for kind in ("knn", "linear", "fusion"):
        out = tmp_path / kind
        assert run(capsys, "train-router", tmp_path / "b", "--kind", kind, "--encoder", "none", "--out", out)[0] == 0
        code, out, _ = run(capsys, "route", out, "how many apples are 3 and 4?")
        assert code == 0 and out.startswith("ant\t")
    code, out, _ = run(capsys, "cv-router", tmp_path / "b", "--kind", "knn", "--encoder", "none", "--folds", "3")
    assert code == 0 and "nan" not in out.lower()


def test_eval_and_cv_write_figures(bench, router, tmp_path, capsys):
    file = tmp_path / "eval.json"
    assert run(capsys, "eval-router", router, bench, "--json", file)[0] == 0
    result = json.loads(file.read_text())
    assert result["queries"] == 60 and set(result["scenarios"]) == {"performance", "balance", "cost"}
    scenario = result["scenarios"]["performance"]
    assert {"reward", "performance", "cost_usd", "ci95", "by_task", "anchors"} <= set(scenario)
    assert set(scenario["anchors"]) == {"random", "cheapest", "best-single", "best-per-task", "oracle"}
    assert scenario["anchors"]["oracle"]["reward"] >= scenario["reward"] > scenario["anchors"]["random"]["reward"]
    file = tmp_path / "cv.json"
    argv = [
        "cv-router",
        bench,
        "--kind",
        "knn",
        "--kind",
        "linear",
        "--encoder",
        "none",
        "--folds",
        "3",
        "--json",
        file,
    ]
    assert run(capsys, *argv)[0] == 0
    kinds = json.loads(file.read_text())["kinds"]
    assert set(kinds) == {"knn", "linear"}
    assert {"reward", "se", "gap_recovered", "fit_seconds", "vs"} <= set(kinds["knn"])
    assert kinds["knn"]["vs"]["linear"]["difference"] == pytest.approx(-kinds["linear"]["vs"]["knn"]["difference"])


def test_route_reads_a_file_and_explains(router, tmp_path, capsys):
    (tmp_path / "q.txt").write_text("how many apples are 1 and 2?\nwho is it?\n")
    code, out, _ = run(capsys, "route", router, "--file", tmp_path / "q.txt", "--explain")
    picks = [line.split("\t")[0] for line in out.splitlines() if line.count("\t") == 1 and not line.startswith(" ")]
    assert code == 0 and picks[:1] == ["ant"] and "bee" in picks


def test_grade_counts_what_changed_and_writes_it(tmp_path, capsys):
    rows = make_rows(20, tasks=("gsm8k",))
    rows[0]["performance"] = 1.0 - rows[0]["performance"]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    code, _, _ = run(
        capsys, "grade", tmp_path / "log.jsonl", "--out", tmp_path / "g.parquet", "--json", tmp_path / "r.json"
    )
    assert code == 0
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "graded": 60, "changed": 1, "by_task": {"gsm8k": {"graded": 60, "changed": 1}},
    }  # fmt: skip
    assert np.isclose(read_log(tmp_path / "g.parquet")["performance"].to_numpy().mean(), (20 + 7) / 60)
    code, _, _ = run(capsys, "build", tmp_path / "g.parquet", "--split", "train", "--out", tmp_path / "b")
    assert code == 0 and read_log(tmp_path / "b", "train").num_rows == 60

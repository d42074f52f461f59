"""The functions of the commands that make, measure and ask routers: from any log, told in full, made again."""

import json

import numpy as np
import pytest
from test_cascade import SAID, rows_of
from test_cascade import TRAIN as TALK
from test_evaluate_routers import table_of
from toy_log import toy_data

import fusion_hf
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import write_bench
from fusion_hf.routers import load_router
from fusion_hf.routers.kinds.knn import KnnRouter, KnnRouterConfig
from fusion_hf.routers.measuring.cross_validation import cross_validate

TRAIN, TEST = toy_data(120, judge=True), toy_data(45, split="test", judge=True)
LOG = {"train": TRAIN, "test": TEST}


class NearRouterConfig(KnnRouterConfig):
    """A kind of one's own."""

    model_type = "fusion_hf-near"


class NearRouter(KnnRouter):
    """A kind of one's own."""

    config_class = NearRouterConfig


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log") / "bench"
    write_bench({s: table_of(d) for s, d in LOG.items()}, folder)
    return folder


def picks(router):
    return [d.candidate for d in router.route(TEST.queries, "balance")]


@pytest.mark.parametrize("kind, option", [("knn", {}), ("mlp", {"steps": 30}), ("pairwise", {"strong": "dog"})])
def test_a_router_is_made_again_from_what_its_checkpoint_says(kind, option, bench, tmp_path):
    made = fusion_hf.train_router(
        bench, kind, encoder="none", seed=3, task_labels=False, option=option, out=tmp_path / "one"
    )
    told = json.loads((tmp_path / "one" / "config.json").read_text())["training"]
    assert told["settings"]["seed"] == 3 and told["settings"]["split"] == "train" and told["settings"]["kind"] == kind
    assert set(told["settings"]["option"]) == set(type(made.router).option_defaults()) >= set(option)
    assert told["log"] == {
        "fingerprint": TRAIN.fingerprint(), "queries": 120, "candidates": 3, "scored": 360, "llms": False,
        "answers": False,
    }  # fmt: skip
    assert told["versions"]["fusion_hf"] == fusion_hf.__version__ and {"torch", "transformers"} <= set(told["versions"])
    again = fusion_hf.train_router(bench, **load_router(tmp_path / "one").config.training["settings"])
    assert picks(again.router) == picks(made.router)
    np.testing.assert_array_equal(again.router.predict(TEST.queries).performance,
                                  made.router.predict(TEST.queries).performance)  # fmt: skip
    from fusion_hf.routers.card import write_router_card

    write_router_card(tmp_path / "one")
    card = (tmp_path / "one" / "README.md").read_text()
    assert "--seed 3" in card and told["log"]["fingerprint"] in card and f"fusion_hf {fusion_hf.__version__}" in card


def test_the_fingerprint_is_of_the_content_and_not_of_its_order():
    shuffled = TRAIN.subset(np.random.default_rng(0).permutation(120)).select(["dog", "bee", "cat"])
    assert shuffled.fingerprint() == TRAIN.fingerprint() != TEST.fingerprint()
    other = TRAIN.performance.copy()
    other[7, 1] = np.nan
    assert type(TRAIN)(**{**vars(TRAIN), "performance": other}).fingerprint() != TRAIN.fingerprint()


def test_any_form_of_a_log_and_a_class_of_ones_own(bench, tmp_path):
    table = table_of(TRAIN)
    forms = [bench, str(bench), table, TRAIN, {"train": table}, LOG, fusion_hf.Log(bench)]
    made = [fusion_hf.train_router(log, NearRouter, encoder="none").router for log in forms]
    assert all(picks(router) == picks(made[0]) for router in made)
    made[0].save_pretrained(tmp_path / "near")
    assert type(load_router(tmp_path / "near")) is NearRouter
    found = fusion_hf.cv_router(TRAIN, kind=[NearRouter, "knn"], encoder="none", folds=2)
    assert list(found.kinds) == ["near", "knn"] and found.kinds["near"]["reward"] == found.kinds["knn"]["reward"]
    for wrong in (dict, int, 3):
        with pytest.raises(UserError, match="expected a"):
            fusion_hf.train_router(TRAIN, wrong, encoder="none")


def test_results_are_tables_too():
    found = fusion_hf.eval_router(fusion_hf.train_router(TRAIN, "knn", encoder="none").router, LOG)
    rows = found.to_pandas()
    assert set(rows.columns) == {"scenario", "choice", "reward", "performance", "cost_usd", "queries"}
    assert rows[rows.choice == "router"].queries.tolist() == [45] * 4 and not found.in_sample
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["split"] == "test"
    decided = fusion_hf.route(fusion_hf.train_router(TRAIN, "knn", encoder="none").router, TEST.queries[:3])
    assert decided.to_pandas().candidate.tolist() == [d.candidate for d in decided.decisions]


def test_the_training_split_is_said_to_be_in_sample(bench, tmp_path, capsys):
    fusion_hf.train_router(bench, "knn", encoder="none", out=tmp_path / "router")
    run = ["eval-router", str(tmp_path / "router"), str(bench), "--scenario", "performance", "--split"]
    assert main([*run, "train"]) == 0 and "In-sample: the router was trained on this split" in capsys.readouterr().out
    assert main([*run, "test"]) == 0 and "In-sample" not in capsys.readouterr().out
    renamed = {"train": TEST, "test": TRAIN}  # the same queries by another name
    assert fusion_hf.eval_router(tmp_path / "router", renamed).in_sample


def sparse(each):
    """A log in which every query has so many answers."""
    rng = np.random.default_rng(0)
    data = toy_data(240)
    gone = np.argsort(rng.random((240, 3)), 1) >= each
    performance = np.where(gone, np.nan, data.performance)
    return type(data)(**{**vars(data), "performance": performance, "cost": np.where(gone, np.nan, data.cost)})


@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("scenario", ["performance", "balance"])
def test_figures_of_a_line_stand_on_the_same_queries(each, scenario):
    """With one or two answers a query an oracle stood below the best single one, and 513 % of a gap came back."""
    found = fusion_hf.cv_router(sparse(each), kind=["fusion", "knn"], encoder="none", folds=3, scenario=scenario)
    anchors = found.anchors
    assert anchors["oracle"]["queries"] == anchors["best-single"]["queries"] < found.queries == 240
    assert anchors["oracle"]["reward"] >= anchors["best-single"]["reward"]
    for line in found.kinds.values():
        assert line["queries"] <= anchors["best-single"]["queries"]
        assert line["gap_recovered"] is None or line["gap_recovered"] <= 1 + 1e-9
        if line["queries"]:
            assert line["oracle"] >= max(line["reward"], line["best_single"]) - 1e-9
        if each == 1:  # whoever chooses otherwise than the best single was not measured where that was
            assert line["gap_recovered"] is None
    text = str(found)
    assert "The log lacks answers" in text and "513" not in text
    router = fusion_hf.train_router(sparse(each), "knn", encoder="none").router
    measured = fusion_hf.eval_router(router, {"train": sparse(each), "test": sparse(each)}, scenario=scenario)
    figures = measured.scenarios[scenario]
    assert figures["anchors"]["oracle"]["reward"] >= figures["anchors"]["best-single"]["reward"]
    assert measured.aiq is None and measured.frontier_queries == 0  # no query has every answer


def test_a_cascade_is_cross_validated_with_its_answers():
    table = rows_of(TALK, SAID, "train")
    data = RoutingData.from_table(table)
    found = fusion_hf.cv_router(table, kind=["cascade", "fusion"], encoder="none", folds=2)
    blind = cross_validate(data, ["cascade", "fusion"], folds=2, encoder="none", progress=False)
    assert blind["kinds"]["cascade"]["reward"] == blind["kinds"]["fusion"]["reward"]  # without answers it is `fusion`
    assert found.kinds["fusion"]["reward"] == pytest.approx(blind["kinds"]["fusion"]["reward"])
    assert found.kinds["cascade"]["reward"] > found.kinds["fusion"]["reward"] + 0.01


def test_nothing_is_ignored_in_silence(tmp_path, capsys, monkeypatch):
    router = fusion_hf.train_router(TRAIN, "knn", encoder="none", out=tmp_path / "router").router
    (tmp_path / "q.txt").write_text(f"{TEST.queries[0]}\n\n")
    for options, message in (
        ({"query": "hi", "scenario": "cost", "alpha": 1.0}, "expected a scenario or alpha and beta, found both"),
        ({"query": ["hi", " "]}, "query 2 is empty"),
        ({"query": "hi", "file": tmp_path / "q.txt"}, "expected queries or a file of queries, found both"),
        ({}, "expected at least one query, found none"),
        ({"file": tmp_path / "none.txt"}, "none.txt: expected a file with a query a line"),
    ):
        with pytest.raises(UserError, match=message):
            fusion_hf.route(router, **options)
    run = ["route", str(tmp_path / "router")]
    for words in (["hi", "--scenario", "cost", "--beta", "1"], [""], ["hi", "--file", str(tmp_path / "q.txt")]):
        assert main([*run, *words]) == 2 and capsys.readouterr().err.count("\n") == 1
    assert main([*run, "--file", str(tmp_path / "q.txt")]) == 0
    assert fusion_hf.route(router, "hi", beta=1.0).decisions[0].candidate == "bee"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.md").write_text("mine")
    for verb in (
        lambda: fusion_hf.train_router(TRAIN, "knn", encoder="none", out=tmp_path / "thesis"),
        lambda: fusion_hf.remove_llm(router, llm="bee", out=tmp_path / "thesis"),
        lambda: fusion_hf.calibrate(router, LOG, max_cost=1.0, out=tmp_path / "thesis"),
    ):
        with pytest.raises(UserError, match="is not empty, and fusion_hf did not make it"):
            verb()
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["thesis.md"]


def test_a_router_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    fusion_hf.train_router(TRAIN, "knn", encoder="none", out=tmp_path / "router")
    before = {p.name: p.read_bytes() for p in (tmp_path / "router").iterdir()}
    (tmp_path / "router" / "notes.txt").write_text("mine")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fusion_hf.routers.base.save_code", fail)
    with pytest.raises(KeyboardInterrupt):
        fusion_hf.train_router(TEST, "mlp", encoder="none", option={"steps": 5}, out=tmp_path / "router")
    assert {p.name: p.read_bytes() for p in (tmp_path / "router").iterdir() if p.name != "notes.txt"} == before
    monkeypatch.undo()
    fusion_hf.train_router(TEST, "cheapest", encoder="none", out=tmp_path / "router")
    assert load_router(tmp_path / "router").config.model_type == "fusion_hf-cheapest"
    assert (tmp_path / "router" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "router" / "knn.py").exists()

"""Formats of other benchmarks: read back, or worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import make_rows

from fusion_hf.cli import main
from fusion_hf.comparison import Splits, gather
from fusion_hf.comparison.scores import arena_score, router_scores
from fusion_hf.comparison.verbs import export
from fusion_hf.errors import UserError
from fusion_hf.logs import importers
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.files import write_file
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers import fit_router, load_router


def make_bench(folder, change=lambda row: row, tasks=("gsm8k", "squad")):
    parts = {s: [change(r) for r in make_rows(24, tasks=tasks, split=s)] for s in ("train", "partial_test", "test")}
    return write_bench({s: validate(rows_to_table(rows)) for s, rows in parts.items()}, folder)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return make_bench(tmp_path_factory.mktemp("export") / "bench")


@pytest.fixture(scope="module")
def router(bench):
    data = RoutingData.from_table(read_log(bench, "train"))
    fit_router("fusion", data, encoder="none").save_pretrained(bench.parent / "router")
    return bench.parent / "router"


def hard(row):
    """Values and texts that a format may spoil: long fractions, a missing score and cost, brackets, quotes, lines."""
    seed = int(row["query_id"], 16) % 997
    first = row["source_id"] == "0"
    return row | {
        "performance": None if first and row["llm"] == "bee" else (seed / 997) ** 2,
        "cost": None if row["llm"] == "cow" else seed / 997e4 / 3,
        "query": f'["{row["query"]}", \'x\'], é\n| "y"',
        "response": None if first else f"['{seed}'] said\r\nhe, \"so\"",
    }


@pytest.mark.parametrize("split", ["test", "train"])
def test_routerbench_is_read_back_with_equal_scores_costs_and_texts(tmp_path, split):
    bench = make_bench(tmp_path / "bench", hard)
    assert export("routerbench", bench, tmp_path / f"{split}.csv", split=split).rows == 24
    [(found, table)] = importers.read("routerbench", tmp_path / f"{split}.csv").tables.items()
    before, after = RoutingData.from_table(read_log(bench, split)), RoutingData.from_table(table)
    assert found == split and after.candidates == before.candidates
    order = [after.query_ids.index(q) for q in _ids_as_imported(before, bench, split)]
    after = after.subset(order)
    assert after.queries == before.queries and after.tasks == before.tasks
    np.testing.assert_array_equal(after.performance, before.performance)
    np.testing.assert_allclose(after.cost, before.cost, rtol=1e-15)
    texts = {(r["query"], r["llm"]): r["response"] for r in read_log(bench, split).to_pylist()}
    assert {(r["query"], r["llm"]): r["response"] for r in table.to_pylist()} == texts


def _ids_as_imported(data, bench, split):
    """An id is a hash of task, source id and text; these rows carry that of another text."""
    from fusion_hf.logs.schema import query_id

    source = {r["query_id"]: r["source_id"] for r in read_log(bench, split).to_pylist()}
    return [query_id(t, source[i], q) for t, i, q in zip(data.tasks, data.query_ids, data.queries, strict=True)]


def test_routerbench_names_the_cheapest_right_model_and_nobody_where_none_is(tmp_path):
    def change(row):
        return row | {"performance": 0.0} if row["source_id"] == "3" else row

    export("routerbench", make_bench(tmp_path / "bench", change), tmp_path / "wide.csv")
    table = pd.read_csv(tmp_path / "wide.csv").set_index("sample_id")
    assert list(table.columns[:5]) == ["prompt", "eval_name", "ant", "bee", "cow"]
    assert list(table.columns[-4:]) == [*(f"{m}|total_cost" for m in ("ant", "bee", "cow")), "oracle_model_to_route_to"]
    best = table["oracle_model_to_route_to"]
    assert best[0] == "ant" and best[1] == "bee" and best[3] == "no_model_correct"  # cow is right on 0 too, and dear


def test_routerbench_takes_the_candidates_of_other_logs_along(bench, tmp_path):
    rows = [
        r | {"llm": "ant+sft", "performance": 0.5} for r in read_log(bench, "test").to_pylist() if r["llm"] == "ant"
    ]
    write_file(validate(rows_to_table(rows)), tmp_path / "log.parquet")
    export("routerbench", bench, tmp_path / "wide.csv", models={"model": tmp_path / "log.parquet"})
    assert (pd.read_csv(tmp_path / "wide.csv")["ant+sft"] == 0.5).all()


def test_the_prediction_file_of_routerarena(bench, router, tmp_path):
    out = tmp_path / "my-router.json"
    export("routerarena", bench, out, {"r": router}, system="r (balance)")
    rows, splits = json.loads(out.read_text()), Splits.read(bench)
    assert [r["prediction"] for r in rows] == [
        d.candidate for d in load_router(router).route(splits.test.queries, scenario="balance")
    ]
    keys = {"global index", "prompt", "prediction", "generated_result", "cost", "accuracy"}
    assert all(set(r) == keys for r in rows) and len({r["global index"] for r in rows}) == 24
    assert [r["prompt"] for r in rows] == splits.test.queries
    logged = {(r["query"], r["llm"]): r for r in read_log(bench, "test").to_pylist()}
    for r in rows:
        row = logged[r["prompt"], r["prediction"]]
        assert (r["cost"], r["accuracy"]) == (row["cost"], row["performance"])
        assert r["generated_result"] == {
            "generated_answer": row["response"], "success": True,
            "token_usage": {"input_tokens": None, "output_tokens": None, "total_tokens": None},
        }  # fmt: skip
    config = json.loads((tmp_path / "my-router.config.json").read_text())["pipeline_params"]
    assert config == {"router_name": "my-router", "models": sorted({r["prediction"] for r in rows})}


def test_a_prediction_without_score_cost_or_answer_is_null(tmp_path):
    nothing = {"performance": None, "cost": None, "response": None}
    bench = make_bench(tmp_path / "bench", lambda r: r | nothing if (r["source_id"], r["llm"]) == ("0", "ant") else r)
    export("routerarena", bench, tmp_path / "p.json", system="ant")
    [row] = [r for r in json.loads((tmp_path / "p.json").read_text()) if r["generated_result"] is None]
    assert row["prediction"] == "ant" and row["cost"] is None and row["accuracy"] is None


def test_two_tasks_with_one_source_id_get_different_global_indices(tmp_path):
    bench = make_bench(tmp_path / "bench", lambda r: r | {"source_id": str(int(r["source_id"]) // 2)})
    export("routerarena", bench, tmp_path / "p.json", system="ant")
    found = {r["global index"] for r in json.loads((tmp_path / "p.json").read_text())}
    assert len(found) == 24 and {"gsm8k_0", "squad_0"} <= found


def test_figures_of_llmrouterbench_by_hand(bench, router):
    """Of 24 test queries ant is right on the 12 of gsm8k, bee on the 12 of squad, cow on 8; best single is ant."""
    systems, splits, _ = gather(bench, {"r": router})
    scores = router_scores(systems, splits)
    ant, best, random = (scores[n]["average"] for n in ("ant", "best per task", "random"))
    assert random["accuracy"] == pytest.approx(4 / 9) and ant["accuracy"] == 0.5 and best["accuracy"] == 1.0
    assert ant["gain_at_r"] == pytest.approx(0.5 / (4 / 9) - 1) and best["gain_at_b"] == pytest.approx(1.0)
    assert ant["gap_at_o"] == pytest.approx(0.5) and best["gap_at_o"] == pytest.approx(0)
    assert (ant["cost_save"], ant["perf_gain"]) == (0.0, 0.0)
    routed = scores["r (performance)"]["average"]
    assert routed["perf_gain"] == pytest.approx(1.0) and routed["cost_save"] == pytest.approx(0.0, abs=1e-9)
    squad = scores["ant"]["squad"]
    assert squad["gain_at_b"] is None and squad["perf_gain"] is None  # best single scores nothing there
    assert squad["gap_at_o"] == 1.0 and scores["ant"]["gsm8k"]["optimal_selection"] == 1.0
    assert scores["best per task"]["average"]["optimal_selection"] == 1.0 and squad["optimal_selection"] == 0.0
    assert scores["random"]["average"]["optimal_selection"] is None


def test_operating_points_save_what_no_scenario_saves(tmp_path):
    """gpt is a little better and a thousand times as dear; only some price in between keeps its accuracy for less."""
    rows = {}
    for split in ("train", "test"):
        rows[split] = make_rows(200, llms=("cheap", "gpt"), tasks=("gsm8k", "squad"), split=split)
        for row in rows[split]:
            easy = row["task"] == "gsm8k"
            row["performance"] = 1.0 if row["llm"] == "gpt" or easy else 0.0
            row["cost"] = 1e-2 if row["llm"] == "gpt" else 1e-5
    bench = write_bench({s: validate(rows_to_table(r)) for s, r in rows.items()}, tmp_path / "bench")
    fit_router("fusion", RoutingData.from_table(read_log(bench, "train")), encoder="none").save_pretrained(
        tmp_path / "router"
    )
    systems, splits, _ = gather(bench, [str(tmp_path / "router")])
    found = router_scores(systems, splits)["router (performance)"]["average"]
    assert found["accuracy"] == 1.0 and found["cost_save"] == pytest.approx(1 - (1e-2 + 1e-5) / 2 / 1e-2)


def test_the_score_of_routerarena():
    assert arena_score(0.8, 0.0044) == pytest.approx(1.1 * 0.8 / (0.1 * 0.8 + 1))
    assert arena_score(0.8, 1e-9) == arena_score(0.8, 0.0044)  # cheaper than the cheapest is as good
    assert arena_score(0.8, 200.0) == arena_score(0.8, 900.0) == 0.0
    middle = (0.0044 * 200) ** 0.5  # half of the way on the logarithmic scale
    assert arena_score(0.6, middle) == pytest.approx(1.1 * 0.6 * 0.5 / (0.1 * 0.6 + 0.5))
    assert arena_score(0.6, float("nan")) is None


def test_the_command_writes_the_file_and_the_figures(bench, router, tmp_path, capsys):
    argv = ["export", "llmrouterbench", str(bench), "--routers", str(router), "--out", str(tmp_path / "x.json")]
    assert main([*argv, "--json", str(tmp_path / "f.json")]) == 0
    assert "router (cost): accuracy" in capsys.readouterr().out
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads((tmp_path / "f.json").read_text())


@pytest.mark.parametrize(
    ("form", "more", "message"),
    [
        ("csv", {}, "unknown format 'csv': expected one of routerarena, routerbench, llmrouterbench"),
        ("routerarena", {}, "system: expected the name of one system, found none"),
        ("routerarena", {"system": "random"}, "system: 'random': expected a system that asks one candidate"),
    ],
)
def test_wrong_input_is_named(bench, tmp_path, form, more, message):
    with pytest.raises(UserError, match=message):
        export(form, bench, tmp_path / "x", **more)

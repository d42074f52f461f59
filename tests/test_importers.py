"""Importers: the published files, small ones in the same formats, and wrong input."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_importer_contract import law

from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.importers import FORMATS, read
from fusion_hf.logs.verbs import import_log

DATA = Path(__file__).parents[2] / "shared" / "data"


def needs(name):
    if not (DATA / name).exists():
        pytest.skip(f"needs ../shared/data/{name}, which is absent")
    return DATA / name


def scores(n=3, llms=("ant", "bee")):
    return [{"question": f"q{i}", "scores": {llm: (i + k) % 2 / 1 for k, llm in enumerate(llms)}} for i in range(n)]


def put(path, rows, gz=False):
    text = rows if isinstance(rows, str) else json.dumps(rows)
    path.write_bytes(gzip.compress(text.encode()) if gz else text.encode())
    return path


def bench_csv(path, rows=3, **more):
    """A file in RouterBench's format: two LLMs, `rows` queries; `more` replaces columns."""
    frame = pd.DataFrame(
        {
            "sample_id": [f"s.{i}" for i in range(rows)],
            "prompt": [f"['What is {i}?']" for i in range(rows)],
            "org/ant": [1.0] * rows,
            "bee": [0.0] * rows,
            "org/ant|model_response": ["['yes']"] * rows,
            "bee|model_response": ['["it\'s no"]'] * rows,
            "org/ant|total_cost": [0.5] * rows,
            "bee|total_cost": [0.25] * rows,
        }
    )
    for name, values in more.items():
        frame[name.replace("ant", "org/ant")] = values
    frame.to_csv(path, index=False)
    return path


def test_formats_are_found_and_described():
    names = "fusionbench routerdc llmrouter routerbench routellm alpaca-eval gsm8k-solutions llmrouterbench jsonl"
    names += " csv openai-log litellm langfuse"
    assert set(names.split()) == set(FORMATS)


@pytest.mark.parametrize("gz", [False, True])
def test_routerdc(tmp_path, gz):
    end = ".json.gz" if gz else ".json"
    put(tmp_path / f"gsm8k-train{end}", scores(3), gz)
    put(tmp_path / f"gsm8k-test{end}", scores(2), gz)
    put(tmp_path / f"my_task_train{end}", [{"question": "q0", "scores": {"ant": 0.5}}], gz)
    result = read("routerdc", tmp_path)
    law(result)
    assert {s: t.num_rows for s, t in result.tables.items()} == {"test": 4, "train": 7}
    assert set(result.tables["train"]["task"].to_pylist()) == {"gsm8k", "my_task"}
    table = read("routerdc", tmp_path / f"gsm8k-test{end}", task="other").tables["test"]
    assert set(table["task"].to_pylist()) == {"other"} and table["cost"].null_count == 4
    data = RoutingData.from_table(table)
    assert np.array_equal(data.performance, [[0, 1], [1, 0]]) and data.candidates == ["ant", "bee"]


def test_llmrouter_joins_tasks_and_gold_answers(tmp_path):
    put(tmp_path / "train.json", [{"question": q, "scores": {"ant": 1.0}} for q in ("a", "b", "c", "def f(x):\n", "e")])
    rows = [
        {"query": "a", "task_name": "mmlu", "metric": "em_mc", "ground_truth": "2", "choices": "{'label': ['1', '2']}"},
        {"query": "b", "task_name": "gsm8k", "metric": "GSM8K", "ground_truth": "6 is 6\n#### 6"},
        {"query": "c", "task_name": "math", "metric": "MATH", "ground_truth": "so \\boxed{\\frac{1}{2}}"},
        {"query": "c", "task_name": "mmlu", "metric": "em_mc", "ground_truth": "A"},
        {
            "query": "def f(x):\n",
            "task_name": "human_eval",
            "metric": "code_eval",
            "ground_truth": "def check(c): pass",
        },
    ]
    put(tmp_path / "queries_train.jsonl", "\n".join(map(json.dumps, rows)))
    put(tmp_path / "llms.json", {"ant": {"size": "7B", "input_price": 0.2, "output_price": 0.3, "feature": "small"}})
    result = read("llmrouter", tmp_path)
    law(result)
    found = result.table.to_pylist()
    assert [r["task"] for r in found] == ["mmlu", "gsm8k", "math", "human_eval", "unknown"]
    assert [r["ground_truth"] for r in found[:3]] == [["(B)"], ["6"], ["\\frac{1}{2}"]]
    assert json.loads(found[3]["ground_truth"][0])["entry_point"] == "f"
    assert [r["metric"] for r in found] == ["em_mc", "gsm8k", "math", "code_eval", "publisher"]
    assert result.llms[0]["name"] == "ant" and result.llms[0]["input_price"] == 0.2
    assert list(result.notes.values())[:1] == [1]  # the query that stands twice
    alone = put(tmp_path / "sub.json", scores(2))
    (tmp_path / "alone").mkdir()
    alone = alone.rename(tmp_path / "alone" / "train.json")
    assert set(read("llmrouter", alone).table["task"].to_pylist()) == {"unknown"}
    assert set(read("llmrouter", alone.parent, task="x").table["task"].to_pylist()) == {"x"}


def test_repeated_questions_are_dropped_and_counted(tmp_path):
    result = read("routerdc", put(tmp_path / "t_train.json", [*scores(2), *scores(1)]))
    law(result)
    assert result.kept == 4 and list(result.dropped.values()) == [2]


def test_routerbench(tmp_path):
    bench_csv(tmp_path / "arc_challenge_train.csv")
    bench_csv(tmp_path / "arc_challenge_test.csv", rows=2, ant=[None, 1.0], prompt=["['x', 'y']", "plain"])
    result = read("routerbench", tmp_path)
    law(result)
    assert {s: t.num_rows for s, t in result.tables.items()} == {"test": 4, "train": 6}
    assert result.notes["cells without a score"] == 1 and result.notes["queries with every score (test)"] == 1
    test = result.tables["test"]
    assert set(test["query"].to_pylist()) == {"x\n\ny", "plain"}
    assert set(test["response"].to_pylist()) == {"yes", "it's no"} and set(test["cost"].to_pylist()) == {0.5, 0.25}
    data = RoutingData.from_table(test)
    assert data.candidates == ["bee", "org/ant"] and np.isnan(data.performance[0, 1]) and data.cost[0, 1] == 0.5
    assert test["grader"].null_count == 1  # a cell that nobody scored names no grader


def test_jsonl(tmp_path):
    rows = [
        {"prompt": "q", "model": "ant", "response": "r", "gold": "g", "cost": 0.1, "task": "t"},
        {"query": "q", "llm": "ant_think", "score": 1, "task": "t"},
        {"query": "q", "llm": "ant_think", "score": 0, "task": "t"},
        {"query": "q", "llm": "bee", "task": "t"},
        {"query": "q", "llm": "cow", "score": True},
    ]
    result = read("jsonl", put(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows))))
    law(result)
    found = result.table.to_pylist()
    assert [(r["llm"], r["mode"]) for r in found] == [("ant", "direct"), ("ant", "think"), ("cow", "direct")]
    assert found[0]["performance"] is None and found[0]["ground_truth"] == ["g"] and found[2]["performance"] == 1.0
    assert result.kept == 3 and sum(result.dropped.values()) == 2


@pytest.mark.parametrize(
    ("format", "name", "content", "says"),
    [
        ("routerdc", "a_train.json", "[]", "empty"),
        ("routerdc", "a_train.json", "", "empty"),
        ("routerdc", "a_train.json", "{", "expected JSON"),
        ("routerdc", "a_train.json", '{"a": 1}', "found dict"),
        ("routerdc", "a_train.json", '[{"query": "a", "score": 1}]', "expected keys question.*found query, score"),
        ("routerdc", "a_train.json", "[5]", "row 0.*found int"),
        (
            "routerdc",
            "a_train.json",
            '[{"question": "a", "scores": {"ant": 1.5}}]',
            "row 0, LLM 'ant'.*0..1, found 1.5",
        ),
        ("routerdc", "a_train.json", '[{"question": "a", "scores": {"ant": "x"}}]', "row 0, LLM 'ant'.*found 'x'"),
        ("routerdc", "a_train.json.gz", "[]", "expected a gzip file"),
        ("routerdc", "train.json", '[{"question": "a", "scores": {"ant": 1}}]', "holds no task"),
        ("routerdc", "a_train.json", b"\xff\xfe\x00", "UTF-8"),
        ("routerdc", "a.txt.json", b"\x1f\x8bnot gzip", "cannot be read"),
        ("llmrouter", "llms.json", "{}", "expected a score list"),
        ("routerbench", "a_train.csv", "x,y\n1,2\n", "expected columns prompt"),
        ("routerbench", "a_train.csv", "", "expected CSV"),
        ("routerbench", "a_train.csv", "prompt,a,a|total_cost\n", "empty"),
        ("routerbench", "a_train.csv", "prompt,a,a|total_cost\nq,2,1\n", "row 0, column 'a'.*0..1, found 2"),
        ("routerbench", "a_train.csv", "prompt,a,a|total_cost\nq,x,1\n", "row 0, column 'a'.*a number, found 'x'"),
        ("routerbench", "a_train.csv", "prompt,a,a|total_cost\nq,1,-1\n", "row 0.*a cost in USD, found -1"),
        ("jsonl", "a.jsonl", "[1]", "line 1: expected a JSON object, found list"),
        ("jsonl", "a.jsonl", "{", "line 1"),
        ("jsonl", "a.jsonl", '{"a": 1}', "line 1: expected a text 'query', found keys a"),
        ("jsonl", "a.jsonl", '{"query": "a", "llm": "b", "score": -1}', "line 1.*0..1, found -1"),
        ("jsonl", "a.jsonl", "", "empty"),
        ("nothing", "a.jsonl", "", "unknown format 'nothing': expected one of"),
    ],
)
def test_wrong_input_gives_one_line(tmp_path, format, name, content, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=says) as error:
        read(format, tmp_path if name == "llms.json" else tmp_path / name)
    assert "\n" not in str(error.value).strip()


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_cell_that_is_not_a_number_was_not_measured(tmp_path, value):
    rows = [{"question": "q", "scores": {"ant": value, "bee": 1}}]
    result = read("routerdc", put(tmp_path / "t_train.json", rows))
    assert result.table["performance"].to_pylist() == [None, 1.0] and result.notes["cells without a score"] == 1


def test_the_published_fusionbench_slice():
    result = read("llmrouter", needs("fusionbench_slice"))
    law(result)
    data = RoutingData.from_table(result.tables["train"])
    assert (len(data), len(data.candidates), len(set(data.tasks))) == (5608, 9, 14)
    assert not data.missing.any() and np.isnan(data.cost).all()
    assert len(result.llms) >= 9 and set(data.candidates) <= {llm["name"] for llm in result.llms}


def test_the_published_routerbench():
    result = read("routerbench", needs("routerbench"))
    law(result)
    assert result.notes["queries with every score (train)"] == 2205
    assert result.notes["queries with every score (test)"] == 945
    data = RoutingData.from_table(result.tables["train"])
    assert len(data) == 2225 and len(data.candidates) == 11 and not np.isnan(data.cost).any()
    assert data.missing.sum() + RoutingData.from_table(result.tables["test"]).missing.sum() == 154


@pytest.mark.parametrize(
    "cell", ["None", "null", "NA", "N/A", "nan", "NULL", "#N/A", "-", "5", "007", "1e3", "True", ""]
)
@pytest.mark.parametrize("column", ["prompt", "m|model_response"])
def test_a_text_that_pandas_would_guess_at_stays_what_it_is(tmp_path, column, cell):
    cells = {"prompt": "q", "m": "1.0", "m|total_cost": "0.5", "m|model_response": "a"} | {column: cell}
    (tmp_path / "x_test.csv").write_text(",".join(cells) + "\n" + ",".join(cells.values()) + "\n", encoding="utf-8")
    row = read("routerbench", tmp_path / "x_test.csv").table.to_pylist()[0]
    found = row["query"] if column == "prompt" else row["response"]
    assert found == (cell or ("" if column == "prompt" else None))
    assert row["performance"] == 1.0 and row["cost"] == 0.5


@pytest.mark.parametrize(
    "name",
    [
        "default",
        "all",
        "llms",
        "tasks",
        "thought_templates",
        "a[b]",
        "a/b",
        "$HOME",
        "..",
        "a ",
        "a\tb",
        "x" * 101,
        " ",
    ],
)
def test_a_task_name_that_breaks_the_repository_is_refused_before_anything_is_written(tmp_path, name):
    (tmp_path / "log.jsonl").write_text('{"query": "q", "llm": "a", "response": "b"}\n')
    with pytest.raises(UserError, match="cannot be a dataset config") as error:
        import_log("jsonl", tmp_path / "log.jsonl", tmp_path / "out", task=name)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_line_separator_inside_a_text_splits_no_row(tmp_path, mark):
    row = {"query": f"one{mark}two", "llm": "a", "response": f"b{mark}c", "task": "t"}
    (tmp_path / "log.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    table = read("jsonl", tmp_path / "log.jsonl").table
    assert table.num_rows == 1 and table["response"].to_pylist() == [row["response"]]

"""Importers of public logs with answers: FusionBench as published, RouteLLM, AlpacaEval, GSM8K, LLMRouterBench."""

import csv
import gzip
import json
import os
import subprocess
import sys

import hub_double
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_importer_contract import law
from test_importers import needs, put

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.importers import read

PRICES = {"ant": (0.2, 0.2), "deepseek-r1": (3.0, 7.0)}


def published(task, query, thought, gold, metric, performance, response, task_id=None):
    """The rows of one query as the authors' script writes them: direct and think in turn, embeddings on the first."""
    rows = []
    for llm, (into, out) in PRICES.items():
        for mode, asked in (("", query), ("_think", thought)):
            tokens = (10, 100 + len(mode))
            rows.append(
                {
                    "task_name": task, "task_id": task_id, "task_description": "d",
                    "task_description_embedding": "tensor([[0.1,\n ..., 0.2]])" if not rows else "",
                    "query": asked, "query_embedding": "tensor([[0.3]])" if not rows else "", "ground_truth": gold,
                    "metric": metric, "llm": llm + mode, "input_price": into, "output_price": out,
                    "input_tokens_num": tokens[0], "output_tokens_num": tokens[1], "performance": performance,
                    "cost": tokens[0] * into + tokens[1] * out, "response": response,
                    "llm_description": f"{llm}, an LLM", "llm_judge": 0.8,
                }
            )  # fmt: skip
    return rows


def published_rows():
    """Six tasks with the spacing of the published prompts: the think prompt is not the direct one plus a suffix."""
    question = "\n        Question: {}\n        "
    stub = 'def has(x):\n    """Is it?"""\n'
    wrapped = (
        f"You are an expert Python programmer. Complete the following function:\n\n                {stub}\n\n"
        "                Implement the function body only. Do not repeat it."
    )
    rows = []
    for i in range(3):
        ask = question.format(f"g{i}")
        rows += published(
            "gsm8k", ask, f"{ask}Let's think step by step\n        ", "so\n#### 1,234", "GSM8K", 1, "1234"
        )
    context = " Use.\n{0}## Context:\n{0}it is\n{0}"
    rows += published(
        "boolq", context.format(" " * 16), context.format(" " * 24) + "\nLet's think step by step.\n   ", "True", "cem",
        0.0, "False",
    )  # fmt: skip
    options = "Which?\n(1) x\n(2) y"
    rows += published("arc_challenge", options, f"{options}\n\nLet's think step by step", "2", "em_mc", 1.0, "(2)")
    rows += published(
        "math", "M?", "M?\nLet's think step by step", "is \\boxed{\\frac12}", "MATH", 1, "\\boxed{\\frac12}" * 2
    )
    tests = ["assert f(1) == 2", "assert f(2) == 3"]
    code = "[BEGIN] def f(x): return x + 1 [Done]"
    rows += published(
        "mbpp", "f?", "f?\nLet's think step by step.", tests, "code_eval", {"pass@1": np.float64(1.0)}, code, 600
    )
    rows += published(
        "human_eval", wrapped, f"{wrapped}\nLet's think step by step.",
        "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1)\n", "code_eval", {"pass@1": 0.0},
        "[BEGIN] return True [Done]", "HumanEval/3",
    )  # fmt: skip
    rows += published(
        "gpqa", "G?\n(A) a\n(B) b", "G?\n(A) a\n(B) b\nLet's think step by step.", "A", "em_mc", 0.0, "(B)"
    )
    for name in ("performance", "cost", "response", "input_tokens_num", "output_tokens_num", "input_price"):
        rows[5][name] = ""
    rows[6] |= {"llm_judge": 0.0}
    rows[7] |= {"llm_judge": None}
    return rows


def write_csv(rows, path):
    """With the options of the authors' script."""
    pd.DataFrame(rows).to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL, escapechar="\\")
    return path


def check_published(result):
    law(result)
    assert result.read == 36 and result.dropped == {"no response (its request failed)": 1}
    (table,) = result.tables.values()
    data = RoutingData.from_table(table)
    assert data.candidates == ["ant", "ant_think", "deepseek-r1", "deepseek-r1_think"]
    # Matched by text and never by place: nine queries, and the one cell that was lost is the only one that is missing.
    assert len(data) == 9 and data.missing.sum() == 1
    rows = {(r["task"], r["source_id"], r["llm"], r["mode"]): r for r in table.to_pylist()}
    row = rows["arc_challenge", "", "ant", "think"]
    assert row["ground_truth"] == ["(B)"] and row["query"] == "Which?\n(1) x\n(2) y"
    assert row["judge"] == pytest.approx(0.8)
    assert row["cost"] == pytest.approx((10 * 0.2 + 106 * 0.2) / 1e6) and row["usage_source"] == "estimated/gpt2"
    row = rows["boolq", "", "deepseek-r1", "think"]
    assert row["cost"] == pytest.approx((10 * 0.55 + 106 * 2.19) / 1e6)
    assert row["query"].count(" " * 24) == 0 and row["performance"] == 0.0
    assert rows["mbpp", "600", "ant", "direct"]["performance"] == 1.0
    assert rows["human_eval", "HumanEval/3", "ant", "direct"]["performance"] == 0.0
    assert rows["math", "", "ant", "direct"]["response"] == "\\boxed{\\frac12}" * 2
    assert rows["math", "", "ant", "direct"]["ground_truth"] == ["\\frac12"]
    judged = {r["judge"] for r in table.to_pylist() if r["task"] == "gsm8k" and r["query"].count("g1")}
    assert None in judged and 0.0 not in judged
    prices = {llm["name"]: (llm["input_price"], llm["output_price"]) for llm in result.llms}
    assert prices == {"ant": (0.2, 0.2), "deepseek-r1": (0.55, 2.19)}
    assert result.notes["judge scores of 0 for a right answer, taken as not judged"] == 1
    assert sum(n for note, n in result.notes.items() if "gpqa" in note) == 4
    assert not any("other models" in note for note in result.notes)


def test_fusionbench_as_csv(tmp_path):
    result = read("fusionbench", write_csv(published_rows(), tmp_path / "router_data_test.csv"))
    check_published(result)
    assert set(result.tables) == {"test"} and any("backslashes" in note for note in result.notes)
    regraded = grade_table(result.table, "strict").to_pylist()
    scores = {(r["task"], r["mode"]): r["performance"] for r in regraded if r["llm"] == "ant"}
    # Gold answers are in the form that our graders read: all but boolq and gpqa, which say the wrong thing, are right.
    assert {task for (task, _), score in scores.items() if score == 0.0} == {"boolq", "gpqa"}


def test_fusionbench_as_parquet_with_single_backslashes_and_repeated_rows(tmp_path):
    rows = published_rows()
    table = pa.Table.from_pylist([{k: None if v is None else str(v) for k, v in row.items()} for row in rows])
    (tmp_path / "data").mkdir()
    pa.parquet.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet")
    result = read("fusionbench", tmp_path)
    check_published(result)
    assert set(result.tables) == {"train"} and not any("backslashes" in note for note in result.notes)
    pa.parquet.write_table(pa.concat_tables([table, table]), tmp_path / "data" / "train-00000-of-00001.parquet")
    again = read("fusionbench", tmp_path)
    assert again.dropped["the same query, LLM and mode came before"] == again.kept == 35


def test_fusionbench_from_the_hub(tmp_path):
    rows = [{k: None if v is None else str(v) for k, v in row.items()} for row in published_rows()]
    for split in ("train", "partial_test", "test"):
        pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    server = hub_double.start()
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_" + "x" * 20, "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    code = f"""
from huggingface_hub import HfApi
from fusion_hf.cli import main
HfApi().create_repo("ulab-ai/FusionBench", repo_type="dataset")
for split in ("train", "partial_test", "test"):
    HfApi().upload_file(path_or_fileobj={str(tmp_path)!r} + f"/{{split}}.parquet", repo_type="dataset",
                        path_in_repo=f"data/{{split}}-00000-of-00001.parquet", repo_id="ulab-ai/FusionBench")
assert main(["import", "fusionbench", "ulab-ai/FusionBench", "--out", {str(tmp_path / "b")!r}]) == 0
assert main(["import", "fusionbench", "ulab-ai/Nothing", "--out", {str(tmp_path / "c")!r}]) == 2
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
        )
    finally:
        server.shutdown()
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout[done.stdout.index('{\n "read"') :])
    assert {s: row["rows"] for s, row in report["splits"].items()} == {"train": 35, "partial_test": 35, "test": 35}
    assert report["read"] == 108 and report["in_two_splits"]["partial_test & test"] == 9
    assert "ulab-ai/Nothing: no such file or folder, and the Hub gave no dataset" in done.stderr


def test_llms_whose_name_is_doubtful_are_counted(tmp_path):
    rows = published("gsm8k", "q", "q\nLet's think step by step", "1", "GSM8K", 1, "r")
    for row in rows[:2]:
        row["llm"] = row["llm"].replace("ant", "llama3-70b-instruct")
    result = read("fusionbench", write_csv(rows, tmp_path / "x.csv"))
    assert [n for note, n in result.notes.items() if "other models" in note] == [2]


def test_nothing_in_a_score_is_evaluated(tmp_path):
    trap = tmp_path / "trap"
    for bad in (f"__import__('pathlib').Path({str(trap)!r}).touch()", "{'pass@1': f()}", "2.0", "good"):
        rows = published("gsm8k", "q", "q\nLet's think step by step", "1", "GSM8K", bad, "r")
        with pytest.raises(UserError, match="performance"):
            read("fusionbench", write_csv(rows, tmp_path / "x.csv"))
    assert not trap.exists()


@pytest.mark.parametrize("end", ["jsonl", "jsonl.gz"])
def test_gsm8k_solutions(tmp_path, end):
    rows = [
        {"question": "q0", "ground_truth": "so A is 3\nA: 3", "6b": {"is_correct": True, "solution": "A: 3"}},
        {
            "question": "q1", "ground_truth": "A: 1,000", "6b": {"is_correct": False, "solution": "A: 1"},
            "175b": {"is_correct": None, "solution": "A: 2"},
        },
    ]  # fmt: skip
    text = "\n".join(map(json.dumps, rows)).encode()
    (tmp_path / "test.jsonl").write_text('{"question": "q0", "answer": "#### 3"}')
    (tmp_path / f"example_model_solutions.{end}").write_bytes(gzip.compress(text) if end.endswith("gz") else text)
    result = read("gsm8k-solutions", tmp_path)
    law(result)
    found = [(r["llm"], r["ground_truth"], r["performance"], r["response"]) for r in result.tables["test"].to_pylist()]
    assert found == [("6b", ["3"], 1.0, "A: 3"), ("6b", ["1,000"], 0.0, "A: 1"), ("175b", ["1,000"], None, "A: 2")]
    assert result.notes == {"cells without a score": 1}


def test_the_published_gsm8k_solutions():
    result = read("gsm8k-solutions", needs("gsm8k"))
    law(result)
    assert (result.read, result.kept) == (5276, 5276) and result.table["response"].null_count == 0
    graded = grade_table(result.table, "strict")
    assert graded["performance"].equals(result.table["performance"])


def test_routellm(tmp_path):
    text = 'prompt,org/ant,bee,org/ant_response,bee_response\n"q, 1",True,False,"a ""b""\nc",d\nq2,False,,e,\n'
    result = read("routellm", put(tmp_path / "gsm8k_responses.csv", text))
    law(result)
    rows = result.tables["test"].to_pylist()
    assert [(r["llm"], r["performance"], r["response"]) for r in rows] == [
        ("org/ant", 1.0, 'a "b"\nc'), ("bee", 0.0, "d"), ("org/ant", 0.0, "e"), ("bee", None, None),
    ]  # fmt: skip
    assert {r["task"] for r in rows} == {"gsm8k"} and result.notes["cells without a response"] == 1
    mmlu = read("routellm", put(tmp_path / "mmlu_anatomy.csv", "prompt,ant,bee\nq,True,False\n"))
    assert set(mmlu.table["task"].to_pylist()) == {"mmlu"} and mmlu.table["response"].null_count == 2


def test_the_published_routellm():
    result = read("routellm", needs("routellm"))
    law(result)
    assert result.kept == 2638 and result.table["response"].null_count == 0
    means = {r["llm"]: r["performance"] for r in result.table.group_by("llm").aggregate([("performance", "mean")])
             .rename_columns({"performance_mean": "performance"}).to_pylist()}  # fmt: skip
    assert means["gpt-4-1106-preview"] > means["mistralai/Mixtral-8x7B-Instruct-v0.1"] > 0.5


def annotation(**changes):
    return {
        "dataset": "koala", "instruction": "Write.", "output_2": "So.", "generator_2": "ant", "annotator": "judge-1",
        "preference": 1.25,
    } | changes  # fmt: skip


def test_alpaca_eval(tmp_path):
    rows = [annotation(), annotation(instruction="b", preference=None), annotation(instruction="c", output_2="")]
    put(tmp_path / "ant.json", rows)
    put(tmp_path / "bee.json.gz", [annotation(generator_2="bee", preference=2, dataset=None)], gz=True)
    result = read("alpaca-eval", tmp_path)
    law(result)
    found = [(r["llm"], r["task"], r["judge"], r["judge_model"], r["performance"]) for r in result.table.to_pylist()]
    assert found == [
        ("ant", "koala", 0.25, "judge-1", None), ("ant", "koala", None, None, None),
        ("bee", "alpaca_eval", 1.0, "judge-1", None),
    ]  # fmt: skip
    assert result.dropped == {"no response": 1}


def test_the_published_alpaca_eval():
    result = read("alpaca-eval", needs("alpaca_eval"))
    law(result)
    assert result.read == result.kept == 12 * 805
    means = result.table.group_by("llm").aggregate([("judge", "mean")]).to_pylist()
    best = max(means, key=lambda row: row["judge_mean"])
    weakest = min(means, key=lambda row: row["judge_mean"])
    # A preference of 2 is a win of the LLM and 1 one of the reference (gpt-4-turbo): the youngest wins most often.
    assert best["llm"] == "FuseChat-Gemma-2-9B-Instruct" and best["judge_mean"] > 0.5 > weakest["judge_mean"]


def run_file(folder, llm="ant", stamp="20250101_000000", split="test", demo=False, records=None):
    records = records or [record(1), record(2, score=0.0)]
    data = {"dataset_name": "aime", "split": split, "model_name": llm, "demo": demo, "records": records}
    where = folder / "aime" / split / llm
    where.mkdir(parents=True, exist_ok=True)
    return put(where / f"aime-{split}-{llm}-{stamp}.json", data)


def record(index, **changes):
    return {
        "index": index, "origin_query": f"q{index}", "prompt": f"Answer: q{index}", "prediction": "4",
        "ground_truth": "4", "score": 1.0, "prompt_tokens": 15, "completion_tokens": 5, "cost": 1e-4,
        "raw_output": "It is 4.",
    } | changes  # fmt: skip


def test_llmrouterbench(tmp_path):
    run_file(tmp_path, stamp="20240101_000000", records=[record(1, score=0.0)])
    run_file(tmp_path)
    run_file(tmp_path, stamp="20260101_000000", demo=True)
    failed = record(2, score=None, raw_output="Processing failed: 500", prompt_tokens=0, completion_tokens=0, cost=0.0)
    run_file(tmp_path, llm="bee", records=[record(1, raw_output={"patch": "x"}, ground_truth=["4", 4]), failed])
    result = read("llmrouterbench", tmp_path)
    law(result)
    assert result.dropped == {"an older run of the same model": 1, "a demo run": 2}
    rows = {(r["llm"], r["source_id"]): r for r in result.tables["test"].to_pylist()}
    assert rows["ant", "1"]["performance"] == 1.0 and rows["ant", "1"]["query"] == "Answer: q1"
    assert (rows["ant", "1"]["input_tokens"], rows["ant", "1"]["cost"]) == (15, 1e-4)
    assert rows["bee", "1"]["response"] == '{"patch": "x"}' and rows["bee", "1"]["ground_truth"] == ['["4", 4]']
    bad = rows["bee", "2"]
    assert (bad["response"], bad["performance"], bad["cost"]) == (None, None, None) and "500" in bad["error"]


def test_a_mapping_names_the_keys_of_json_lines(tmp_path, capsys):
    rows = [{"q": f"q{i}", "engine": "ant", "text": "r", "right": i % 2 == 0, "n": i} for i in range(4)]
    path = put(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows)))
    argv = ["import", "jsonl", str(path), "--task", "t", "--out", str(tmp_path / "b")]
    given = "query=q,llm=engine,response=text,performance=right,source_id=n"
    assert main([*argv, "--map", given, "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["read"] == report["kept"] == 4 and report["splits"]["train"]["missing"] == 0
    capsys.readouterr()
    for bad, says in (
        ("colour=q", "unknown column 'colour'"), ("query=no", "a text 'no'"),
        (f"{given},judge=nothing", "expected a key 'nothing'"),
    ):  # fmt: skip
        assert main([*argv, "--map", bad]) == 2
        assert says in capsys.readouterr().err
    assert main(["import", "routerdc", str(path), "--out", str(tmp_path / "c"), "--map", "query=q"]) == 2
    assert "map is for the formats of your own logs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*argv, "--map", "query"])
    assert "expected NAME=VALUE, found 'query'" in capsys.readouterr().err


@pytest.mark.parametrize("odd", [{"score": float("nan")}, {"id": 7.5}, {"response": "\ud83d half"}, {"gold": [1, 2]}])
def test_a_line_that_arrow_cannot_parse_changes_no_other_line(tmp_path, odd):
    rows = [{"query": f"q{i}", "llm": "ant", "response": "r", "score": 1.0, "gold": "g", "id": i} for i in range(50)]
    plain = read("jsonl", put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    mixed = read(
        "jsonl", put(tmp_path / "b.jsonl", "\n".join(map(json.dumps, [*rows, rows[0] | {"query": "z"} | odd])))
    )
    law(mixed)
    assert mixed.kept == 51 and mixed.table.slice(0, 50).equals(plain.table)
    last = mixed.table.to_pylist()[50]
    expected = {"score": ("performance", None), "id": ("source_id", "7.5"), "gold": ("ground_truth", ["1", "2"]),
                "response": ("response", "\ufffd half")}[next(iter(odd))]  # fmt: skip
    assert last[expected[0]] == expected[1]


@pytest.mark.parametrize(
    ("format", "name", "content", "says"),
    [
        ("fusionbench", "x.csv", "task_name,query\na,b\n", "expected a column 'ground_truth', found task_name, query"),
        ("fusionbench", "x.parquet", "no", "expected CSV or Parquet"),
        ("gsm8k-solutions", "x.jsonl", '{"question": "q", "answer": "a"}', "line 1: expected keys question, ground_tr"),
        ("gsm8k-solutions", "x.jsonl", '{"question": "q", "ground_truth": "A: 1", "m": {"is_correct": 7}}', "0..1"),
        ("gsm8k-solutions", "x.jsonl", "", "empty"),
        ("routellm", "x.csv", "prompt,a\nq,maybe\n", "expected columns prompt, <llm>"),
        ("routellm", "x.csv", "prompt,a,a_response\nq,maybe,r\n", "row 0, column 'a': expected True or False"),
        ("routellm", "x.csv", "prompt,a,a_response\n", "empty"),
        ("alpaca-eval", "x.json", "{}", "expected a JSON list"),
        ("alpaca-eval", "x.json", "[5]", "row 0: expected keys instruction.*found int"),
        ("alpaca-eval", "x.json", json.dumps([annotation(preference=0)]), "expected a preference in 1..2, found 0"),
        ("llmrouterbench", "x.json", "{}", "expected keys dataset_name"),
        ("llmrouterbench", "x.json", '{"dataset_name": 1, "split": 1, "model_name": 1, "records": [1]}', "record 0"),
        ("jsonl", "x.jsonl", b'{"query": "q", "llm": "a", "response": "\xff"}', "line 1: expected text in UTF-8"),
        ("jsonl", "x.jsonl", '{"query": "q", "llm": "a", "cost": "dear", "score": 1}', "line 1, column 'cost'"),
    ],
)  # fmt: skip
def test_wrong_input_gives_one_line(tmp_path, format, name, content, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=says) as error:
        read(format, tmp_path / name)
    assert "\n" not in str(error.value).strip()

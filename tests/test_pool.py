import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import make_rows

from fusion_hf import plugins
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.llms.backends import open_backend
from fusion_hf.llms.pool import LLM, Pool, load_pool, published_pools, save_pool
from fusion_hf.llms.recosting import recost
from fusion_hf.llms.requests import answer_limit
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate

ENTRY = """
  - name: {name}
    size: small
    input_price: 0.2
    output_price: 0.6
    price_date: 2026-11-01
    price_source: https://example.org/prices
    description: Good at sums.
    base_url: http://127.0.0.1:1/v1
    api_key_env: EXAMPLE_KEY
    options: {{max_tokens: 256, temperature: 0}}
"""


@pytest.fixture
def pool_file(tmp_path):
    def write(*entries):
        path = tmp_path / "pool.yaml"
        path.write_text("llms:" + "".join(entries))
        return path

    return write


def test_reads_every_field(pool_file):
    pool = load_pool(pool_file(ENTRY.format(name="ant"), ENTRY.format(name="bee")))
    assert list(pool) == ["ant", "bee"] and len(pool) == 2
    ant = pool["ant"]
    assert ant == LLM(
        "ant", "small", 0.2, 0.6, "2026-11-01", "https://example.org/prices", "Good at sums.", "openai", None,
        "http://127.0.0.1:1/v1", "EXAMPLE_KEY", {"max_tokens": 256, "temperature": 0},
    )  # fmt: skip
    assert ant.model_id == "ant"
    assert {"openai", "transformers", "inference_client", "vllm"} == set(plugins.names("backends"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("input_price: 0.2|input_price: -1", "entry 1 'ant': expected input_price >= 0, found -1"),
        ("output_price: 0.6|output_price: cheap", "expected output_price to be a number .*, found 'cheap'"),
        ("output_price: 0.6|output_price: .nan", "expected output_price to be a number .*, found nan"),
        ("name: ant|name: 7", "expected name to be a text, found 7"),
        ("name: ant|name: ''", "expected name to be a text, found ''"),
        ("price_date: 2026-11-01|price_date: 2026-13", "expected price_date as YYYY-MM-DD or YYYY-MM, found '2026-13'"),
        ("input_price: 0.2|input_price: true", "expected input_price to be a number .*, found True"),
        ("    size: small\n|", "entry 1 'ant': expected size, found no such field"),
        ("size: small|size: tiny", "expected size one of small, medium, large, found 'tiny'"),
        ("input_price|input_prise", "unknown field 'input_prise' .did you mean 'input_price'"),
        (
            "price_date: 2026-11-01|price_date: last week",
            "as YYYY-MM-DD or YYYY-MM, found 'last week'",
        ),
        ("name: ant|name: ant_think", "expected name not to end in '_think'"),
        ("http://127|ftp://127", "expected base_url to begin with http:// or https://"),
        ("    base_url: http://127.0.0.1:1/v1\n|", "expected base_url because the backend is 'openai', found None"),
        (
            "description: Good|backend: opnai\n    description: Good",
            "expected backend one of inference_client, openai, transformers, vllm, found 'opnai'",
        ),
        ("api_key_env: EXAMPLE_KEY|api_key: sk-1", "api_key: keys are never kept in a file; .*api_key_env"),
        ("max_tokens: 256|Authorization: sk-1", "options.Authorization: keys are never kept"),
    ],
)
def test_errors_name_entry_and_field(pool_file, change, message):
    old, new = change.split("|")
    text = ENTRY.format(name="ant")
    assert old in text
    with pytest.raises(UserError, match=message) as error:
        load_pool(pool_file(text.replace(old, new)))
    assert "pool.yaml, entry 1" in str(error.value) and "sk-1" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with a non-empty list 'llms', found nothing"),
        ("llms: []", "expected a mapping with a non-empty list"),
        ("llms: [ant]", "entry 1: expected a mapping of fields, found str"),
        ("llms: [\n", "expected YAML"),
        ("llms: !!python/object/apply:os.getcwd []", "expected YAML"),
    ],
)
def test_files_that_are_no_pool(tmp_path, text, message):
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message) if "(" in message else message):
        load_pool(path)


def test_a_missing_file_and_names_that_come_twice(pool_file, tmp_path):
    with pytest.raises(UserError, match="expected a pool file, found none"):
        load_pool(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="entry 2 'ant': expected every name once, found it in entry 1 too"):
        load_pool(pool_file(ENTRY.format(name="ant"), ENTRY.format(name="ant")))
    with pytest.raises(UserError, match="did you mean 'ant'"):
        load_pool(pool_file(ENTRY.format(name="ant"))).get_llm("amt")


def test_saving_and_loading_is_the_identity_and_models_move_with_the_folder(tmp_path):
    for folder in ("a/model", "a/adapter"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / "pool.yaml").write_text(
        "llms: [{name: m, size: small, input_price: 0, output_price: 0, backend: transformers, model: model,"
        " options: {adapter: ./adapter}}, {name: hub, size: large, input_price: 1, output_price: 2,"
        " backend: transformers, model: org/model}]"
    )
    pool = load_pool(tmp_path / "a" / "pool.yaml")
    assert pool["m"].model == str(tmp_path / "a" / "model") and pool["hub"].model == "org/model"
    save_pool(pool, tmp_path / "a" / "pool.yaml")
    assert load_pool(tmp_path / "a" / "pool.yaml") == pool
    (tmp_path / "a").rename(tmp_path / "b")
    moved = load_pool(tmp_path / "b" / "pool.yaml")
    assert moved["m"].model == str(tmp_path / "b" / "model")
    assert moved["m"].options == {"adapter": str(tmp_path / "b" / "adapter")}
    (tmp_path / "b" / "adapter").rmdir()
    gone = load_pool(tmp_path / "b" / "pool.yaml")["m"]
    assert gone.options == {"adapter": str(tmp_path / "b" / "adapter")}  # a path still: nothing to look for on the Hub
    with pytest.raises(UserError, match=r"expected adapter '.*/b/adapter' to be a folder, found nothing there"):
        open_backend(gone)


def test_folders_are_named_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("demo/reader", "logs"):
        (tmp_path / folder).mkdir(parents=True)
    llm = LLM("m", "small", 0, 0, backend="transformers", model="demo/reader")  # as typed: it looks like a Hub id
    save_pool(Pool([llm]), tmp_path / "logs" / "pool.yaml")
    assert "model: ../demo/reader" in (tmp_path / "logs" / "pool.yaml").read_text()
    monkeypatch.chdir("/")
    assert load_pool(tmp_path / "logs" / "pool.yaml")["m"].model == str(tmp_path / "demo" / "reader")


def test_a_file_that_is_a_link_keeps_its_name(tmp_path):
    # As in the Hub's cache: the name, and with it the kind of file, is the link's.
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0f3a").write_text("weights")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.gguf").symlink_to("../blobs/0f3a")
    (tmp_path / "linked").symlink_to("snapshot")
    for given in ("snapshot/model.gguf", "linked/model.gguf"):
        llm = LLM("m", "small", 0, 0, backend="transformers", model=str(tmp_path / given))
        save_pool(Pool([llm]), tmp_path / "pool.yaml")
        assert "model: ./snapshot/model.gguf" in (tmp_path / "pool.yaml").read_text()
        assert load_pool(tmp_path / "pool.yaml")["m"].model == str(tmp_path / "snapshot" / "model.gguf")


def test_cost_is_usd_and_unknown_tokens_stay_unknown():
    pool = Pool([LLM("ant", "small", 0.5, 2.0, base_url="http://x/v1")])
    assert pool.cost("ant", 1_000_000, 0) == 0.5
    assert pool.cost("ant", 1000, 500) == pytest.approx(0.0015)
    assert pool.cost("ant", None, 5) is None and pool.cost("ant", 5, None) is None


def test_recost_is_the_cost_of_each_row():
    pool = Pool(LLM(n, "small", p, 3 * p, base_url="http://x/v1") for n, p in (("ant", 1.0), ("bee", 2.0), ("cow", 0)))
    rows = make_rows()
    for i, row in enumerate(rows):
        row |= {"input_tokens": 10 * i, "output_tokens": None if i % 5 == 0 else i, "cost": 7.0}
    table = recost(validate(rows_to_table(rows)), pool)
    expected = [pool.cost(r["llm"], r["input_tokens"], r["output_tokens"]) for r in rows]
    assert table["cost"].to_pylist() == expected and None in expected
    assert validate(table).equals(table)
    assert recost(table.slice(0, 0), pool).num_rows == 0
    with pytest.raises(UserError, match="the pool has no LLM 'ant'"):
        recost(table, pool.select(["bee", "cow"]))


def test_a_price_that_is_not_known_is_null_and_gives_no_cost(pool_file, tmp_path):
    text = ENTRY.format(name="ant").replace("output_price: 0.6", "output_price:")
    pool = load_pool(pool_file(text, ENTRY.format(name="bee")))
    assert pool["ant"].output_price is None and pool.cost("ant", 5, 5) is None and pool.cost("bee", 5, 5) > 0
    assert load_pool(save_pool(pool, tmp_path / "again.yaml")) == pool
    rows = make_rows(llms=("ant", "bee"))
    for row in rows:
        row |= {"input_tokens": 5, "output_tokens": 5}
    table = recost(validate(rows_to_table(rows)), pool)
    assert table["cost"].to_pylist() == [pool.cost(r["llm"], 5, 5) for r in rows]


def test_the_published_pool_is_whole():
    assert "fusionbench" in published_pools()
    pool = load_pool("fusionbench")
    assert len(pool) == 20
    assert [sum(llm.size == s for llm in pool.values()) for s in ("small", "medium", "large")] == [10, 7, 3]
    for llm in pool.values():
        assert llm.input_price > 0 and llm.output_price > 0 and llm.price_date and llm.price_source
        assert llm.description and llm.model and llm.base_url and llm.api_key_env
        assert llm.input_price == llm.output_price or llm.name == "deepseek-r1"
    assert (pool["deepseek-r1"].input_price, pool["deepseek-r1"].output_price) == (0.55, 2.19)
    with pytest.raises(UserError, match="shipped pools are fusionbench"):
        load_pool("fusionbnch")


def priced_rows(tmp_path, price=2.0):
    """A log with token counts, and a pool of two of its three LLMs."""
    rows = make_rows()
    for i, row in enumerate(rows):
        row |= {"input_tokens": i, "output_tokens": None if i == 0 else 2 * i}
    pool = Pool(LLM(n, "small", price, price, base_url="http://x/v1") for n in ("ant", "bee"))
    return validate(rows_to_table(rows)), save_pool(pool, tmp_path / "pool.yaml")


@pytest.mark.parametrize("kind", ["bench", "parquet", "jsonl", "shards"])
def test_recost_prices_any_log_anew_and_reports(tmp_path, kind, capsys):
    table, pool = priced_rows(tmp_path)
    log, out = tmp_path / f"log.{kind}", tmp_path / ("out.jsonl" if kind == "jsonl" else "out.parquet")
    if kind == "bench":
        log, out = write_bench({"train": table}, tmp_path / "bench"), tmp_path / "out"
    elif kind == "parquet":
        pq.write_table(table, log)
    else:
        path = log if kind == "jsonl" else log / "shard-00000.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    command = ["recost", str(log), "--pool", str(pool), "--out", str(out)]
    assert main(command) == 2 and "the pool has no LLM 'cow'" in capsys.readouterr().err
    assert main([*command, "--partial", "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["read"], report["recosted"], report["unpriced"], report["kept"]) == (36, 23, 1, 12)
    old = {(r["query_id"], r["llm"]): r for r in table.to_pylist()}
    new = read_log(out).to_pylist()
    assert len(new) == 36
    for row in new:
        before = old[row["query_id"], row["llm"]]
        tokens = None if before["output_tokens"] is None else before["input_tokens"] + before["output_tokens"]
        expected = before["cost"] if row["llm"] == "cow" else tokens and tokens * 2.0 / 1e6
        assert row["cost"] == (expected if expected is None else pytest.approx(expected))
        assert row["response"] == before["response"] and row["performance"] == before["performance"]
    assert report["by_llm"]["cow"]["usd_before"] == report["by_llm"]["cow"]["usd_after"]
    assert report["usd_after"] == pytest.approx(sum(r["cost"] or 0 for r in new))
    assert "1 rows have no cost" in capsys.readouterr().out


def test_recost_refuses_what_it_cannot_write(tmp_path, capsys):
    table, pool = priced_rows(tmp_path)
    pq.write_table(table, tmp_path / "log.parquet")
    assert main(["recost", str(tmp_path / "log.parquet"), "--pool", str(pool), "--out", str(tmp_path / "o")]) == 2
    assert "ends in .parquet or .jsonl" in capsys.readouterr().err
    bench = write_bench({"train": table}, tmp_path / "bench")
    assert main(["recost", str(bench), "--pool", str(pool), "--out", str(bench)]) == 2
    assert "another place than the log's own" in capsys.readouterr().err


def test_the_example_has_every_backend():
    pool = load_pool(Path(__file__).parents[1] / "examples" / "pool.yaml")
    assert {llm.backend for llm in pool.values()} == set(plugins.names("backends"))
    # So that a cap in USD can hold; where it is free of charge, the task says how long an answer may be.
    assert all(answer_limit(llm, "" if llm.output_price else "gsm8k") for llm in pool.values())


def test_an_llm_says_what_it_takes(tmp_path):
    able = LLM("a", "small", 1.0, 1.0, base_url="http://x/v1", context_window=4096, abilities=["tools"])
    none = LLM("b", "small", 1.0, 1.0, base_url="http://x/v1", abilities=[])
    read = load_pool(save_pool(Pool([able, none]), tmp_path / "pool.yaml"))
    assert read["a"].context_window == 4096 and read["a"].abilities == ["tools"] and read["b"].abilities == []
    for wrong, words in (
        ({"abilities": ["magic"]}, "abilities to be a list of tools, images, json"),
        ({"abilities": "tools"}, "abilities to be a list"),
        ({"context_window": 0}, "context_window to be a number of tokens above 0"),
        ({"context_window": "big"}, "context_window to be a number of tokens above 0"),
    ):
        with pytest.raises(UserError, match=words):
            LLM("a", "small", 1.0, 1.0, base_url="http://x/v1", **wrong)

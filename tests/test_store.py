import json

import pyarrow.parquet as pq
import pytest
from conftest import make_rows
from datasets import get_dataset_config_names, load_dataset

from fusion_hf.errors import UserError
from fusion_hf.logs.log import Log, read_log, write_bench
from fusion_hf.logs.schema import SchemaError, rows_to_table, validate
from fusion_hf.logs.store import query_overlap


@pytest.fixture
def tables():
    return {s: validate(rows_to_table(make_rows(split=s))) for s in ("train", "test")}


@pytest.fixture
def bench(tables, tmp_path):
    return write_bench(tables, tmp_path / "bench", text="Made for a test.")


def test_load_dataset_reads_each_task_and_streams(bench, tables, tmp_path):
    cache = str(tmp_path / "cache")
    rows = load_dataset(str(bench), "gsm8k", split="train", cache_dir=cache)
    assert set(rows["task"]) == {"gsm8k"} and len(rows) == 18
    assert rows.features["performance"].dtype == "float32" and rows[0]["judge"] is None
    everything = load_dataset(str(bench), split="test", cache_dir=cache)
    assert len(everything) == tables["test"].num_rows
    streamed = list(load_dataset(str(bench), "squad", split="test", streaming=True))
    assert len(streamed) == 18 and {row["task"] for row in streamed} == {"squad"}
    assert get_dataset_config_names(str(bench)) == ["all", "gsm8k", "squad", "tasks"]


def test_what_was_written_is_read_back(bench, tables):
    key = [("query_id", "ascending"), ("llm", "ascending")]
    assert read_log(bench, "train").sort_by(key).equals(tables["train"].sort_by(key))
    assert Log(bench).splits == ("train", "test")
    assert read_log(bench, "train", task="squad", columns=["task", "llm"]).column_names == ["task", "llm"]


def test_a_split_is_replaced_and_the_others_and_the_text_stay(bench, tables):
    write_bench({"train": tables["train"].slice(0, 3)}, bench)  # what is there already
    assert read_log(bench, "train").num_rows == 36
    write_bench({"train": tables["train"].slice(0, 3)}, bench, replace=True)
    assert read_log(bench, "train").num_rows == 3
    assert read_log(bench, "test").num_rows == 36
    assert "Made for a test." in (bench / "README.md").read_text()
    assert Log(bench).summary()[0] | {"usd": None} == {
        "split": "train", "rows": 3, "queries": 1, "tasks": 1, "candidates": 3, "missing": 0, "usd": None,
    }  # fmt: skip


def test_the_card_shows_measured_figures(bench):
    assert "| train | 12 | 2 | 3 | 36 | 0 | 0.018 |" in (bench / "README.md").read_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: read_log(b, "dev"), "has no split 'dev': expected one of train, test"),
        (lambda b: read_log(b, "train", task="mmlu"), "has no task 'mmlu': expected one of gsm8k, squad"),
        (lambda b: read_log(b / "nothing"), "nothing there"),
        (lambda b: read_log(b / "README.md"), "expected a .parquet or .jsonl file"),
        (lambda b: write_bench({"holdout": None}, b), "unknown split 'holdout'"),
    ],
)
def test_wrong_paths_and_names_give_one_clear_line(bench, call, message):
    with pytest.raises(UserError, match=message) as error:
        call(bench)
    assert "\n" not in str(error.value)


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match="expected a Parquet file"):
        read_log(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps(make_rows()[0]) + "\n{oops\n")
    with pytest.raises(UserError, match=r"a.jsonl, line 2: expected a JSON object"):
        read_log(tmp_path / "a.jsonl")


def test_bad_rows_are_not_written(tables, tmp_path):
    twice = validate(rows_to_table(make_rows())).take([0, 0])
    with pytest.raises(SchemaError, match="train: row 1"):
        write_bench({"train": twice}, tmp_path / "b")
    assert not (tmp_path / "b" / "data").exists()


def test_queries_in_both_splits_are_counted(tables):
    assert query_overlap(tables["train"], tables["test"]) == 0
    assert query_overlap(tables["train"], tables["train"]) == 12


def test_parquet_is_zstd(bench):
    file = next(bench.glob("data/gsm8k/train-*.parquet"))
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_folder_of_before_a_column_gets_it_everywhere_with_the_next_write(bench, tables, tmp_path):
    """`load_dataset` takes the columns of a config from its first file, and refuses another that has more."""
    card = bench / "README.md"
    for number, path in enumerate(sorted(bench.glob("data/*/train-*.parquet"))):
        old = path.with_name(f"train-{number:016x}.parquet")
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["served_model", "cached_tokens"]), old)
        card.write_text(card.read_text().replace(path.name, old.name))
        path.unlink()
    before = read_log(bench, "train")
    assert before["served_model"].null_count == before.num_rows  # it is read all the same
    write_bench({"test": tables["test"]}, bench, replace=True)
    for split in ("train", "test"):
        rows = load_dataset(str(bench), "all", split=split, cache_dir=str(tmp_path / "cache"))
        assert len(rows) == tables[split].num_rows and "served_model" in rows.column_names
    assert read_log(bench, "train").equals(before)

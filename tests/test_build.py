"""Logs of any origin -> dataset repository: configs, card, plot, streaming, the verb."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import make_rows
from datasets import get_dataset_config_names, load_dataset

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.llms.build import build
from fusion_hf.logs.log import Log, read_log, write_bench
from fusion_hf.logs.plots import heat_map
from fusion_hf.logs.sample import sample_path
from fusion_hf.logs.schema import LOG_SCHEMA, rows_to_table, validate
from fusion_hf.logs.write import ROW_GROUP
from fusion_hf.tasks import TASKS


@pytest.fixture
def bench(tmp_path):
    tables = {s: validate(rows_to_table(make_rows(split=s))) for s in ("train", "test")}
    return write_bench(tables, tmp_path / "bench", llms=[{"name": "ant", "input_price": 1.0}])


def header(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_every_config_loads_whole_and_streamed(bench, tmp_path):
    names = get_dataset_config_names(str(bench))
    assert names == ["all", "gsm8k", "squad", "llms", "tasks"]
    assert [c["config_name"] for c in header(bench)["configs"] if c.get("default")] == ["all"]
    for name in names:
        split = "train" if name in ("llms", "tasks") else "test"
        whole = load_dataset(str(bench), name, split=split, cache_dir=str(tmp_path / "cache"))
        assert list(load_dataset(str(bench), name, split=split, streaming=True)) == list(whole)
    tasks = load_dataset(str(bench), "tasks", split="train", cache_dir=str(tmp_path / "cache"))
    assert tasks[0] == {
        "name": "gsm8k", "domain": "Math", "metric": "gsm8k", "source": "openai/gsm8k", "licence": "mit",
        "train": 6, "test": 6,
    }  # fmt: skip


def test_every_task_names_its_licence_and_the_card_lists_them(bench):
    assert all(task.licence for task in TASKS.values())
    assert header(bench)["license"] == ["cc-by-sa-4.0", "mit"]
    card = (bench / "README.md").read_text()
    # "ant" is right on all of gsm8k, "cow" where i % 3 == 0; on every query somebody is right.
    assert "| gsm8k | Math | gsm8k | 6 | 6 | ant | 1.000 | 1.000 | openai/gsm8k | mit |" in card
    assert "| ant | 0.500 | 0.00025 | 0 |" in card


def test_sources_that_were_told_stay_and_unknown_tasks_have_none(tmp_path):
    rows = rows_to_table(make_rows(tasks=("gsm8k", "mine")))
    out = write_bench({"train": rows}, tmp_path / "b", sources={"gsm8k": ("my own sums", "cc0-1.0")})
    write_bench({"test": rows}, out)
    card = (out / "README.md").read_text()
    assert "| my own sums | cc0-1.0 |" in card and "openai/gsm8k" not in card
    assert "| mine | not known | cem | 6 | 6 |" in card and card.count("| not known | not known |") == 1
    assert header(out)["license"] == ["cc0-1.0"]


def test_sources_and_llms_go_along_into_another_repository(tmp_path):
    rows = rows_to_table(make_rows(tasks=("mine",)))
    first = [{"name": "ant", "input_price": None, "description": "small"}]
    second = [{"name": "bee", "size": "large", "input_price": 2.0, "price_date": "2026-01"}]
    a = write_bench({"train": rows}, tmp_path / "a", llms=first, sources={"mine": ("my log", "cc0-1.0")})
    b = write_bench({"test": rows}, tmp_path / "b", llms=second)
    out = tmp_path / "out"
    build([a, b], out)
    assert "| my log | cc0-1.0 |" in (out / "README.md").read_text()
    llms = {row["name"]: row for row in load_dataset(str(out), "llms", split="train", streaming=True)}
    assert llms["bee"]["price_date"] == "2026-01" and llms["ant"]["input_price"] is None


def test_of_equally_good_candidates_the_cheaper_is_the_best_single(tmp_path):
    rows = [row | {"performance": 0.5, "cost": {"ant": 3.0, "bee": 1.0, "cow": 2.0}[row["llm"]]} for row in make_rows()]
    card = (write_bench({"train": rows_to_table(rows)}, tmp_path / "b") / "README.md").read_text()
    assert "| gsm8k | Math | gsm8k | 6 | bee | 0.500 | 0.500 |" in card


def test_an_ungraded_log_says_not_measured_and_has_no_picture(tmp_path):
    rows = [row | {"performance": None, "cost": None} for row in make_rows()]
    out = write_bench({"train": rows_to_table(rows)}, tmp_path / "b")
    card = (out / "README.md").read_text()
    assert "not measured" in card and "performance.png" not in card and not (out / "performance.png").exists()


def test_the_picture_is_drawn_and_without_matplotlib_the_card_is_silent(bench, tmp_path):
    pytest.importorskip("matplotlib")
    assert (bench / "performance.png").read_bytes()[:4] == b"\x89PNG"
    assert "](performance.png)" in (bench / "README.md").read_text()
    assert not heat_map({"a": {}}, tmp_path / "none.png")
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from fusion_hf import read_log, write_bench\n"
        f"write_bench({{'train': read_log({str(bench)!r}, 'train')}}, {str(tmp_path / 'b')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "performance.png" not in (tmp_path / "b" / "README.md").read_text()
    assert not (tmp_path / "b" / "performance.png").exists()


def test_rows_are_sorted_within_a_task_and_row_groups_are_bounded(tmp_path):
    table = validate(rows_to_table(make_rows(n=6, tasks=("squad",))))
    many = pa.concat_tables([table] * (ROW_GROUP // table.num_rows + 1))
    ids = pa.array([f"{i:08d}" for i in reversed(range(many.num_rows))])
    many = many.set_column(0, LOG_SCHEMA.field(0), ids)
    out = write_bench({"train": many}, tmp_path / "b")
    file = pq.ParquetFile(*out.glob("data/squad/train-*.parquet"))
    assert file.metadata.num_row_groups == 2 and file.metadata.row_group(0).num_rows == ROW_GROUP
    found = file.read(columns=["query_id"])["query_id"].to_pylist()
    assert found == sorted(found) and len(found) == many.num_rows


def test_several_logs_become_one_repository(bench, tmp_path):
    other = rows_to_table([row | {"llm": "dog"} for row in make_rows(split="test") if row["llm"] == "ant"])
    pq.write_table(other, tmp_path / "dog.parquet")
    out = tmp_path / "out"
    build([bench], out, title="Mine", text="About it.")
    assert read_log(out, "train").equals(read_log(bench, "train"))
    assert Log(out).about.llms[0]["name"] == "ant"
    assert "# Mine\n\nAbout it." in (out / "README.md").read_text()
    pq.write_table(read_log(bench, "test"), tmp_path / "test.parquet")
    build([tmp_path / "test.parquet", tmp_path / "dog.parquet"], out, split="test")
    assert read_log(out, "test").num_rows == 48 and read_log(out, "train").num_rows == 36
    with pytest.raises(UserError, match="says no split"):
        build([tmp_path / "dog.parquet"], out)
    again = build([tmp_path / "dog.parquet", tmp_path / "dog.parquet"], out, split="test")
    assert (again.added, again.same) == (0, 12) and read_log(out, "test").num_rows == 48


def test_templates_become_a_config(bench, tmp_path):
    folder = tmp_path / "templates" / "thought_templates"
    folder.mkdir(parents=True)
    assert "thought_templates" not in get_dataset_config_names(str(bench))
    pq.write_table(pa.table({"task": ["gsm8k"], "template": ["Add."]}), folder / "train-00000.parquet")
    out = tmp_path / "out"
    build([bench], out, templates=tmp_path / "templates")
    assert "thought_templates" in get_dataset_config_names(str(out))
    again = tmp_path / "again"
    build([out], again)  # a log that carries templates hands them on
    (row,) = load_dataset(str(again), "thought_templates", split="train", streaming=True)
    assert row["template"] == "Add."
    assert "thought_templates" in get_dataset_config_names(str(again))
    with pytest.raises(UserError, match="expected thought templates"):
        build([bench], tmp_path / "other", templates=bench)


def test_the_embedded_sample_builds_to_the_same_rows(tmp_path, capsys):
    argv = ["build", str(sample_path()), "--out", str(tmp_path / "b"), "--json", str(tmp_path / "s.json")]
    assert main(argv) == 0
    rows = json.loads((tmp_path / "s.json").read_text())["splits"]
    assert {split: row["rows"] for split, row in rows.items()} == {"train": 16800, "partial_test": 8400, "test": 25200}
    key = [("query_id", "ascending"), ("llm", "ascending"), ("mode", "ascending")]
    before, after = (read_log(p, "train", task="math").sort_by(key) for p in (sample_path(), tmp_path / "b"))
    assert after.select(before.column_names).equals(before)

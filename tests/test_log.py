"""The handle on a log: opening, checking, mapping, merging and writing, whatever happens meanwhile."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import make_rows
from datasets import Dataset, load_dataset

from fusion_hf import Log, UserError
from fusion_hf.logs.schema import LOG_SCHEMA, SchemaError, rows_to_table, validate
from fusion_hf.logs.shards import ShardWriter
from fusion_hf.logs.store import Folder

KEY = [("query_id", "ascending"), ("llm", "ascending"), ("mode", "ascending")]


def table_of(n=6, split="train", **changes) -> pa.Table:
    """Log rows of n queries of each of two tasks, by three LLMs."""
    rows = [
        row | {k: v(row) if callable(v) else v for k, v in changes.items()} for row in make_rows(2 * n, split=split)
    ]
    return validate(rows_to_table(rows))


@pytest.fixture
def bench(tmp_path):
    return Log({"train": table_of(), "test": table_of(4, "test")}).write(tmp_path / "bench")


def test_opens_whatever_holds_rows(bench, tmp_path):
    table = table_of()
    pq.write_table(table, tmp_path / "a.parquet")
    Log(table).write(tmp_path / "a.jsonl")
    with_shards = tmp_path / "shards"
    writer = ShardWriter(with_shards)
    for row in table.drop_columns(["performance", "grader", "extracted"]).to_pylist():
        writer.write({k: v for k, v in row.items() if v is not None})
    writer.close()
    sources = [table, Dataset(table), tmp_path / "a.parquet", str(tmp_path / "a.jsonl"), with_shards, Log(table)]
    for source in sources:
        log = Log(source)
        assert (log.splits, log.tasks, log.llms) == ((), ["gsm8k", "squad"], ["ant", "bee", "cow"]), source
        assert len(log) == table.num_rows and log.table().schema.names == LOG_SCHEMA.names
    for source in (bench, {"train": table, "test": table_of(4, "test")}, Log(bench)):
        log = Log(source)
        assert log.splits == ("train", "test") and len(log) == 60
        assert log.table("train", "squad", ["llm"]).num_rows == 18
    assert Log(with_shards).table()["performance"].null_count == 0  # graded on the way
    assert Log(with_shards, grader=None).table()["performance"].null_count == 36
    assert Log(bench).data("test").performance.shape == (8, 3)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("performance", 7.0, "row 3, column 'performance': expected a score in 0..1 or null, found 7"),
        ("cost", -1.0, "row 3, column 'cost': expected a number of at least 0 or null, found -1"),
        ("mode", "shout", "row 3, column 'mode': expected one of direct, .*, found shout"),
        ("judge", float("nan"), "column 'judge': expected a score in 0..1"),
        ("latency_s", float("inf"), "column 'latency_s': expected a number"),
        ("query_id", None, "column 'query_id': expected string, found null"),
    ],
)
def test_values_that_no_row_can_have_are_found_when_a_log_is_read(bench, column, value, message, tmp_path):
    file = Folder.open(bench).files["gsm8k", "train"][0]
    table = pq.read_table(file)
    values = table[column].to_pylist()
    values[3] = value
    place = table.column_names.index(column)
    table = table.set_column(place, column, pa.array(values, LOG_SCHEMA.field(column).type))
    pq.write_table(table, file)
    pq.write_table(table, tmp_path / "one.parquet")
    (tmp_path / "one.jsonl").write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    for source in (bench, tmp_path / "one.parquet", tmp_path / "one.jsonl"):
        with pytest.raises(SchemaError, match=message) as error:
            Log(source).table()
        assert "\n" not in str(error.value) and str(source) in str(error.value)
    with pytest.raises(SchemaError, match=message):  # also where only this column is read
        Log(bench).table("train", columns=[column])


def test_a_file_may_lack_columns_and_have_others(tmp_path):
    table = table_of().drop_columns(["judge", "cost"]).append_column("note", pa.array(["x"] * 36))
    pq.write_table(table, tmp_path / "a.parquet")
    found = Log(tmp_path / "a.parquet").table()
    assert found.schema.names == LOG_SCHEMA.names and found["judge"].null_count == 36
    assert Log(tmp_path / "a.parquet").table(columns=["llm", "cost"]).column_names == ["llm", "cost"]
    pq.write_table(table.drop_columns(["mode"]), tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match="column 'mode' is missing"):
        Log(tmp_path / "b.parquet").table()


def test_maps_over_its_splits_and_keeps_what_stands_beside_them(bench, tmp_path):
    about = {"title": "Mine", "text": "About it.", "llms": [{"name": "ant", "size": "7B"}]}
    first = Log({"train": table_of(), "test": table_of(4, "test")})
    from fusion_hf.logs.card import About

    first.write(tmp_path / "a", about=About(**about, sources={"squad": ("my own", "cc0-1.0")}))
    (tmp_path / "a" / "thought_templates").mkdir()
    pq.write_table(pa.table({"template": ["Add."]}), tmp_path / "a" / "thought_templates" / "train-00000.parquet")
    half = Log(tmp_path / "a").map(lambda table: table.filter(pc.equal(table["llm"], "ant")))
    assert half.llms == ["ant"] and len(half) == 20 and len(Log(tmp_path / "a")) == 60
    half.write(tmp_path / "b")
    again = Log(tmp_path / "b")
    assert again.splits == ("train", "test") and again.about.title == "Mine" and "About it." in again.about.text
    assert again.about.llms[0]["size"] == "7B" and again.about.sources == {"squad": ("my own", "cc0-1.0")}
    assert again.extra("thought_templates").to_pylist() == [{"template": "Add."}]
    with pytest.raises(SchemaError, match="'cost': expected a number of at least 0"):
        Log(bench).map(lambda t: t.set_column(t.column_names.index("cost"), "cost", pa.array([-1.0] * t.num_rows)))


class TestMerging:
    def test_rows_are_added_by_key(self):
        log, report = Log(table_of(4)).merge(table_of(6))
        assert (report.added, report.same, report.conflicts) == (12, 24, 0)
        assert log.table().sort_by(KEY).equals(table_of(6).sort_by(KEY))

    def test_what_differs_is_reported_and_the_newer_counts_only_when_asked(self):
        old, new = table_of(), table_of(performance=lambda row: 1.0 - row["performance"], cost=0.25)
        kept, report = Log(old).merge(new)
        assert kept.table().equals(old) and (report.older, report.newer, report.added) == (36, 0, 0)
        assert report.columns == {"cost": 36, "performance": 36} and len(report.examples) == 3
        assert "36 rows differ" in report.conflict_text() and old["query_id"][0].as_py() in report.conflict_text()
        taken, report = Log(old).merge(new, newer=True)
        assert (report.older, report.newer) == (0, 36) and taken.table().sort_by(KEY).equals(new.sort_by(KEY))

    def test_what_one_row_measured_fills_the_other(self):
        log, report = Log(table_of(cost=None)).merge(table_of(judge=0.5, performance=None))
        assert (report.filled, report.conflicts) == (36, 0)
        assert log.table()["judge"].to_pylist() == [0.5] * 36
        assert log.table()["performance"].null_count == log.table()["cost"].null_count == 0

    def test_an_answer_stands_before_an_error(self):
        failed = table_of(error="timeout: none came", response=None, performance=None)
        log, report = Log(failed).merge(table_of())
        assert (report.filled, report.conflicts) == (36, 0) and log.table().equals(table_of())
        log, report = Log(table_of()).merge(failed)
        assert (report.same, report.conflicts) == (36, 0) and log.table().equals(table_of())

    def test_only_some_rows_differ(self):
        new = table_of(8, response=lambda row: "other" if row["llm"] == "bee" else row["response"])
        log, report = Log(table_of(6)).merge(new, newer=True)
        assert (report.added, report.newer, report.same) == (12, 12, 24)
        assert log.table().sort_by(KEY).equals(new.sort_by(KEY))

    def test_splits_by_name(self, bench):
        log, report = Log(bench).merge({"test": table_of(5, "test")})
        assert report.added == 6 and len(log) == 66 and log.splits == ("train", "test")
        with pytest.raises(UserError, match="one log has splits and the other has none"):
            Log(bench).merge(table_of())


class TestWriting:
    def test_a_folder_keeps_its_rows(self, bench):
        Log({"train": table_of(9)}).write(bench)
        assert {s: t.num_rows for s, t in Log(bench).parts().items()} == {"train": 54, "test": 24}
        with pytest.raises(UserError, match=r"27 rows differ") as error:
            Log({"train": table_of(9, cost=0.5)}).write(bench)
        assert "newer=True" in str(error.value) and Log(bench).table("train")["cost"][0].as_py() != 0.5
        Log({"train": table_of(2, cost=0.5)}).write(bench, newer=True)
        assert pc.sum(pc.equal(Log(bench).table("train")["cost"], 0.5)).as_py() == 12
        Log({"train": table_of(2)}).write(bench, replace=True)
        assert {s: t.num_rows for s, t in Log(bench).parts().items()} == {"train": 12, "test": 24}

    def test_no_file_is_left_over(self, bench):
        for n in (7, 8):
            Log({"train": table_of(n)}).write(bench)
        folder = Folder.open(bench)
        named = {f for found in [*folder.files.values(), *folder.extras.values()] for f in found}
        assert set(bench.rglob("*.parquet")) == named and not list(bench.rglob("*.part"))

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "README.md").write_text("# My thesis\n")
        with pytest.raises(UserError, match="is not empty, and fusion_hf did not make it"):
            Log({"train": table_of()}).write(tmp_path / "thesis")
        assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["README.md"]
        Log({"train": table_of()}).write(tmp_path / "thesis", overwrite=True)
        (tmp_path / "file").write_text("")
        (tmp_path / "mine.jsonl").write_text('{"a": 1}')
        with pytest.raises(UserError, match="exists: give a new file"):
            Log(table_of()).write(tmp_path / "mine.jsonl")
        with pytest.raises(UserError, match="expected a folder, found a file"):
            Log({"train": table_of()}).write(tmp_path / "file")
        with pytest.raises(UserError, match="for a log without splits"):
            Log(table_of()).write(tmp_path / "none")

    def test_an_error_leaves_the_old_state_and_nothing_else(self, bench, monkeypatch):
        before = {p: p.read_bytes() for p in bench.rglob("*") if p.is_file()}
        monkeypatch.setattr("fusion_hf.logs.write.card_text", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Log({"train": table_of(9), "partial_test": table_of(2)}).write(bench)
        assert {p: p.read_bytes() for p in bench.rglob("*") if p.is_file()} == before

    def test_a_folder_that_names_files_outside_or_gone_is_refused(self, bench):
        readme = (bench / "README.md").read_text()
        file = Folder.open(bench).files["gsm8k", "train"][0].relative_to(bench).as_posix()
        for name, message in (("../../etc/x.parquet", "inside the folder"), ("data/gsm8k/x.parquet", "no such file")):
            (bench / "README.md").write_text(readme.replace(file, name))
            with pytest.raises(UserError, match=message):
                Log(bench)


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import fusion_hf.logs.log
from fusion_hf import Log

source, out = map(Path, sys.argv[1:])
steps = 0

def counted(function, last):
    def call(*args, **kwargs):
        global steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

for last in range(1, 100):
    place = Path(f"{out}-{last}")
    shutil.copytree(out, place)
    child = os.fork()
    if not child:
        for name in ("replace", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name), last))
        Log({"train": Log(source).table("test")}).write(place, replace=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")
def test_a_kill_before_any_step_leaves_the_old_rows_or_the_new_ones(tmp_path):
    """A writer that replaces a split is killed before its first change of a file, its second, and so on to its end."""
    states = {"train": table_of(), "test": table_of(5, "test")}
    Log(states).write(tmp_path / "source")
    out = Log(states).write(tmp_path / "out")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "source"), str(out)], check=True)
    both = [table.sort_by(KEY) for table in states.values()]
    places = sorted(tmp_path.glob("out-*"), key=lambda place: int(place.name.split("-")[1]))
    found = []
    for place in places:
        log = Log(place)
        found.append([log.table("train").sort_by(KEY).equals(state) for state in both].index(True))
        assert log.table("test").sort_by(KEY).equals(both[1])
        rows = load_dataset(str(place), split="train", cache_dir=str(tmp_path / "cache"))
        assert len(rows) == both[found[-1]].num_rows
    assert found == sorted(found) and set(found) == {0, 1} and len(places) > 8
    Log(states).write(places[4], replace=True)  # what a killed writer left goes with the next writing
    for place in (places[4], places[-1]):
        assert not list(place.rglob("*.part")) and len(list(place.glob("data/*/*.parquet"))) == 4


def test_two_writers_at_once_lose_nothing(tmp_path):
    code = "import sys; from fusion_hf import Log; Log({'train': Log(sys.argv[1]).table()}).write(sys.argv[2])"
    processes = []
    for number in range(3):
        llm = f"llm-{number}"
        pq.write_table(
            table_of().slice(0, 1).set_column(6, LOG_SCHEMA.field("llm"), [[llm]]), tmp_path / f"{number}.parquet"
        )
        argv = [sys.executable, "-c", code, str(tmp_path / f"{number}.parquet"), str(tmp_path / "out")]
        processes.append(subprocess.Popen(argv))
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert Log(tmp_path / "out").llms == ["llm-0", "llm-1", "llm-2"]


class TestDatasetsCache:
    """`datasets` keys a local folder by its base name and its card: our folders must differ where their rows do."""

    def test_two_folders_of_one_name(self, tmp_path):
        a = Log({"train": table_of(6)}).write(tmp_path / "a" / "bench")
        b = Log({"train": table_of(6, response="of b")}).write(tmp_path / "b" / "bench")
        cache = str(tmp_path / "cache")
        for config in (None, "gsm8k", "squad"):
            here, there = (load_dataset(str(p), config, split="train", cache_dir=cache) for p in (a, b))
            assert set(there["response"]) == {"of b"} and "of b" not in set(here["response"])

    def test_a_folder_that_was_written_anew(self, tmp_path):
        out, cache = tmp_path / "bench", str(tmp_path / "cache")
        for n in (4, 6, 5):
            Log({"train": table_of(n)}, about=None).write(out, replace=True)
            assert len(load_dataset(str(out), "squad", split="train", cache_dir=cache)) == 3 * n
            assert len(load_dataset(str(out), split="train", cache_dir=cache)) == 6 * n
            sizes = load_dataset(str(out), "tasks", split="train", cache_dir=cache)
            assert [row["train"] for row in sizes] == [n, n]

    def test_one_other_value_is_another_file(self, tmp_path):
        out, cache = tmp_path / "bench", str(tmp_path / "cache")
        for cost in (0.5, 0.25):
            Log({"train": table_of(cost=cost)}).write(out, newer=True)
            assert set(load_dataset(str(out), split="train", cache_dir=cache)["cost"]) == {cost}

    def test_training_data(self, tmp_path):
        from fusion_hf.distill import Choice, save, sft_dataset
        from fusion_hf.distill.training import load_rows

        cache = str(tmp_path / "cache")
        for folder, n in (("a", 4), ("b", 6), ("a", 5)):
            dataset, counts = sft_dataset(table_of(n), Choice(top_k=1))
            out = save(dataset, counts, tmp_path / folder / "sft")
            found = load_dataset(str(out), split="train", cache_dir=cache)
            assert found["prompt"] == dataset["prompt"] and len(found) == 2 * n
            assert load_rows(str(out))["prompt"] == dataset["prompt"]

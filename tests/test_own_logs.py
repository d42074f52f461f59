"""Logs as people have them: CSV, nested keys, chats, ratings, numbers as text, dates, and rows that repeat."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pytest

from fusion_hf import Log, UserError, import_log, read_log
from fusion_hf.cli import main
from fusion_hf.logs.importers import read
from fusion_hf.logs.importers._rows import RowReader, as_number, keys_of, moment


def lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def rows_of(result):
    return result.table.to_pylist()


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi?"}]}]


def test_nested_keys_chats_and_ratings(tmp_path):
    row = {
        "messages": CHAT, "model": "ant", "output": {"role": "assistant", "content": "Hello."},
        "usage": {"prompt_tokens": 12, "completion_tokens": "3"}, "metadata": {"user_feedback": 4, "plan": "pro"},
        "created_at": 1767225600, "shard": 7,
    }  # fmt: skip
    result = read("jsonl", lines(tmp_path / "a.jsonl", row), scale="1-5", task="support")
    (found,) = rows_of(result)
    assert (found["query"], found["response"], found["llm"]) == ("Be brief.\n\nHi?", "Hello.", "ant")
    assert (found["input_tokens"], found["output_tokens"], found["performance"]) == (12, 3, 0.75)
    assert found["served_at"] == "2026-01-01T00:00:00.000+00:00"
    assert next(note for note in result.notes if "no column is read from" in note).endswith("shard")


def test_what_only_later_rows_have_inside_is_read_too(tmp_path):
    plain = {"query": "a", "llm": "x", "response": "r"}
    nested = {"query": "b", "llm": "x", "response": "r", "usage": {"completion_tokens": 5}}
    assert [row["output_tokens"] for row in rows_of(read("jsonl", lines(tmp_path / "a.jsonl", plain, nested)))] == [
        None,
        5,
    ]


def test_map_takes_paths_and_says_what_it_did_not_find(tmp_path):
    file = lines(tmp_path / "a.jsonl", {"q": "a", "by": {"name": "x"}, "votes": [{"up": True}]})
    mapping = {"query": "q", "llm": "by.name", "performance": "votes.0.up"}
    (found,) = rows_of(read("jsonl", file, mapping=mapping))
    assert (found["llm"], found["performance"]) == ("x", 1.0)
    with pytest.raises(UserError, match=r"expected a key 'by.cost' with a value"):
        read("jsonl", file, mapping=mapping | {"cost": "by.cost"})
    with pytest.raises(UserError, match="unknown column 'price'"):
        read("jsonl", file, mapping={"price": "x"})


@pytest.mark.parametrize("suffix, mark", [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
def test_csv_is_text_and_nothing_is_guessed(tmp_path, suffix, mark):
    cells = [
        ["question", "model", "answer", "score", "usage.completion_tokens", "gold"],
        ["NA", "null", '"two\nlines, ""quoted"""', "0.5", "12", '"[""a"", ""b""]"'],
        ["nan", "null", "None", "yes", "", "NaN"],
    ]
    (tmp_path / f"a_test{suffix}").write_text("\n".join(mark.join(row) for row in cells) + "\n", encoding="utf-8")
    result = read("csv", tmp_path / f"a_test{suffix}", task="mine")
    first, second = rows_of(result)
    assert list(result.tables) == ["test"]
    assert (first["query"], first["llm"], first["response"]) == ("NA", "null", 'two\nlines, "quoted"')
    assert (first["performance"], first["output_tokens"], first["ground_truth"]) == (0.5, 12, ["a", "b"])
    assert (second["query"], second["response"], second["performance"]) == ("nan", "None", 1.0)
    assert second["output_tokens"] is None and second["ground_truth"] == ["NaN"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query,llm,score\na,b\n", r"line 2: expected 3 columns, found 2"),
        ("query,query\n1,2\n", "different column names"),
        ("query,llm,score\na,b,7\n", r"'score': expected a score in 0..1, found '7' \(see scale\)"),
        ("query,llm,score\na,b,good\n", "'score': expected a number, found 'good'"),
        ("query,llm,score,cost\na,b,1,free\n", "'cost': expected a number, found 'free'"),
        ("query,llm,score,input_tokens\na,b,1,1.5\n", "expected a whole number"),
        ("query,score\na,1\n", "expected a text 'llm', found keys query, score"),
        ("query,llm,score,created_at\na,b,1,yesterday\n", "expected a date or time"),
        ("", "empty"),
    ],
)
def test_wrong_csv_is_one_line_that_says_where(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read("csv", tmp_path / "a.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", ["5", "1-1", "a-b", "1-"])
def test_a_scale_has_two_ends(tmp_path, scale):
    with pytest.raises(UserError, match="expected the worst and the best rating"):
        read("jsonl", lines(tmp_path / "a.jsonl", {"query": "a", "llm": "b", "score": 3}), scale=scale)


def test_a_rating_off_the_scale_and_a_scale_upside_down(tmp_path):
    file = lines(tmp_path / "a.jsonl", {"query": "a", "llm": "b", "score": 6})
    with pytest.raises(UserError, match="expected a rating from 1 to 5, found 6"):
        read("jsonl", file, scale="1-5")
    assert rows_of(read("jsonl", file, scale="6-1"))[0]["performance"] == 0.0


def test_which_of_several_rows_stays(tmp_path):
    base = {"query": "q", "llm": "x"}
    file = lines(
        tmp_path / "a.jsonl", base | {"response": "1"}, base | {"response": "2", "score": 0.5, "cost": 1.0},
        base | {"response": "3", "score": 1.0, "cost": 2.0}, {"query": "other", "llm": "x", "score": 0},
    )  # fmt: skip
    found = {}
    for which in ("first", "last", "rated", "mean"):
        result = read("jsonl", file, on_duplicate=which)
        assert result.kept == 2 and sum(result.dropped.values()) == 2
        found[which] = rows_of(result)[0]
    assert [found[w]["response"] for w in ("first", "last", "rated", "mean")] == ["1", "3", "2", "1"]
    assert (found["mean"]["performance"], found["mean"]["cost"]) == (0.75, 1.5)
    with pytest.raises(UserError, match="several rows of one query, LLM and mode"):
        read("jsonl", file, on_duplicate="error")
    with pytest.raises(UserError, match="on_duplicate: expected one of"):
        read("jsonl", file, on_duplicate="best")
    with pytest.raises(UserError, match="is for the formats of your own logs"):
        read("routerdc", file, scale="1-5")


def test_importing_adds_up_and_says_what_differs(tmp_path, capsys):
    week = [{"query": f"q{i}", "llm": "x", "score": 1, "task": f"t{i % 2}"} for i in range(6)]
    first, second = lines(tmp_path / "1.jsonl", *week[:4]), lines(tmp_path / "2.jsonl", *week[2:])
    out = tmp_path / "bench"
    import_log("jsonl", first, out)
    result = import_log("jsonl", second, out)
    assert (result.merged.added, result.merged.same) == (2, 2) and len(Log(out)) == 6
    changed = lines(tmp_path / "3.jsonl", *({**row, "score": 0} for row in week[:2]))
    argv = ["import", "jsonl", str(changed), "--out", str(out), "--json", str(tmp_path / "r.json")]
    assert main(argv) == 0
    assert (
        "2 rows differ" in capsys.readouterr().out
        and json.loads((tmp_path / "r.json").read_text())["merged"]["older"] == 2
    )
    assert set(Log(out).table()["performance"].to_pylist()) == {1.0}
    assert main([*argv, "--newer"]) == 0
    assert sorted(Log(out).table()["performance"].to_pylist()) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert main([*argv, "--replace"]) == 0 and len(Log(out)) == 2


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0,001", 0.001), ("-0,5", -0.5), ("12,5", 12.5), ("1.234,5", 1234.5), ("1,234.5", 1234.5), ("$0.02", 0.02),
        ("0.02 USD", 0.02), ("1,234,567", 1234567), (" 3 ", 3), ("1e-3", 0.001), ("0,125", 0.125),
        ("1234,567", 1234.567),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text, number):
    assert as_number(text, "here") == pytest.approx(number)


@pytest.mark.parametrize("text", ["1,234", "-9,999", "€0.02", "1.2.3", "1,2,3", "0x10", "1_000,5", "12,34.5", "five"])
def test_numbers_that_could_be_two_or_none_are_refused(text):
    with pytest.raises(UserError, match="here: expected a number, found"):
        as_number(text, "here")


def test_a_sheet_as_excel_saves_it_abroad(tmp_path):
    lines = (
        "Query ; Model;NOTE;Cost USD;Served At\nWas ist 1?;m;1;0,002;31.12.2026 14:05\nWas ist 2?;m;5;$0,01;1.2.2026\n"
    )
    file = tmp_path / "mappe.csv"
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_bytes(lines.encode(encoding))
        mapping = {"performance": "NOTE"}
        import_log("csv", file, tmp_path / encoding, "train", "t", map=mapping, scale="5-1")
        rows = sorted(read_log(tmp_path / encoding).to_pylist(), key=lambda row: row["query"])
        assert [row["performance"] for row in rows] == [1.0, 0.0]
        assert [row["cost"] for row in rows] == [0.002, 0.01]
        assert rows[0]["served_at"].startswith("2026-12-31T14:05") and rows[1]["served_at"].startswith("2026-02-01")


@pytest.mark.parametrize("value", ["46186.5", 46186, "13/06/2026", "6/13/2026 2:05 PM", "32.1.2026"])
def test_a_date_that_is_none_or_could_be_two_is_refused(value):
    with pytest.raises(UserError, match="here: expected a date or time"):
        moment(value, "here")


def test_a_share_in_percent_is_a_score():
    reader = RowReader(keys_of({}, {}))
    assert reader.score("85%", "here") == 0.85 and reader.score("0,5 %", "here") == 0.005
    assert RowReader(keys_of({}, {}), (0.0, 100.0)).score("85%", "here") == 0.85
    with pytest.raises(UserError, match="expected a score in"):
        reader.score("185%", "here")


ROW = {"query": "What?", "llm": "m", "performance": 1}


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_packed_files_are_read_whatever_packed_them(ending, tmp_path):
    data = (json.dumps(ROW) + "\n").encode() * 3
    pack = {
        "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
        ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    }[ending]  # fmt: skip
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"a_test.jsonl{ending}").write_bytes(pack(data))
    import_log("jsonl", tmp_path / "logs", tmp_path / "out", task="t")
    assert read_log(tmp_path / "out", "test").num_rows == 1  # said three times
    if ending:
        (tmp_path / "logs" / f"a_test.jsonl{ending}").write_bytes(pack(data)[:-6])
        with pytest.raises(UserError, match="cannot be read"):
            import_log("jsonl", tmp_path / "logs", tmp_path / "cut", task="t")
        (tmp_path / "logs" / f"a_test.jsonl{ending}").write_bytes(data)
        with pytest.raises(UserError, match="found other bytes: rename it"):
            import_log("jsonl", tmp_path / "logs", tmp_path / "cut", task="t")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps([ROW], indent=2)), ("a.json", json.dumps({"data": [ROW]})),
        ("a.json", f"{json.dumps(ROW)}\n{json.dumps(ROW | {'llm': 'n'})}\n"),
        ("a.csv", "query,llm,performance\nWhat?,m,1\n"),
    ],
    ids=["a list", "data", "lines", "csv"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_the_content_says_how_a_file_is_read(form, name, text, tmp_path):
    (tmp_path / name).write_text(text)
    import_log(form, tmp_path / name, tmp_path / "out", split="train", task="t")
    assert read_log(tmp_path / "out")["performance"][0].as_py() == 1.0


def test_a_workbook_and_an_archive_say_what_to_do(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(UserError, match="an Excel workbook: unpack it, or save the sheet as CSV"):
        import_log("csv", tmp_path / "a.xlsx", tmp_path / "out", split="train", task="t")


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "9" * 10_000], ids=["nested", "digits"])
@pytest.mark.parametrize("form", ["jsonl", "routerdc", "openai-log"])
def test_json_that_python_cannot_read_is_an_error_with_its_place(tmp_path, form, value):
    path = tmp_path / ("a.json" if form == "routerdc" else "a.jsonl")
    path.write_text('{"query": "a", "llm": "x", "performance": 1, "more": ' + value + "}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"{path.name}.*expected (a )?JSON"):
        read(form, path)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_hf.logs.importers._files.LONGEST_LINE", 1 << 20)
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.write(b'{"query": "a", "llm": "x", "performance": 1}\n' * 10 + b" " * (1 << 27) + b"\n")
    with pytest.raises(UserError, match="line 11: expected a line of less than 1 MiB"):
        read("jsonl", tmp_path / "a.jsonl.gz")

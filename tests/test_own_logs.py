"""Logs as people have them: CSV, nested keys, chats, ratings, numbers as text, dates, and rows that repeat."""

import json

import pytest

from fusion_hf import Log, UserError, import_log
from fusion_hf.cli import main
from fusion_hf.logs.importers import read


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

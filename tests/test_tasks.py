"""Tasks: prompts and reference answers of every task, and loading rows from local files of the source's columns."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from fusion_hf import plugins
from fusion_hf.errors import UserError
from fusion_hf.tasks import TASKS, get_task, with_mode
from fusion_hf.tasks.graders import GRADERS
from fusion_hf.tasks.load import load_examples

DATA = Path(__file__).parents[2] / "shared" / "data"


def gsm_rows(n):
    return [{"question": f"How many is {i}?", "answer": f"It is {i}.\n#### {i}"} for i in range(n)]


PUBLISHED = (
    "gsm8k", "math", "human_eval", "mbpp", "arc_challenge", "commonsense_qa", "hellaswag", "openbook_qa", "natural_qa",
    "trivia_qa", "boolq", "squad", "gpqa", "mmlu",
)  # fmt: skip


def lines(path, rows):
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_fourteen_tasks_in_six_domains_with_known_metrics():
    published = {t: TASKS[t].domain for t in PUBLISHED}
    assert len(published) == 14 and len(set(published.values())) == 6
    assert {t.metric for t in TASKS.values()} <= set(GRADERS)
    assert all(set(t.splits) == {"train", "test"} for t in TASKS.values())
    with pytest.raises(ValueError, match="unknown task 'chess'"):
        get_task("chess")


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError):
        with_mode("q", "loud")


def test_rows_of_a_file_keep_their_order(tmp_path):
    examples = load_examples("gsm8k", "train", source=lines(tmp_path / "rows.jsonl", gsm_rows(5)))
    assert [e.ground_truth for e in examples] == [[str(i)] for i in range(5)]
    assert [e.source_id for e in examples] == list("01234") and examples[3].query.startswith("How many is 3?")


def test_a_folder_gives_each_split_its_files(tmp_path):
    lines(tmp_path / "train-00000.jsonl", gsm_rows(3))
    lines(tmp_path / "test.jsonl", gsm_rows(60))
    assert len(load_examples("gsm8k", "train", source=tmp_path)) == 3
    assert len(load_examples("gsm8k", "test", source=tmp_path)) == 60
    assert len(load_examples("gsm8k", "partial_test", source=tmp_path)) == 50


def test_a_sample_is_a_seeded_subset_in_order(tmp_path):
    path = lines(tmp_path / "rows.jsonl", gsm_rows(200))
    whole = load_examples("gsm8k", "train", source=path)
    first, again, other = (load_examples("gsm8k", "train", 20, seed, path) for seed in (0, 0, 1))
    assert first == again != other and len(first) == 20
    assert [e for e in whole if e in first] == first
    assert load_examples("gsm8k", "train", 1000, source=path) == whole


def test_code_tasks_take_their_rows_by_task_id(tmp_path):
    mbpp = [
        {"text": f"t{i}", "test_list": [f"assert f({i})"], "test_setup_code": "", "task_id": i} for i in range(1, 975)
    ]
    path = lines(tmp_path / "mbpp.jsonl", mbpp[500:] + mbpp[:500])
    train, test = (load_examples("mbpp", split, source=path) for split in ("train", "test"))
    assert [e.source_id for e in train] == [str(i) for i in range(601, 975)]
    assert [e.source_id for e in test] == [str(i) for i in range(11, 511)]
    rows = [
        {"task_id": f"HumanEval/{i}", "prompt": "def f(x):\n", "test": "def check(c): pass", "entry_point": "f"}
        for i in range(164)
    ]
    path = lines(tmp_path / "human_eval.jsonl", rows)
    train, test = (load_examples("human_eval", split, source=path) for split in ("train", "test"))
    assert (len(train), len(test)) == (114, 50) and test[0].source_id == "HumanEval/114"


def test_a_part_of_a_code_source_gives_its_own_rows(tmp_path):
    part = [{"text": f"t{i}", "test_list": ["assert f()"], "task_id": i} for i in (5, 11, 510, 511, 600, 601, 974)]
    path = lines(tmp_path / "mbpp.jsonl", part)
    assert [e.source_id for e in load_examples("mbpp", "train", source=path)] == ["601", "974"]
    assert [e.source_id for e in load_examples("mbpp", "test", source=path)] == ["11", "510"]


def test_gpqa_is_split_once_whatever_the_order(tmp_path):
    rows = [
        {"Question": f"q{i}", "Correct Answer": "yes", **{f"Incorrect Answer {k}": f"no{k}" for k in (1, 2, 3)}}
        | {"Record ID": f"r{i}"}
        for i in range(100)
    ]
    one, two = lines(tmp_path / "one.jsonl", rows), lines(tmp_path / "two.jsonl", rows[::-1])
    train, test = ({e.source_id for e in load_examples("gpqa", s, source=one)} for s in ("train", "test"))
    assert len(train) == 80 and len(test) == 20 and not train & test
    assert {e.source_id for e in load_examples("gpqa", "test", source=two)} == test
    for example in load_examples("gpqa", "train", source=one):  # the gold letter follows the options shown
        letter = example.ground_truth[0]
        assert f"{letter} yes" in example.query
    assert len({e.ground_truth[0] for e in load_examples("gpqa", "train", source=one)}) == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1}', "expected a column 'question', found a"),
        ("{", "cannot be read as jsonl"),
        ("[1]", "expected a list of objects"),
        ("", "is empty"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, content, says):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=says):
        load_examples("gsm8k", "train", source=path)


def test_wrong_arguments_give_one_line(tmp_path):
    path = lines(tmp_path / "rows.jsonl", gsm_rows(3))
    for arguments, says in (
        (("chess", "train"), "unknown task"),
        (("gsm8k", "dev"), "unknown split"),
        (("gsm8k", "train", 0, 0, path), "limit of at least 1"),
        (("gsm8k", "train", None, 0, tmp_path / "none"), "found nothing there"),
        (("gsm8k", "test", None, 0, tmp_path), "no .parquet or .jsonl file of the split"),
        (("mbpp", "train", None, 0, path), "mbpp: expected a column 'task_id' that ends in a number"),
        (("gsm8k", "train", None, 0, path, "loud"), "unknown prompt version 'loud': expected one of plain, paper"),
    ):
        with pytest.raises(UserError, match=says):
            load_examples(*arguments)
    (tmp_path / "rows.txt").write_text("x")
    with pytest.raises(UserError, match=r"expected a \.parquet"):
        load_examples("gsm8k", "train", source=tmp_path / "rows.txt")


def test_a_source_that_cannot_be_reached_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"Idavidrein/gpqa .*source=") as error:
        load_examples("gpqa", "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "name", "rows"), [("gsm8k", "gsm8k/test.jsonl.gz", 1319), ("mbpp", "code/mbpp.jsonl.gz", 500)]
)
def test_published_files(task, name, rows):
    if not (DATA / name).exists():
        pytest.skip(f"needs ../shared/data/{name}, which is absent")
    examples = load_examples(task, "test", source=DATA / name)
    assert len(examples) == rows == len({e.source_id for e in examples})


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_line_separator_inside_a_text_splits_no_row(tmp_path, mark):
    row = {"question": f"Ana has 2 apples.{mark}How many with 3 more?", "answer": "#### 5"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    examples = load_examples("gsm8k", "test", source=tmp_path / "rows.jsonl")
    assert len(examples) == 1 and mark in examples[0].query


def test_a_task_that_is_added_later_is_known_and_takes_no_name_of_ours(tmp_path, monkeypatch):
    monkeypatch.setitem(plugins._ADDED, "tasks", {})
    before, text = dict(TASKS), "from dataclasses import replace\nfrom fusion_hf.tasks.gsm8k import TASK\n"
    (tmp_path / "added_later.py").write_text(f"{text}TASK = replace(TASK, name='later', domain='Zoo')\n")
    (tmp_path / "added_later").mkdir()  # a folder of that name is no module
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "an_impostor.py").write_text(f"{text}TASK = replace(TASK, metric='cem')\n")
    try:
        assert plugins.add(tmp_path / "added_later.py") == {"tasks": "added_later"}
        assert set(TASKS) == {*before, "later"} and get_task("later").domain == "Zoo" and len(TASKS) == len(before) + 1
        plugins.add(tmp_path / "an_impostor.py")
        assert TASKS["gsm8k"] is before["gsm8k"]
        with pytest.raises(UserError, match="whose name is not taken yet, found 'gsm8k'"):
            get_task(str(tmp_path / "an_impostor.py"))
    finally:
        for name in ("later", "added_later", "an_impostor"):
            TASKS.pop(name, None), sys.modules.pop(name, None)

"""The contract of every task, on a row of its source (`contract_inputs.TASKS`)."""

import gzip
import json
import re
from dataclasses import replace

import contract_inputs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusion_hf.errors import UserError
from fusion_hf.tasks import TASKS, THINK_SUFFIX, get_task, in_version, with_mode
from fusion_hf.tasks.described import open_task
from fusion_hf.tasks.graders import GRADERS, VERSIONS, grade
from fusion_hf.tasks.load import load_examples

SHOWN = re.compile(r"such as|for example|e\.g\.|####\s*\d|\([A-J]\)\s*\.?$")
every_task = pytest.mark.parametrize("name", TASKS)


def row_of(name):
    assert name in contract_inputs.TASKS, f"no row to test the task {name!r} with"
    return contract_inputs.TASKS[name]


@every_task
def test_a_task_says_what_it_is(name):
    task = TASKS[name]
    assert get_task(name) is open_task(name) is task and task.name == name
    assert task.metric in GRADERS and set(task.splits) == {"train", "test"}
    assert all(isinstance(text, str) and text for text in (task.domain, task.description, task.source, task.licence))
    limits = task.max_tokens
    assert not limits or 0 < limits["direct"] <= limits.get("think", limits["direct"])


@every_task
def test_an_example_has_a_prompt_and_reference_answers(name):
    task, row = TASKS[name], row_of(name)
    before = json.dumps(row)
    example = task.example(row, 0)
    assert example == task.example(row, 0) and json.dumps(row) == before
    assert isinstance(example.source_id, str) and isinstance(example.query, str) and example.query.strip()
    assert example.ground_truth and all(isinstance(answer, str) and answer for answer in example.ground_truth)
    assert with_mode(example.query, "think") == example.query + THINK_SUFFIX


@every_task
def test_the_plain_prompt_shows_no_answer_that_could_be_copied(name):
    task, published = TASKS[name], TASKS[name].example(row_of(name), 0)
    plain = in_version(task, published, "plain")
    assert plain.prompt_version == "plain@1" and not SHOWN.search(plain.query)
    assert in_version(task, published, "paper") == replace(published, prompt_version="paper@1")
    shown = SHOWN.search(published.query)
    assert bool(shown) == bool(task.answer_example) == (plain.query != published.query)
    if shown:
        assert task.answer_example in published.query and plain.query.endswith(".")


@every_task
@pytest.mark.parametrize("version", VERSIONS)
def test_a_plainly_right_answer_counts(name, version):
    task = TASKS[name]
    example = task.example(row_of(name), 0)
    right = contract_inputs.RIGHT.get(name, f"The answer is {example.ground_truth[0]}.")
    assert grade(task.metric, right, example.ground_truth, example.query, version).score == 1.0
    wrong = contract_inputs.WRONG.get(name, "I have no idea at all, 7777.")
    assert grade(task.metric, wrong, example.ground_truth, example.query, version).score == 0.0


@every_task
def test_local_files_of_every_kind_give_the_same_examples(name, tmp_path):
    row, found = row_of(name), []
    text = json.dumps(row)
    (tmp_path / "rows.jsonl").write_text(text)
    (tmp_path / "rows.json").write_text(f"[{text}]")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    for path in sorted(tmp_path.iterdir()):
        found.append({split: examples_of(name, split, path) for split in ("train", "test")})
    assert found[0] == found[1] == found[2] == found[3]
    examples = [example for part in found[0].values() for example in part]
    assert examples and all(e.ground_truth == TASKS[name].example(row, 0).ground_truth for e in examples)


def examples_of(name, split, path):
    """None where the row belongs to the other split."""
    try:
        return load_examples(name, split, source=path)
    except UserError as error:
        if "is empty" not in str(error):
            raise
        return []

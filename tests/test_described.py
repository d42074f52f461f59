"""A task of one's own in a YAML file, and exact match."""

import json

import pytest

from fusion_hf import Log, UserError, grade, import_log
from fusion_hf.tasks import get_task
from fusion_hf.tasks.described import described_task, open_task
from fusion_hf.tasks.load import load_examples

TASK = """name: {name}
metric: exact_match
prompt: "A customer writes: {{text}}\\nWhich team? Answer with one word."
references: team
rows: {rows}
id: ticket
max_tokens: 8
"""
ROWS = [
    {"text": "My card {x} was declined", "team": "billing", "ticket": 7},
    {"text": "It crashes", "team": ["apps", "mobile"], "ticket": 8},
]


@pytest.fixture
def task(tmp_path, request):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    name = "support-" + request.node.name.strip("[]")[-30:].replace("/", "-")
    (tmp_path / "support.yaml").write_text(TASK.format(name=name, rows="rows.jsonl"))
    return tmp_path / "support.yaml"


def test_a_yaml_file_is_a_task(task):
    found = open_task(str(task))
    assert get_task(found.name) is found and found.metric == "exact_match"
    assert open_task(str(task)).name == found.name  # again
    first, second = load_examples(found, "train", source=found.source)
    assert first.query == "A customer writes: My card {x} was declined\nWhich team? Answer with one word."
    assert (first.source_id, first.ground_truth, second.ground_truth) == ("7", ["billing"], ["apps", "mobile"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metric: nothing\nprompt: a\nreferences: b", "metric: expected one of .*exact_match"),
        ("metric: cem\nreferences: b", "prompt: expected what is asked"),
        ("metric: cem\nprompt: a\nreferences: b\ncolour: red", "unknown key 'colour'"),
        ("metric: cem\nprompt: a\nreferences: b\nmax_tokens: -1", "max_tokens: expected"),
        ("- a", "expected keys such as name"),
    ],
)
def test_what_is_wrong_is_one_line(text, message, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        described_task(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)


def test_a_name_that_is_taken_is_refused(tmp_path):
    (tmp_path / "gsm8k.yaml").write_text("metric: cem\nprompt: a\nreferences: b")
    with pytest.raises(UserError, match="expected a name that no task has yet, found 'gsm8k'"):
        open_task(str(tmp_path / "gsm8k.yaml"))


def test_imported_rows_are_graded_by_its_metric(task, tmp_path):
    rows = [{"query": "Which team?", "llm": llm, "response": said, "gold": "billing"}
            for llm, said in (("ant", "Billing."), ("bee", "The billing team"))]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_log("jsonl", tmp_path / "log.jsonl", tmp_path / "bench", task=str(task))
    assert grade(tmp_path / "bench", out=tmp_path / "graded").graded == 2
    table = Log(tmp_path / "graded").table("train")
    assert dict(zip(table["llm"].to_pylist(), table["performance"].to_pylist(), strict=True)) == {
        "ant": 1.0,
        "bee": 0.0,
    }


def test_it_is_collected_without_a_line_of_python(task, tmp_path):
    from fusion_hf.llms.collect import collect_tasks
    from fusion_hf.llms.pool import LLM, Pool

    pool = Pool([LLM("m", "small", 1.0, 2.0, base_url="http://127.0.0.1:1/v1")])
    plan = collect_tasks(pool, [str(task)], "train", None, tmp_path / "logs", modes=["direct"], dry_run=True)
    assert sum(row["requests"] for row in plan.to_dict()["by_llm"].values()) == 2

"""Graders: the table of cases, laws over it, whole logs, and agreement with publishers' verdicts."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import grader_page
import pyarrow as pa
import pytest

from fusion_hf.errors import UserError
from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.schema import rows_to_table
from fusion_hf.tasks import TASKS
from fusion_hf.tasks.graders import GRADERS, VERSIONS, _math_worker, grade, grader_name
from fusion_hf.tasks.graders.code_eval import read_program

CASES = json.loads((Path(__file__).parent / "grader_cases.json").read_text(encoding="utf-8"))
DATA = Path(__file__).parents[2] / "shared" / "data"


def needs(name):
    """The file, or a skip that names it."""
    if not (DATA / name).exists():
        pytest.skip(f"needs ../shared/data/{name}, which is absent")
    return DATA / name


@pytest.mark.parametrize(
    ("case", "version"),
    [
        pytest.param(
            case,
            version,
            id=f"{version} {case['metric']}: {case['response'][:30]!r} for {case['ground_truth'][0][:20]}",
        )
        for case in CASES
        for version in VERSIONS
        if case[version] is not None
    ],
)
def test_case(case, version):
    found = grade(case["metric"], case["response"], case["ground_truth"], case["query"], version)
    assert found.score == case[version], found


def test_table_covers_the_published_list():
    stated = [c for c in CASES if c["source"].startswith("shared/graders.md")]
    published = set(GRADERS) - {"exact_match"}  # which is for tasks of one's own
    assert {c["metric"] for c in stated} == published and {c["metric"] for c in CASES} == set(GRADERS)
    # Every metric has a row of that list on which the two versions disagree: that is why there are two.
    assert {c["metric"] for c in stated if c["paper"] is not None and c["paper"] != c["strict"]} == published


def test_wrong_input_is_refused_in_one_line():
    for arguments in (
        ("bleu", "x", ["1"]),
        ("cem", "x", []),
        ("cem", "x", "1"),
        ("cem", "x", ["1"], "", "loose"),
        ("code_eval", "x", ["not json"]),
        ("code_eval", "x", ['{"tests": []}']),
    ):
        with pytest.raises(UserError) as error:
            grade(*arguments)
        assert "expected" in str(error.value) and "\n" not in str(error.value)


def test_graders_are_pure():
    for case in CASES:
        if case["metric"] in ("cem", "em_mc", "gsm8k"):
            arguments = (case["metric"], case["response"], case["ground_truth"], case["query"])
            assert grade(*arguments) == grade(*arguments)


@pytest.mark.parametrize(
    "fence", ["```" + " " * 200_000 + "x", "```" + "a" * 200_000 + "!", "```\n" * 50_000, "[BEGIN]" * 30_000]
)
def test_fences_are_found_in_one_pass(fence):
    """A pattern over the whole text took a minute for the first of these."""
    gold = {"prompt": "", "setup": "", "tests": ["assert f(1)"], "entry_point": ""}
    start = time.process_time()
    read_program(fence, gold)
    assert time.process_time() - start < 2


def test_the_page_of_rules_is_up_to_date():
    assert grader_page.PAGE.read_text(encoding="utf-8") == grader_page.page(), "run: python tests/grader_page.py"
    assert {c.get("kind", "") for c in CASES} == set(grader_page.RULES)


def test_what_is_debatable_says_why():
    debatable = [c for c in CASES if "reason" in c]
    assert {c["kind"] for c in debatable} >= {
        "math: interval and inequality of the same set differ", "cem: sign, ampersand, glued unit"
    }  # fmt: skip
    assert all(len(c["reason"].split()) > 3 for c in debatable)


def test_every_rule_has_neighbours_of_the_public_reports():
    for kind in {c["kind"] for c in CASES if "kind" in c}:
        rows = [c["source"] for c in CASES if c.get("kind") == kind]
        public = sum(source.startswith("public report") for source in rows)
        assert len(rows) >= 2 * public, kind


def test_more_golds_never_lower_a_score():
    for case in CASES:
        if case["metric"] == "cem" and case["strict"] == 1 and case["ground_truth"][0].lower() not in ("true", "false"):
            more = ["zzz", *case["ground_truth"]]
            assert grade("cem", case["response"], more, case["query"]).score == 1.0


def log_row(metric, response, gold, llm="ant", **more):
    base = {"query_id": gold[:8], "task": "t", "source_id": "0", "query": "q", "llm": llm, "mode": "direct"}
    return base | {"metric": metric, "response": response, "ground_truth": [gold]} | more


def test_a_whole_log_is_graded_and_missing_stays_null():
    code = json.dumps({"prompt": "", "setup": "", "tests": ["assert f(1) == 2"], "entry_point": ""})
    rows = [
        log_row("gsm8k", "#### 18", "18"),
        log_row("gsm8k", None, "18", "bee", error="timeout"),
        log_row("gsm8k", "#### 18", "18", "cow"),
        log_row("math", "\\boxed{\\sqrt{12}}", "2\\sqrt3"),
        log_row("code_eval", "[BEGIN]\ndef f(x): return x + 1\n[DONE]", code),
        log_row("cem", "", "Paris"),
    ]
    table = grade_table(rows_to_table(rows))
    assert table["performance"].to_pylist() == [1.0, None, 1.0, 1.0, 1.0, 0.0]
    assert table["grader"].to_pylist() == [
        *("gsm8k/strict@3", None, "gsm8k/strict@3", "math/strict@3", "code_eval/strict@3", "cem/strict@3")
    ]
    assert table["extracted"].to_pylist()[:2] == ["18", None]
    assert table.column_names == rows_to_table(rows).column_names
    assert grade_table(table).equals(table)


def test_publishers_scores_without_a_gold_answer_stay():
    rows = [log_row("publisher", "yes", "x", performance=0.25, grader="publisher/x@1") | {"ground_truth": []}]
    table = grade_table(rows_to_table(rows))
    assert table["performance"].to_pylist() == [0.25] and table["grader"].to_pylist() == ["publisher/x@1"]


def test_a_log_that_cannot_be_graded_says_why():
    with pytest.raises(UserError, match="row 1, column 'metric'"):
        grade_table(rows_to_table([log_row("cem", "a", "a"), log_row("bleu", "a", "a")]))
    with pytest.raises(UserError, match="expected a column 'metric'"):
        grade_table(pa.table({"response": ["a"]}))
    assert grader_name("cem", "paper") == "cem/paper@1"


def test_code_that_reads_its_checker_is_refused():
    gold = json.dumps({"prompt": "", "setup": "", "tests": ["assert f(1) == 2"], "entry_point": ""})
    found = grade("code_eval", "[BEGIN]\nimport sys\ndef f(x): return sys._getframe().f_back\n[DONE]", [gold])
    assert found.score == 0.0 and "frames" in found.reason


def test_the_reading_of_a_program_is_python():
    for case in (c for c in CASES if c["metric"] == "code_eval" and c["strict"] == 1):
        compile(read_program(case["response"], json.loads(case["ground_truth"][0])), "x", "exec")


@pytest.mark.parametrize(("version", "least"), [("strict", 1.0), ("paper", 0.999)])
def test_agreement_with_the_verdicts_of_gsm8k_solutions(version, least):
    agree = total = 0
    with gzip.open(needs("gsm8k/example_model_solutions.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            gold = [row["ground_truth"].split("A:")[-1].strip()]
            for answer in (v for v in row.values() if isinstance(v, dict)):
                score = grade("gsm8k", answer["solution"], gold, "", version).score
                agree += (score == 1.0) == answer["is_correct"]
                total += 1
    assert total == 5276 and agree / total >= least


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file", "wanted"), [("human_eval", "HumanEval", 164), ("mbpp", "mbpp", 974)])
def test_reference_solutions_pass(name, file, wanted):
    rows = []
    with gzip.open(needs(f"code/{file}.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for i, line in enumerate(lines):
            source = json.loads(line)
            gold = TASKS[name].example(source, i).ground_truth[0]
            code = source.get("canonical_solution") or source["code"]
            rows.append(log_row("code_eval", f"[BEGIN]\n{code}\n[DONE]", gold, llm=str(i)))
    table = grade_table(rows_to_table(rows))
    failed = [r["llm"] for r in table.select(["llm", "performance"]).to_pylist() if r["performance"] < 1]
    assert len(rows) == wanted and not failed


STUB = """
import time
class LatexExtractionConfig: pass
class ExprExtractionConfig: pass
def parse(text, *arguments, **options): return [text]
def verify(left, right, **options):
    {body}
"""


@pytest.mark.parametrize(("body", "same"), [("time.sleep(6); return True", b"true"), ("while True: pass", b"false")])
def test_algebra_is_limited_by_cpu_time_so_that_a_busy_machine_makes_no_answer_wrong(tmp_path, body, same):
    (tmp_path / "math_verify.py").write_text(STUB.format(body=body))
    worker = [sys.executable, "-P", _math_worker.__file__]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(worker, input=b'["x", "x"]\n', env=env, stdout=subprocess.PIPE, timeout=600)
    assert ran.stdout.strip() == same

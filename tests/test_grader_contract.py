"""The contract of every grader, on a right answer (`contract_inputs.GRADERS`) and on texts that nobody expects."""

import time

import contract_inputs
import pytest

from fusion_hf.errors import UserError
from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.schema import rows_to_table
from fusion_hf.tasks.graders import GRADERS, VERSIONS, Grade, grade, grader_name

every_grader = pytest.mark.parametrize("metric", GRADERS)
every_version = pytest.mark.parametrize("version", VERSIONS)
ODD = (
    "", " ", "\\boxed{", "((((", "\x00", "####", "answer is", "**", "1" * 5000, "(A)" * 3000, "é" * 100, "9/0", "1e999",
    "[BEGIN]", "```", "\ud83d",
)  # fmt: skip
ENDLESS = (
    "1", "(A)", "answer is ", "answer to x ", "*", "\\boxed{", " ", "$", "\n", "a", "1 ", "####", "true ", "1,", "-",
    "[BEGIN]", "```\n", "A: \n", "* ", "answer *", "import a\n", "\\frac{", "{", "= ", ". ", "**1 ", "def f(x):\n",
    "<think>", "</think>", "\nQ: a", "```\nQ: a\n", "<|im_end|>", '{"answer": "', "<answer>", "(A), ", "A or ",
    "option A ", "no, ", "yes? ", "1 2/3 ", "1 000 ", "10^", "\\[", "½", "北", "> ", "```python\n",
    " def f(x): return (", ">>> ", "#### 1\n", "\\boxed{}", "\\begin{align}", "答", "0.(6)", "x<", "\"\"\"", "lambda:",
    "seven ",
)  # fmt: skip


def sample(metric):
    assert metric in contract_inputs.GRADERS, f"no answer to test the grader {metric!r} with"
    return contract_inputs.GRADERS[metric]


@every_grader
@every_version
def test_right_is_one_and_nothing_is_zero(metric, version):
    right, truth, query = sample(metric)
    found = grade(metric, right, truth, query, version)
    assert isinstance(found, Grade) and found.score == 1.0 and found.reason
    assert found == grade(metric, right, truth, query, version)  # a grader is pure
    nothing = grade(metric, "", truth, query, version)
    assert (nothing.score, nothing.extracted or "") == (0.0, "") and nothing.reason


@every_grader
@every_version
def test_odd_text_never_raises(metric, version):
    for response in ODD:
        found = grade(metric, response, *sample(metric)[1:], version)
        assert isinstance(found, Grade) and 0.0 <= found.score <= 1.0, response


@every_grader
@every_version
def test_a_missing_response_has_no_grade(metric, version):
    with pytest.raises(ValueError, match="missing response"):
        grade(metric, None, *sample(metric)[1:], version)


@every_grader
def test_wrong_arguments_are_refused_in_one_line(metric):
    _, truth, query = sample(metric)
    for arguments in ((metric, "x", []), (metric, "x", truth[0]), (metric, "x", truth, query, "loose")):
        with pytest.raises(UserError, match="expected") as error:
            grade(*arguments)
        assert "\n" not in str(error.value)


@every_grader
def test_a_log_is_graded_and_missing_stays_null(metric):
    right, truth, query = sample(metric)
    base = {"query_id": "q", "task": "t", "source_id": "0", "query": query, "mode": "direct", "metric": metric,
            "ground_truth": truth}  # fmt: skip
    replies = (right, "", None)
    table = rows_to_table([base | {"llm": f"llm-{i}", "response": reply} for i, reply in enumerate(replies)])
    graded = grade_table(table)
    assert graded["performance"].to_pylist() == [1.0, 0.0, None]
    assert graded["grader"].to_pylist() == [grader_name(metric), grader_name(metric), None]
    assert grader_name(metric).startswith(f"{metric}/strict@") and grade_table(graded).equals(graded)


def seconds_for(metric, text, size):
    _, truth, query = sample(metric)
    start = time.process_time()
    for truths in (["True"], ["(A)"]) if metric == "cem" else (truth,):
        for version in VERSIONS:
            grade(metric, text * (size // len(text)), truths, query, version)
    return time.process_time() - start


@every_grader
def test_an_endless_response_takes_no_endless_time(metric):
    for text in ENDLESS:
        assert seconds_for(metric, text, 20_000) < 2, text


@pytest.mark.slow
@every_grader
def test_a_megabyte_takes_no_endless_time(metric):
    for text in ENDLESS:
        assert seconds_for(metric, text, 1_000_000) < 20, text

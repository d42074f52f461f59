"""Code: the program passes the tests of its task (Chen et al., arXiv 2107.03374), run in `fusion_hf.tasks.sandbox`.

The gold answer is one JSON object: ``{"prompt": code that the answer completes, "setup": code that prepares the tests,
"tests": [code], "entry_point": name that the answer must define or complete ("" where the tests name it)}``.
"""

import json
import re
from collections.abc import Sequence

from ...errors import UserError
from ..sandbox import run_python
from ._grade import Grade
from ._program import read_program

# CPU time decides, so that a busy machine fails nobody; the wall clock is for programs that sleep.
CPU_S, TIMEOUT_S = 10.0, 30.0
_FRAMES = re.compile(r"\b(?:f_back|_getframe|currentframe|tb_frame|f_locals|get_referrers|get_objects)\b")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """What stands between the first [BEGIN] and [DONE] passes the tests, as one attempt (pass@1)."""
    gold = read_gold(ground_truth)
    _, begun, rest = response.partition("[BEGIN]")
    code, done, _ = rest.partition("[DONE]")
    if not (begun and done):
        return Grade(0.0, None, "no [BEGIN] … [DONE]")
    defined = f"def {gold['entry_point']}" in code
    return _run(code if defined or not gold["prompt"] else gold["prompt"] + code, gold)


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last block of code that reads as Python, whole or completing the prompt, passes the tests."""
    gold = read_gold(ground_truth)
    program = read_program(response, gold, query)
    if program is None:
        return Grade(0.0, None, "no Python code could be read")
    if _FRAMES.search(program):
        return Grade(0.0, program, "the code looks into the frames of the program that checks it")
    return _run(program, gold)


def read_gold(ground_truth: Sequence[str]) -> dict:
    """The gold answer's JSON object, checked."""
    try:
        gold = json.loads(ground_truth[0])
        if set(gold) >= {"prompt", "setup", "tests", "entry_point"} and isinstance(gold["tests"], list):
            return gold
        found = ", ".join(gold)
    except (json.JSONDecodeError, TypeError) as error:
        found = f"{ground_truth[0]!r:.60} ({error})"
    raise UserError(f"code_eval: expected gold JSON with prompt, setup, tests and entry_point, found {found}")


def _run(program: str, gold: dict) -> Grade:
    result = run_python(program, timeout=TIMEOUT_S, cpu_s=CPU_S, setup=gold["setup"], tests=gold["tests"])
    return Grade(float(result.ok), program, result.reason)

"""Code: the program passes the tests of its task (Chen et al., arXiv 2107.03374), run in `fusion_hf.tasks.sandbox`.

The reference answer is one JSON object: ``{"prompt": code that the answer completes, "setup": code that prepares the
tests, "tests": [code], "entry_point": name that the answer must define or complete ("" where the tests name it)}``.
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
    reference = read_reference(ground_truth)
    _, begun, rest = response.partition("[BEGIN]")
    code, done, _ = rest.partition("[DONE]")
    if not (begun and done):
        return Grade(0.0, None, "no [BEGIN] … [DONE]")
    defined = f"def {reference['entry_point']}" in code
    return _run(code if defined or not reference["prompt"] else reference["prompt"] + code, reference)


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last block of code that reads as Python, whole or completing the prompt, passes the tests."""
    reference = read_reference(ground_truth)
    program = read_program(response, reference, query)
    if program is None:
        return Grade(0.0, None, "no Python code could be read")
    if _FRAMES.search(program):
        return Grade(0.0, program, "the code looks into the frames of the program that checks it")
    return _run(program, reference)


def read_reference(ground_truth: Sequence[str]) -> dict:
    """The reference answer's JSON object, checked."""
    try:
        reference = json.loads(ground_truth[0])
        if set(reference) >= {"prompt", "setup", "tests", "entry_point"} and isinstance(reference["tests"], list):
            return reference
        found = ", ".join(reference)
    except (json.JSONDecodeError, TypeError) as error:
        found = f"{ground_truth[0]!r:.60} ({error})"
    raise UserError(
        f"code_eval: expected JSON of the reference answer with prompt, setup, tests and entry_point, found {found}"
    )


def _run(program: str, reference: dict) -> Grade:
    result = run_python(program, timeout=TIMEOUT_S, cpu_s=CPU_S, setup=reference["setup"], tests=reference["tests"])
    return Grade(float(result.ok), program, result.reason)

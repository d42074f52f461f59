"""Reference answers as FusionBench publishes them -> in the form that our graders read."""

import ast
import json
import re
from collections.abc import Mapping

from ...tasks._choice import LETTERS
from ...tasks.math import last_boxed

METRICS = {"GSM8K": "gsm8k", "MATH": "math", "em_mc": "em_mc", "code_eval": "code_eval", "cem": "cem"}
_STUB = re.compile(r"Complete the following function:\n\n {16}(.*?)\n\n {16}Implement the function body only\.", re.S)


def reference_of(
    metric: str | None, reference: str | None, query: str, choices: Mapping[str, list] | None = None
) -> tuple[str, list[str]]:
    """(our metric, reference answers) of the published metric and ground truth; none where there is none.

    `choices` holds the labels of multiple choice, where they were published.
    """
    metric = METRICS.get(metric or "", metric or "publisher")
    if reference is None:
        return metric, []
    reference = str(reference)
    if metric == "em_mc":
        reference = _letter(reference, choices or {})
    elif metric == "gsm8k":
        reference = reference.split("####")[-1].strip()
    elif metric == "math":
        reference = last_boxed(reference) or reference
    elif metric == "code_eval":
        reference = _code(reference, query)
    return metric, [reference]


def _letter(reference: str, choices: Mapping[str, list]) -> str:
    """``(B)`` for a reference label, by its place among the labels (so that 1-4 map to A-D)."""
    labels = choices.get("label") or choices.get("labels")
    label = reference.strip("() .")
    if labels and label in labels:
        place = labels.index(label)
    else:
        place = int(label) - 1 if re.fullmatch("[1-9]", label) else LETTERS.find(label.upper()) if label else -1
    return f"({LETTERS[place]})" if 0 <= place < len(LETTERS) else reference


def _code(reference: str, query: str) -> str:
    """Our reference JSON: MBPP lists its tests in text, HumanEval has a ``check`` function for the last ``def``."""
    try:
        tests = ast.literal_eval(reference)
    except (ValueError, SyntaxError):
        tests = None
    if isinstance(tests, list):
        return json.dumps({"prompt": "", "setup": "", "tests": tests, "entry_point": ""})
    wrapped = _STUB.search(query)
    prompt = wrapped.group(1) if wrapped else query
    names = re.findall(r"^def (\w+)", prompt, re.M)
    entry = names[-1] if names else ""
    return json.dumps({"prompt": prompt, "setup": "", "tests": [reference, f"check({entry})"], "entry_point": entry})

"""From a response to a score: one file a metric, two versions each.

``paper`` reproduces the graders of FusionBench as published, so that figures compare; ``strict`` is right, and the
default. A response that cannot be read scores 0 with the reason; a response that is missing (None) has no score.
A metric is a file in this folder with `paper` and `strict`: functions of (response, ground_truth, query) that return
a `Grade`; it is found by its file name. Changing what a version returns raises its `REVISION`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType

from ... import plugins
from ...errors import UserError
from ._grade import Grade

VERSIONS = ("strict", "paper")
REVISION = {"strict": 3, "paper": 1}


GRADERS: Mapping[str, ModuleType] = plugins.Plugins("graders")


def grader_name(metric: str, version: str = "strict") -> str:
    """Name that is written into the log, such as ``gsm8k/strict@3``."""
    _check(metric, version)
    return f"{metric}/{version}@{REVISION[version]}"


def grade(
    metric: str, response: str | None, ground_truth: Sequence[str], query: str = "", version: str = "strict"
) -> Grade:
    """Grade one response.

    Args:
        metric: ``gsm8k``, ``math``, ``em_mc``, ``cem`` or ``code_eval``.
        response: What the LLM answered.
        ground_truth: Every reference answer that counts; see `fusion_hf.tasks.Example`.
        query: The query as asked; multiple choice reads the labels and the options from it.
        version: ``strict`` or ``paper``.

    Returns:
        Score in 0..1, the answer that was read (None if none was), and the reason in a few words.

    Raises:
        UserError: Unknown metric or version, or no reference answer.
        ValueError: The response is None: missing is not zero, so it has no grade.
    """
    function = _function(metric, version)
    if response is None:
        raise ValueError("a missing response has no grade: its performance stays null")
    if isinstance(ground_truth, str) or not ground_truth:
        raise UserError(f"{metric}: expected a list with at least one reference answer, found {ground_truth!r:.80}")
    return function(response, ground_truth, query)


@lru_cache(maxsize=256)
def _function(metric: str, version: str) -> Callable[[str, Sequence[str], str], Grade]:
    """The grader's function; remembered, because looking for plug-ins takes as long as grading a short answer."""
    _check(metric, version)
    grader = GRADERS[metric]
    return getattr(grader, version, grader.strict)


def _check(metric: str, version: str) -> None:
    if metric not in GRADERS:
        raise UserError(f"unknown metric {metric!r}: expected one of {', '.join(GRADERS)}")
    if version not in VERSIONS:
        raise UserError(f"unknown grader version {version!r}: expected one of {', '.join(VERSIONS)}")


__all__ = ["GRADERS", "REVISION", "VERSIONS", "Grade", "grade", "grader_name"]

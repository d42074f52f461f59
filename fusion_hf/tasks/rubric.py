"""The rubric of FusionBench's LLM judge: what it is asked, and how its answer is read.

Levels, criteria, form of the answer and sampling are those of ulab-uiuc/FusionFactory, data_process/add_llm_judge.py
(arXiv 2507.10540); the words are ours.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

Messages = list[dict[str, str]]

NAME = "judge/fusionbench@1"  # written into the judgements; a new wording is a new version
LEVELS = (
    (0.0, "the answer is wrong"),
    (0.3, "the answer is right, with next to no reasoning shown"),
    (0.6, "the answer is right, with part of the reasoning shown"),
    (0.8, "the answer is right, and the reasoning is good"),
    (1.0, "the answer is right, the reasoning is excellent, and it would make a model example to train on"),
)
SAMPLING = {"max_tokens": 100, "temperature": 0.1, "top_p": 0.7}

PROMPT = """\
You grade the answer that an AI model gave to a query. Weigh three things, each from 0 to 1:

1. Correctness: does the answer agree with the reference?
2. Reasoning: is it shown how the answer comes about, clearly and step by step?
3. Use for training: is the answer well structured and fit for supervised fine-tuning?

Query: {query}

Reference: {reference}

Answer: {response}

Sum this up in one score between 0 and 1:
{levels}

Write the score, a number between 0 and 1, in this form:
<answer>SCORE</answer>"""

_LEVELS = "\n".join(f"- {score:g}: {meaning}" for score, meaning in LEVELS)
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class Judgement(NamedTuple):
    """A score in 0..1, or None and why.

    `reason` is ``no_answer_tag`` or ``not_a_number`` where there is no score, ``clamped`` where the judge left the
    scale, and None otherwise.
    """

    score: float | None
    reason: str | None


def judge_messages(query: str, ground_truth: Sequence[str], response: str) -> Messages:
    """The chat that asks for a score. Several gold answers are joined by "or": each of them is right."""
    # One pass, so that braces and tags inside an answer stay what they are.
    parts = {"query": query, "reference": " or ".join(ground_truth), "response": response, "levels": _LEVELS}
    content = re.sub(r"\{(\w+)\}", lambda m: parts[m[1]], PROMPT)
    return [{"role": "user", "content": content}]


def parse_score(text: str) -> Judgement:
    """Read what a judge wrote: the first number between answer tags, brought into 0..1.

    It gives the score that the published parser gives wherever that one gives any. It also reads a number on a line of
    its own, and passes over tags without a number, because judges that reason aloud repeat the form first.
    """
    said = _TAG.findall(text)
    for content in said:
        try:
            score = float(content)
        except ValueError:
            continue
        if math.isfinite(score):
            inside = min(max(score, 0.0), 1.0)
            return Judgement(inside, None if inside == score else "clamped")
    return Judgement(None, "not_a_number" if said else "no_answer_tag")

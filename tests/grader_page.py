"""docs/graders.md: what each strict grader accepts, from the table of cases that the tests run.

python tests/grader_page.py          writes it; a test checks that it is up to date
"""

# ruff: noqa: E501  (a rule a line reads best)

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "graders.md"
CASES = ROOT / "tests" / "grader_cases.json"
MOST, LONGEST = 7, 110  # rows of a rule, and characters of a response, that the page shows
METRICS = {
    "gsm8k": "the final number of a word problem, compared by value",
    "math": "one final expression, compared as mathematics",
    "em_mc": "the chosen option of a multiple-choice question",
    "cem": "a reference answer that stands in the response; for True or False questions the verdict",
    "code_eval": "a program that passes the tests of its task",
    "exact_match": "the whole answer is a reference answer; for tasks of your own",
}
# What the fault was called in the table of cases -> the rule that holds.
RULES = {
    "": "Basic forms",
    "think: text in <think> is graded as the answer": "Reasoning is never the answer",
    "run-on: what follows the answer (a new question, a new turn) is graded": "What follows an invented question or turn does "
    "not count",
    "number: a minus that is not ASCII, or a word, is lost": "Minus signs of all kinds, and in words",
    "number: mixed number read as one integer over the denominator": "Mixed numbers and fractions",
    "number: thousands separated by a blank, an apostrophe or in lakhs": "Thousands by comma, blank, apostrophe, or in lakhs",
    "number: power, exponent or magnitude word is dropped": "Powers, exponents, percentages and number words",
    "number: the first number after the cue is taken, not the answer": "The number that a sentence concludes with",
    "math: answer behind two cues (Minerva's closing line) is unread": "An answer behind several cues",
    "math: display formula over several lines is unread": "Display formulas, over several lines too",
    "math: \\boxed that is only mentioned, or empty, hides the answer": "A box that is empty, mentioned or taken back is none",
    "math: different tiny numbers count as equal": "Tiny numbers are compared by ratio",
    "math: Unicode signs are unread": "Unicode signs",
    "math: interval and inequality of the same set differ": "Intervals and inequalities of the same set",
    "math: base suffix dropped or in words": "Numbers in another base",
    "math: repeating decimal, degrees in a function, unit without \\text": "Repeating decimals, degrees, units, percentages",
    "mc: labels named after the stated answer win": "The stated answer counts, not labels named after it",
    "mc: a lower-case label after a cue is unread": "Lower-case labels after a cue",
    "mc: a bare label as the subject is unread": "A bare label as the subject",
    "mc: label inside tags, JSON, full-width marks or another language is unread": "Tags, JSON, full-width marks, other languages",
    "mc: two labels, or a denied one, count as a choice": "Two labels, a denied label or a refusal is no choice",
    "cem: the letter A in a gold answer is dropped as an article": "The letter A is no article",
    "cem: scripts without blanks never match": "Scripts without blanks between words",
    "cem: letters with a stroke are not folded as accents are": "Accents and strokes",
    "cem: sign, ampersand, glued unit": "Signs, ampersands, units",
    "boolq: yes or no inside or at the end of a sentence is unread": "True or False: verdicts inside sentences",
    "boolq: a question, an idiom or a refusal is read as the verdict": "True or False: questions, idioms and doubt are no verdicts",
    "code: a later block of tests, or another function, is taken for the answer": "The last block that defines what is tested",
    "code: imports, constants or helpers in an earlier block are lost": "Imports, constants and helpers of other blocks",
    "code: a closing fence without an opening one": "Fences without a partner",
    "code: fence with an info string, on the code's line, or quoted": "Fences with attributes, code on their line, or quoted",
    "code: special token or invisible character beside the code": "Special tokens and invisible characters",
    "code: prose or a cut line after a bare body": "Prose and cut lines around a body",
}
_HEAD = """\
# What each grader accepts

The strict graders, rule by rule. Every line is a case of the test suite (`tests/grader_cases.json`, which has more), so what
stands here is what the code does. ↵ stands for a line break, and ✓ for a score of 1.
"""


def page() -> str:
    """The whole page."""
    cases = [c for c in json.loads(CASES.read_text(encoding="utf-8")) if c["strict"] is not None]
    parts = [_HEAD]
    for metric, what in METRICS.items():
        parts.append(f"## `{metric}`: {what}\n")
        for kind, rule in RULES.items():
            rows = [c for c in cases if c["metric"] == metric and c.get("kind", "") == kind]
            if rows:
                parts.append(_section(rule, rows))
    return "\n".join(parts)


def _section(rule: str, rows: list[dict]) -> str:
    """A heading and a table, with rows of both scores where there are such."""
    short = [c for c in rows if len(c["response"]) <= LONGEST] or rows
    right = [c for c in short if c["strict"] == 1]
    wrong = [c for c in short if c["strict"] != 1]
    shown = right[: MOST - min(len(wrong), 3)] + wrong[: max(3, MOST - len(right))]
    lines = [f"### {rule}\n"]
    reasons = sorted({c["reason"] for c in rows if "reason" in c})
    lines += [reason + "\n" for reason in reasons]
    lines += ["| response | reference answer | |", "|---|---|---|"]
    lines += [f"| {_code(c['response'])} | {_gold(c)} | {'✓' if c['strict'] == 1 else '–'} |" for c in shown]
    return "\n".join(lines) + "\n"


def _gold(case: dict) -> str:
    if case["metric"] != "code_eval":
        return " or ".join(_code(gold) for gold in case["ground_truth"])
    gold = json.loads(case["ground_truth"][0])
    return _code(gold["tests"][0].split("\n")[0] if not gold["entry_point"] else gold["entry_point"] + "(…)")


def _code(text: str) -> str:
    """As inline code of a table: one line, no bars that would end a cell, invisible characters named."""
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    text = "".join(c if c.isprintable() or c == "\n" else f"[U+{ord(c):04X}]" for c in text)
    text = text.replace("\r", "").replace("\n", "↵").replace("|", "\\|") or " "
    fence = "``" if "`" in text else "`"
    while fence in text:
        fence += "`"
    pad = " " if "`" in text or text != text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""Scores that a candidate cannot have earned: below chance, or far below what its other tasks say of it."""

import math
import re
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...tasks.graders.em_mc import parse_options
from ..schema import encode
from .finding import EXAMPLES, Finding, candidates

_LETTER = re.compile(r"\(?([A-Ja-j])\)?")
ERROR_RATE = 0.01
"""Chance that an audit of a clean log reports anything here, over all its cells together (Bonferroni)."""


def below_chance(table: pa.Table, split: str) -> list[Finding] | str:
    """Multiple-choice scores that lie below guessing.

    Whoever answers with some option is right on a share 1/options at least (guessing, however biased, when the
    reference letters are shuffled). A score significantly below that was lost after the answer: it was not read. If a
    share f of the answers was read, the score is f/options at least, so at least 1 - score * options were not read;
    the upper end of the score's interval goes into that figure.
    """
    cells = _cells(table)
    choice = {task: chance for task in cells if (chance := _chance(table, task)) is not None}
    if not choice:
        return "no task has lettered options or reference letters"
    tests = sum(len(cells[task]) for task in choice)
    findings = []
    for task, chance in choice.items():
        for name, cell in cells[task].items():
            n, right = cell["n"], cell["sum"]
            if binomial_cdf(right, n, chance) >= ERROR_RATE / tests:
                continue
            high = wilson(right, n, ERROR_RATE / tests)[1]
            unread = max(0.0, 1 - high / chance)
            findings.append(
                Finding(
                    "scores below chance", "error",
                    f"{split}: {name} scores {right / n:.3f} on {task} ({n} queries); guessing gives {chance:.3f}: at "
                    f"least {unread:.0%} of its answers were not read",
                    "grade its responses again (`fusion-hf grade`); without responses leave this candidate's cells of "
                    "the task out: routers would learn the grader's blind spot", n, task, name, cell["wrong"],
                    {"performance": right / n, "upper": high, "chance": chance, "unread_at_least": unread},
                )
            )  # fmt: skip
    return findings


def nobody_above_chance(table: pa.Table, split: str) -> list[Finding] | str:
    """Multiple-choice tasks on which no candidate of several is better than guessing.

    A task may be as hard as that; reference letters that are wrong (gpqa's, shuffled wrongly by some publishers) look
    the same. A task is named where the lower end of the best candidate's interval does not pass the chance.
    """
    cells = _cells(table)
    choice = {task: chance for task in cells if (chance := _chance(table, task)) is not None}
    if not choice:
        return "no task has lettered options or reference letters"
    findings = []
    for task, chance in choice.items():
        best, cell = max(cells[task].items(), key=lambda pair: pair[1]["sum"] / pair[1]["n"])
        score = cell["sum"] / cell["n"]
        if len(cells[task]) >= 3 and cell["n"] >= 100 and wilson(cell["sum"], cell["n"], ERROR_RATE)[0] <= chance:
            findings.append(
                Finding(
                    "tasks at chance", "warning",
                    f"{split}: nobody is better than guessing on {task}: {best}, the best of {len(cells[task])} "
                    f"candidates, scores {score:.3f} on {cell['n']} queries; guessing gives {chance:.3f}",
                    "compare reference answers with the source before you learn from this task: its letters may be "
                    "wrong", cell["n"], task, None, cell["wrong"],
                    {"best": best, "performance": score, "chance": chance},
                )
            )  # fmt: skip
    return findings


def below_own_level(table: pa.Table, split: str) -> list[Finding] | str:
    """Scores far below what the candidate's other tasks and the task's other candidates predict.

    Logits of the scores are fitted as task + candidate by medians (Tukey's median polish), so that a few broken cells
    do not bend the fit. A cell is named when its residual lies below the Bonferroni quantile of a normal distribution
    with the residuals' robust spread, and the upper end of its own interval lies below the prediction. Strong
    specialisation looks the same, so this is a warning and not an error.
    """
    cells = _cells(table)
    names = sorted({name for row in cells.values() for name in row})
    if len(names) < 4 or len(cells) < 4:
        return f"needs at least 4 candidates and 4 tasks to predict a score, found {len(names)} and {len(cells)}"
    tasks = sorted(cells)
    logits = np.full((len(tasks), len(names)), np.nan)
    for i, task in enumerate(tasks):
        for j, name in enumerate(names):
            if cell := cells[task].get(name):
                logits[i, j] = math.log((cell["sum"] + 0.5) / (cell["n"] - cell["sum"] + 0.5))
    fit = median_polish(logits)
    residual = logits - fit
    spread = 1.4826 * np.nanmedian(np.abs(residual))
    if not spread:
        return "every score is exactly as predicted"
    rate = ERROR_RATE / np.isfinite(residual).sum()
    findings = []
    for i, j in np.argwhere(residual < NormalDist().inv_cdf(rate) * spread):
        cell = cells[tasks[i]][names[j]]
        predicted = 1 / (1 + math.exp(-fit[i, j]))
        high = wilson(cell["sum"], cell["n"], rate)[1]
        if high < predicted:
            score = cell["sum"] / cell["n"]
            findings.append(
                Finding(
                    "implausible scores", "warning",
                    f"{split}: {names[j]} scores {score:.3f} on {tasks[i]} ({cell['n']} queries); its other tasks and "
                    f"the other candidates predict {predicted:.3f}",
                    "read a few of its responses: a form of answer that the grader does not know looks like this, and "
                    "so does a task that the LLM cannot do", cell["n"], tasks[i], names[j], cell["wrong"],
                    {"performance": score, "predicted": predicted, "spreads": float(residual[i, j] / spread)},
                )
            )  # fmt: skip
    return findings


def _cells(table: pa.Table) -> dict[str, dict[str, dict]]:
    """{task: {candidate: {n, sum of scores, a few ids that scored 0}}} over scored rows."""
    table = table.filter(pc.is_valid(table["performance"]))
    names, column = candidates(table) if table.num_rows else ([], np.zeros(0, np.int64))
    tasks, task = encode(table["task"])
    score = table["performance"].to_numpy().astype(float)
    code = task * max(1, len(names)) + column
    n = np.bincount(code, minlength=len(tasks) * len(names))
    total = np.bincount(code, score, minlength=len(n))
    wrong = np.flatnonzero(score == 0)
    wrong = wrong[np.argsort(code[wrong], kind="stable")]
    starts = np.searchsorted(code[wrong], np.arange(len(n) + 1))
    result: dict[str, dict[str, dict]] = {}
    for k in np.flatnonzero(n):
        rows = wrong[starts[k] : min(starts[k] + EXAMPLES, starts[k + 1])]
        ids = [table["query_id"][int(r)].as_py() for r in rows]
        cell = {"n": int(n[k]), "sum": float(total[k]), "wrong": ids}
        result.setdefault(str(tasks[k // len(names)]), {})[names[k % len(names)]] = cell
    return result


def _chance(table: pa.Table, task: str) -> float | None:
    """Mean of 1/options over a task's multiple-choice queries; None for a task of another format.

    Where queries were logged without their options, the greatest reference letter of the task stands for their number:
    a query that has fewer only makes the test more careful.
    """
    part = table.filter(pc.equal(table["task"], task))
    if not set(pc.unique(part["metric"]).to_pylist()) & {"em_mc", "publisher"}:
        return None
    shown = [len(parse_options(query)) for query in pc.unique(part["query"]).to_pylist()]
    known = [n for n in shown if n >= 2]
    if len(known) > 0.5 * len(shown):
        return sum(1 / n for n in known) / len(known)
    references = pc.unique(pc.list_flatten(part["ground_truth"])).to_pylist()
    letters = [_LETTER.fullmatch(reference.strip()) for reference in references]
    if len(letters) < 2 or not all(letters):
        return None
    return 1 / max(ord(found.group(1).upper()) - ord("A") + 1 for found in letters)


def binomial_cdf(k: float, n: int, p: float) -> float:
    """Probability of at most k successes in n tries of probability p (k may be a sum of partial scores)."""
    i = np.arange(math.floor(k) + 1)
    ways = math.lgamma(n + 1) - np.array([math.lgamma(x + 1) + math.lgamma(n - x + 1) for x in i])
    return float(min(1.0, np.exp(ways + i * math.log(p) + (n - i) * math.log1p(-p)).sum()))


def wilson(k: float, n: int, rate: float) -> tuple[float, float]:
    """Wilson's interval of a share k/n; `rate` is the error allowed on each side."""
    z = -NormalDist().inv_cdf(rate)
    centre, scale = (k + z * z / 2) / (n + z * z), 1 / (1 + z * z / n)
    half = z * scale * math.sqrt(max(0.0, k / n * (1 - k / n) / n + z * z / (4 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)


def median_polish(values: np.ndarray, rounds: int = 20) -> np.ndarray:
    """Row effect + column effect of a table [rows, columns] by alternating medians (Tukey 1977); NaN is left out."""
    rows, columns = np.zeros(len(values)), np.zeros(values.shape[1])
    for _ in range(rounds):
        rows = np.nanmedian(values - columns, axis=1)
        columns = np.nanmedian(values - rows[:, None], axis=0)
    return rows[:, None] + columns

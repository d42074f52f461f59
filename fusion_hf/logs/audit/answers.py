"""What the answers themselves show: coinciding candidates, unparsed and truncated responses, wrong scores."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...tasks.graders import GRADERS
from ...tasks.modes import split_candidate
from ..grade_table import grade_table
from ..schema import encode
from .finding import EXAMPLES, Finding, candidates, examples
from .scores import ERROR_RATE, wilson

ENOUGH = 30
"""Rows that a share is computed from at least."""


def candidate_pairs(table: pa.Table, split: str) -> list[Finding] | str:
    """Two candidates that answer alike: one LLM under two names, or a mode that changes nothing.

    With responses: the share of queries with the same text (blanks and case aside), over responses of at least 40
    characters that no third LLM wrote too (a short program is right in one form only). Without: agreement of the scores
    on contested queries (those on which the *other* candidates disagree). A pair is named when the lower end of the
    share's interval passes 0.5 (texts) or 0.95 (scores).
    """
    names, column = candidates(table)
    if len(names) < 2:
        return "the log has one candidate"
    ids, query = encode(table["query_id"])
    if table["response"].null_count < table.num_rows:
        values = _text_codes(table["response"])
        grid = np.full((len(ids), len(names)), -1, np.int64)
        grid[query, column] = values
        return _alike(grid, names, ids, split, _own_words, "write the same text", 0.5)
    score = pc.fill_null(table["performance"], -1).to_numpy()
    grid = np.full((len(ids), len(names)), -1.0)
    grid[query, column] = score
    if len(names) < 4:
        return "needs responses, or scores of at least 4 candidates"
    return _alike(grid, names, ids, split, _contested, "have the same score", 0.95)


def _text_codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 a response, equal where the text is; -1 for one that is missing or shorter than 40 characters."""
    text = pc.utf8_lower(pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"\s+", " "))
    long = pc.fill_null(pc.greater_equal(pc.utf8_length(text), 40), False)
    codes = encode(pc.fill_null(text, ""))[1]
    return np.where(np.asarray(long), codes, -1)


def _own_words(grid: np.ndarray, names: list[str], i: int, j: int) -> np.ndarray:
    """bool [queries]: no third LLM wrote what i or j wrote."""
    llm = [split_candidate(name)[0] for name in names]
    third = [k for k in range(len(names)) if llm[k] not in (llm[i], llm[j])]
    others = grid[:, third]
    return ~((others == grid[:, [i]]) | (others == grid[:, [j]])).any(1)


def _contested(grid: np.ndarray, names: list[str], i: int, j: int) -> np.ndarray:
    """bool [queries]: the candidates other than i and j do not all have the same score."""
    others = np.delete(grid, [i, j], axis=1)
    seen = others >= 0
    low, high = np.where(seen, others, np.inf).min(1), np.where(seen, others, -np.inf).max(1)
    return low < high


def _alike(grid, names, ids, split, telling, what, least) -> list[Finding]:
    """Pairs whose values agree on more than a share `least` of the queries that `telling` leaves (see the caller)."""
    findings = []
    kind = "contested queries" if telling is _contested else "responses"
    tests = len(names) * (len(names) - 1) / 2
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            both = (grid[:, i] >= 0) & (grid[:, j] >= 0) & telling(grid, names, i, j)
            n = int(both.sum())
            if n < ENOUGH:
                continue
            same = both & (grid[:, i] == grid[:, j])
            share = same.sum() / n
            if wilson(int(same.sum()), n, ERROR_RATE / tests)[0] <= least:
                continue
            modes = split_candidate(names[i])[0] == split_candidate(names[j])[0]
            findings.append(
                Finding(
                    "coinciding candidates", "info" if modes else "warning",
                    f"{split}: {names[i]} and {names[j]} {what} on {share:.1%} of {n} {kind}",
                    "the mode changes nothing for this LLM: one of the two is enough" if modes else
                    "ask the provider which model served each name; if it is one, drop a name", n, None,
                    f"{names[i]} & {names[j]}", [str(q) for q in ids[same][:EXAMPLES]], {"share": float(share)},
                )
            )  # fmt: skip
    return findings


def unparsed_answers(table: pa.Table, split: str) -> list[Finding] | str:
    """Candidates from whose responses our graders could read no answer (score 0, nothing extracted)."""
    ours = np.asarray(pc.fill_null(pc.match_substring_regex(table["grader"], "/(strict|paper)@"), False))
    readable = np.isin(encode(table["metric"])[0], ["em_mc", "gsm8k", "math"])[encode(table["metric"])[1]]
    rows = np.flatnonzero(ours & readable & np.asarray(pc.is_valid(table["response"])))
    if not len(rows):
        return "no response was graded by fusion_hf"
    part = table.take(pa.array(rows))
    nothing = np.asarray(pc.is_null(part["extracted"]))
    findings = []
    cells = list(_by_cell(part))
    for task, name, at in cells:
        k, n = int(nothing[at].sum()), len(at)
        low = wilson(k, n, ERROR_RATE / len(cells))[0]
        if n >= ENOUGH and low > 0.1:
            findings.append(
                Finding(
                    "unparsed answers", "warning", f"{split}: no answer could be read from {k} of {n} responses of "
                    f"{name} on {task}", "read a few: they are empty, cut, or in a form that nobody asked for", k,
                    task, name, examples(part, at[nothing[at]]), {"share": k / n},
                )
            )  # fmt: skip
    return findings


def truncation(table: pa.Table, split: str) -> list[Finding] | str:
    """Responses that a limit cut: ``finish_reason`` says so, or many end at one common greatest length."""
    rows = np.flatnonzero(np.asarray(pc.is_valid(table["response"])))
    if not len(rows):
        return "the log has no responses"
    part = table.take(pa.array(rows))
    said = np.asarray(pc.fill_null(pc.equal(part["finish_reason"], "length"), False))
    known = np.asarray(pc.is_valid(part["finish_reason"]))
    lengths = {
        "characters": pc.utf8_length(part["response"]).to_numpy(),
        "tokens": pc.fill_null(part["output_tokens"], -1).to_numpy(),
    }
    cut: dict[str, dict[str, np.ndarray]] = {}
    hows: dict[str, list[str]] = {}
    answers: Counter = Counter()
    for task, name, at in _by_cell(part):
        answers[name] += len(at)
        found, how = _cut_rows(part, at, said, known, lengths)
        if len(found):
            cut.setdefault(name, {})[task] = found
            hows.setdefault(name, []).append(how)
    return [_cut(part, split, name, cut[name], answers[name], hows[name]) for name in cut]


def _cut_rows(part, at, said, known, lengths) -> tuple[np.ndarray, str]:
    """The rows among `at` that were cut, and how it shows."""
    if known[at].any():
        return at[said[at]], "finish_reason is length"
    for unit, length in lengths.items():
        top = length[at].max()
        rows = at[length[at] == top]
        if _piles_up(length[at], top) and _mid_sentence(part, rows):
            return rows, f"all end at exactly {top} {unit}"
    return at[:0], ""


def _piles_up(length: np.ndarray, top: int) -> bool:
    """At least five responses end at the greatest length, more than lie in the whole band of 5 % under it."""
    at_top = int((length == top).sum())
    return top >= 20 and at_top >= 5 and at_top > int(((length < top) & (length >= 0.95 * top)).sum())


def _mid_sentence(table: pa.Table, rows: np.ndarray) -> bool:
    """Most of these responses do not end in a mark that ends a text."""
    texts = table["response"].take(pa.array(rows)).to_pylist()
    return sum(not re.search(r"[.!?)\]}\"'`*$]\s*$", text) for text in texts) > len(texts) / 2


def _cut(table: pa.Table, split: str, name: str, by_task: dict[str, np.ndarray], n: int, hows: list[str]) -> Finding:
    rows = np.concatenate(list(by_task.values()))
    score = pc.mean(table["performance"].take(pa.array(rows))).as_py()
    most = max(by_task, key=lambda task: len(by_task[task]))
    return Finding(
        "truncated responses", "warning" if len(rows) > 0.01 * n else "info",
        f"{split}: {len(rows)} of {n} responses of {name} are cut ({'; '.join(dict.fromkeys(hows))}), most on {most} "
        f"({len(by_task[most])}); their mean score is {'not known' if score is None else f'{score:.3f}'}",
        "collect them with a higher max_tokens: their scores are those of the limit", len(rows), None, name,
        examples(table, rows), {"by_task": {task: len(found) for task, found in by_task.items()}},
    )  # fmt: skip


def regrading(table: pa.Table, split: str, limit: int | None) -> list[Finding] | str:
    """Scores that our graders do not give again: a sample of each task, in the version that graded it (else strict)."""
    if limit == 0:
        return "not asked for"
    known = pa.array(list(GRADERS))
    usable = pc.and_(pc.is_in(table["metric"], value_set=known), pc.is_valid(table["response"]))
    usable = pc.and_(usable, pc.and_(pc.is_valid(table["performance"]), pc.greater(_references(table), 0)))
    rows = np.flatnonzero(np.asarray(usable))
    if not len(rows):
        return "no scored row has a response, reference answers and a grader of fusion_hf"
    rng = np.random.default_rng(0)
    tasks = encode(table["task"])[1][rows]
    chosen = [rows[tasks == t] for t in np.unique(tasks)]
    if limit is not None:
        chosen = [np.sort(rng.choice(part, min(limit, len(part)), replace=False)) for part in chosen]
    part = table.take(pa.array(np.concatenate(chosen)))
    graders = pc.fill_null(part["grader"], "").to_pylist()
    paper = np.array(["/paper" in grader for grader in graders])
    findings = []
    for version, mask in (("paper", paper), ("strict", ~paper)):
        if mask.any():
            findings += _regraded(part.filter(pa.array(mask)), split, version)
    return findings


def _references(table: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.list_value_length(table["ground_truth"]), 0)


def _regraded(part: pa.Table, split: str, version: str) -> list[Finding]:
    after = grade_table(part, version)
    old, new = (t["performance"].to_numpy() for t in (part, after))
    graders = pc.fill_null(part["grader"], "unknown").to_pylist()
    tasks = part["task"].to_pylist()
    groups: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(tasks, graders, strict=True)):
        groups.setdefault(key, []).append(i)
    findings = []
    for (task, grader), members in groups.items():
        at = np.array(members)
        changed = at[np.abs(old[at] - new[at]) > 1e-6]
        if not len(changed):
            continue
        up = int((new[changed] > old[changed]).sum())
        same = grader == after["grader"][int(at[0])].as_py()
        findings.append(
            Finding(
                "re-grading", "error" if same else "warning",
                f"{split}: {len(changed)} of {len(at)} scores of {task} change when {version} grades again what "
                f"{grader} graded ({up} up, {len(changed) - up} down)",
                "the same grader gave another score: find out what changed" if same else
                "`fusion-hf grade` writes the new scores; read the examples before you trust either", len(changed),
                task, None, examples(part, changed), {"graded": len(at), "changed": len(changed), "up": up},
            )
        )  # fmt: skip
    return findings


def _by_cell(table: pa.Table):
    """(task, candidate, rows) of every cell of the table."""
    names, column = candidates(table)
    tasks, task = encode(table["task"])
    code = task * len(names) + column
    order = np.argsort(code, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        yield str(tasks[task[rows[0]]]), names[column[rows[0]]], rows

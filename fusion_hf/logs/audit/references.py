"""Reference answers of multiple choice that cannot be right, or that everybody contradicts."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...tasks.graders.em_mc import parse_options
from ..schema import encode
from .finding import EXAMPLES, Finding


def reference_answers(table: pa.Table, split: str) -> list[Finding] | str:
    """Multiple-choice reference answers that cannot be right, or that every candidate that was read contradicts."""
    rows = np.flatnonzero(np.asarray(pc.equal(table["metric"], "em_mc")))
    if not len(rows):
        return "the log has no lettered reference answers"
    part = table.take(pa.array(rows))
    ids, query = encode(part["query_id"])
    first = np.full(len(ids), len(rows), np.int64)
    np.minimum.at(first, query, np.arange(len(rows)))
    asked = part.select(["query", "ground_truth", "task"]).take(pa.array(first)).to_pylist()
    votes = _votes(part, query, len(ids))
    groups: dict[tuple[str, str], list[str]] = {}
    known: dict[tuple, tuple[str, str]] = {}
    for qid, row, vote in zip(ids, asked, votes, strict=True):
        for problem in _gold_problems(row, vote, known, str(qid)):
            groups.setdefault((row["task"], problem), []).append(str(qid))
    findings = []
    for (task, problem), found in groups.items():
        severity, text, advice = _PROBLEMS[problem]
        message = f"{split}: {len(found)} queries of {task}: {text}"
        findings.append(
            Finding("reference answers", severity, message, advice, len(found), task, None, found[:EXAMPLES])
        )
    return findings


_PROBLEMS = {
    "none": ("warning", "no reference answer", "a response to them cannot be graded"),
    "not an option": ("error", "the reference letter is none of the options shown", "compare with the source's row"),
    "text": (
        "error", "the reference letter and the reference text name two options",
        "trust the text: letters drift when options are shuffled",
    ),
    "duplicate option": (
        "warning", "two options have the same text", "either letter is right: give both as reference answers",
    ),
    "two references": (
        "error", "the same question has another reference text elsewhere in the log",
        "compare with the source: one of the two is wrong",
    ),
    "contradicted": (
        "warning", "all candidates that were read (five at least) agree on another option than the reference letter",
        "read them beside the source: strong LLMs that agree are mostly right",
    ),
}  # fmt: skip


def _gold_problems(row: dict, vote: Counter, known: dict, qid: str) -> list[str]:
    references = row["ground_truth"] or []
    if not references:
        return ["none"]
    options = dict(parse_options(row["query"]))
    letters = {g.strip("() .").upper() for g in references if re.fullmatch(r"\(?[A-Ja-j]\)?\.?", g.strip())}
    if not options or not letters:
        return []
    problems = []
    if not letters <= set(options):
        return ["not an option"]
    plain = {label: " ".join(text.lower().split()) for label, text in options.items()}
    if len(set(plain.values())) < len(plain):
        problems.append("duplicate option")
    named = {" ".join(g.lower().split()) for g in references} & set(plain.values())
    right = {plain[letter] for letter in letters}
    if named and not named & right and not {x.lower() for x in letters} & named:
        problems.append("text")
    stem = " ".join(row["query"].split("\n(A)")[0].lower().split())
    earlier = known.setdefault((row["task"], stem, frozenset(plain.values())), (qid, min(right)))
    if earlier[0] != qid and earlier[1] not in right:
        problems.append("two references")
    if vote.total() >= 5 and len(vote) == 1 and not set(vote) & letters:
        problems.append("contradicted")
    return problems


def _votes(table: pa.Table, query: np.ndarray, n: int) -> list[Counter]:
    """The letters that each query's candidates chose, one vote an LLM."""
    votes: list[Counter] = [Counter() for _ in range(n)]
    chosen = np.flatnonzero(np.asarray(pc.is_valid(table["extracted"])))
    llms = encode(table["llm"])[1]
    seen = set()
    for i, letter in zip(chosen, table["extracted"].take(pa.array(chosen)).to_pylist(), strict=True):
        if (query[i], llms[i]) not in seen:
            seen.add((query[i], llms[i]))
            votes[query[i]][letter.strip("() .").upper()] += 1
    return votes

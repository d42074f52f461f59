"""Graders on real answers: agreement with the publishers' verdicts, and speed.

    python benchmarks/graders.py agreement ../shared/data --json agreement.json
    python benchmarks/graders.py agreement ../shared/data --show 20         # also print disagreements, to be read
    python benchmarks/graders.py speed ../shared/data
    python benchmarks/graders.py speed ../shared/data --against OTHER --turns 4     # another checkout, in turns

The folder holds the publishers' files (GSM8K's example_model_solutions, RouteLLM's gsm8k_responses, ZeroEval's
responses, RouterBench's arc_challenge and mbpp, and MBPP itself for its tests).
"""

import argparse
import csv
import gzip
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.importers.routerbench import read as read_routerbench
from fusion_hf.logs.schema import rows_to_table
from fusion_hf.tasks import TASKS
from fusion_hf.tasks.graders import VERSIONS, grade

PARALLEL = 400  # answers in the measurement of how busy the cores are


class Case(NamedTuple):
    """One response with its publisher's verdict."""

    source: str
    metric: str
    response: str
    truth: list[str]
    query: str
    verdict: bool


def gsm8k_solutions(data: Path) -> Iterator[Case]:
    """Four models' solutions with the authors' verdicts (Cobbe et al., 2021)."""
    with gzip.open(data / "gsm8k/example_model_solutions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            truth = [row["ground_truth"].split("A:")[-1].strip()]
            for name, answer in row.items():
                if isinstance(answer, dict):
                    yield Case(
                        f"gsm8k {name}", "gsm8k", answer["solution"], truth, row["question"], answer["is_correct"]
                    )


def routellm(data: Path) -> Iterator[Case]:
    """Mixtral's and GPT-4's answers to GSM8K's test split (Ong et al., 2024)."""
    with gzip.open(data / "gsm8k/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        truths = {row["question"]: row["answer"].split("####")[-1].strip() for row in map(json.loads, lines)}
    with gzip.open(data / "routellm/gsm8k_responses.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            for name in (n for n in row if n.endswith("_response")):
                llm, truth = name.removesuffix("_response"), [truths[row["prompt"]]]
                yield Case(
                    f"routellm {llm.split('/')[-1]}", "gsm8k", row[name], truth, row["prompt"], row[llm] == "True"
                )


def zeroeval(data: Path) -> Iterator[Case]:
    """28 LLMs' answers to GSM8K and to MATH's hardest level, as JSON with reasoning and answer (Lin, 2024).

    The publisher compares the answer's field as a string or a number, so a unit or an unreadable field is wrong there.
    """
    with gzip.open(data / "zeroeval/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            metric = {"ze_gsm": "gsm8k", "ze_math_l5": "math"}.get(row["task"])
            if metric and row["response"] is not None:
                truth = [row["ground_truth"].lstrip("# ")]
                yield Case(f"zeroeval {metric}", metric, row["response"], truth, row["query"], row["performance"] == 1)


def routerbench_arc(data: Path) -> Iterator[Case]:
    """RouterBench's ARC-Challenge. The file has no reference letter: it is the one that its right answers give.

    Queries without a right answer, or whose right answers name several letters as often, are left out.
    """
    rows = _routerbench(data, "arc_challenge")
    letters: dict[str, dict[str, int]] = {}
    for row in rows:
        found = re.fullmatch(r"\s*\(?([A-E])\)?[.)]?\s*", row["response"])
        if found and row["performance"] == 1:
            counts = letters.setdefault(row["query"], {})
            counts[found.group(1)] = counts.get(found.group(1), 0) + 1
    for row in rows:
        ranked = sorted(letters.get(row["query"], {}).items(), key=lambda pair: -pair[1])
        if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
            # The grader reads the options of the last question of a few-shot prompt.
            question = row["query"].rsplit("\n\n", 1)[-1]
            truth, right = [f"({ranked[0][0]})"], row["performance"] == 1
            yield Case("routerbench arc_challenge", "em_mc", row["response"], truth, question, right)


def routerbench_mbpp(data: Path) -> Iterator[Case]:
    """RouterBench's MBPP, with the tests of the MBPP problem of the same text.

    Its prompts show no test and name no function, so only answers that happen to define the tested name can be compared
    with a verdict; the others are counted apart.
    """
    with gzip.open(data / "code/mbpp.jsonl.gz", "rt", encoding="utf-8") as lines:
        problems = {row["text"].strip(): row for row in map(json.loads, lines)}
    for row in _routerbench(data, "mbpp"):
        problem = problems.get(row["query"].strip())
        if problem is None:
            continue
        truth = TASKS["mbpp"].example(problem, 0).ground_truth
        called = {name for test in problem["test_list"] for name in re.findall(r"([A-Za-z_]\w*)\(", test)}
        named = any(re.search(rf"def {name}\b", row["response"]) for name in called)
        source = f"routerbench mbpp, {'the tested' if named else 'another'} function name"
        yield Case(source, "code_eval", row["response"], truth, row["query"], row["performance"] == 1)


def _routerbench(data: Path, task: str) -> list[dict]:
    rows = [
        row
        for split in ("train", "test")
        for row in read_routerbench(data / f"routerbench/{task}_{split}.csv.gz").table.to_pylist()
    ]
    return [row for row in rows if row["response"] is not None and row["performance"] is not None]


SOURCES = (gsm8k_solutions, routellm, zeroeval, routerbench_arc, routerbench_mbpp)


def graded(cases: list[Case], version: str) -> list[dict]:
    """Grades of the cases, in their order."""
    rows = [
        {
            "query_id": str(i), "task": "t", "source_id": str(i), "query": c.query, "llm": "a", "mode": "direct",
            "metric": c.metric, "response": c.response, "ground_truth": c.truth,
        }
        for i, c in enumerate(cases)
    ]  # fmt: skip
    table = grade_table(rows_to_table(rows), version, progress=sys.stderr.isatty())
    return table.select(["performance", "extracted"]).to_pylist()


def agreement(data: Path, show: int, only: str | None = None) -> dict:
    """Share of verdicts that each version shares with the publisher, with its standard error, by source."""
    result: dict[str, dict] = {}
    for read in SOURCES:
        if only and only not in read.__name__:
            continue
        cases = list(read(data))
        for version in VERSIONS:
            grades = graded(cases, version)
            for name in sorted({c.source for c in cases}):
                pairs = [(c, g) for c, g in zip(cases, grades, strict=True) if c.source == name]
                result.setdefault(name, {})[version] = _agreement(pairs)
            if version == "strict" and show:
                _show([(c, g) for c, g in zip(cases, grades, strict=True) if bool(g["performance"]) != c.verdict], show)
    return result


def _agreement(pairs: list[tuple[Case, dict]]) -> dict:
    same = [(g["performance"] == 1) == c.verdict for c, g in pairs]
    share = sum(same) / len(same)
    return {
        "responses": len(same),
        "agree": sum(same),
        "share": share,
        "se": (share * (1 - share) / len(same)) ** 0.5,
        "right_only_here": sum(g["performance"] == 1 and not c.verdict for c, g in pairs),
        "right_only_there": sum(g["performance"] != 1 and c.verdict for c, g in pairs),
    }


def _show(pairs: list[tuple[Case, dict]], most: int) -> None:
    for case, found in pairs[:most]:
        truth = case.truth[0][:200]
        print(f"--- {case.source}: publisher {case.verdict}, here {found}, truth {truth!r}\n{case.response[-400:]}\n")


def speed(data: Path, repeats: int, parallel: bool = True) -> dict:
    """Responses a second on one core (multiple choice, QA, GSM8K), and busy cores while math and code are graded."""
    arc = list(routerbench_arc(data))[:2000]
    gsm = list(gsm8k_solutions(data))[:2000]
    passages = [c._replace(metric="cem", truth=[c.truth[0], "an alias", "another one"]) for c in gsm]
    verdicts = [c._replace(metric="cem", truth=["True"], response=f"{c.response}\nTrue") for c in gsm]
    short = [c._replace(metric="cem", truth=["paris", "city of light"], response=f"It is {c.response}.") for c in arc]
    result: dict[str, dict] = {}
    question = arc[0].query
    argued = [
        c._replace(metric="em_mc", truth=["(B)"], query=question, response=f"{c.response}\nThe answer is B.")
        for c in gsm
    ]
    stated, mentioned = (
        [c._replace(metric="cem", truth=["True"], response=f"{c.response} {words}") for c in gsm]
        for words in ("So the answer is true.", "Yes, that is right.")
    )
    sets = {
        "em_mc, letters": arc, "em_mc, argued": argued, "cem, short": short, "cem, solutions": passages,
        "cem, verdicts": verdicts, "cem, verdict stated": stated, "cem, verdict mentioned": mentioned, "gsm8k": gsm,
    }  # fmt: skip
    for name, cases in sets.items():
        characters = statistics.mean(len(c.response) for c in cases)
        result[name] = {"characters": characters, **{v: _rate(cases, v, repeats) for v in VERSIONS}}
    if not parallel:
        return result
    algebra = [
        Case(
            "math",
            "math",
            f"So it is \\boxed{{{i}x + \\frac{{{i}}}{{2}}}}",
            [f"\\frac{{{2 * i}x + {i}}}{{2}}"],
            "",
            True,
        )
        for i in range(1, PARALLEL + 1)
    ]
    code = list(routerbench_mbpp(data))[:PARALLEL]
    for name, cases in (("math", algebra), ("code_eval", code)):
        result[name] = _busy(cases)
    return result


def against(data: Path, other: Path, turns: int, repeats: int) -> dict:
    """Medians of `strict` of this checkout and of another, measured in turns, and how they compare."""
    here = Path(__file__).resolve().parent.parent
    rates: dict[str, dict[Path, list[float]]] = {}
    for _ in range(turns):
        for tree in (other, here):
            command = [sys.executable, __file__, "speed", str(data), "--alone", "--repeats", str(repeats)]
            ran = subprocess.run(
                command, env=os.environ | {"PYTHONPATH": str(tree)}, stdout=subprocess.PIPE, check=True
            )
            for name, found in json.loads(ran.stdout).items():
                rates.setdefault(name, {}).setdefault(tree, []).append(found["strict"])
    result = {}
    for name, by_tree in rates.items():
        old, new = (statistics.median(by_tree[tree]) for tree in (other, here))
        result[name] = {"other": round(old), "here": round(new), "times": round(new / old, 2)}
    return result


def _rate(cases: list[Case], version: str, repeats: int) -> float:
    rates = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.process_time()
        for c in cases:
            grade(c.metric, c.response, c.truth, c.query, version)
        rates.append(len(cases) / (time.process_time() - start))
    return statistics.median(rates[1:])


def _busy(cases: list[Case]) -> dict:
    """Answers a second and cores kept busy (CPU time of this process and its children over wall time)."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.perf_counter()
    graded(cases, "strict")
    wall = time.perf_counter() - start
    now = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(usage, now, strict=True))
    cores = len(os.sched_getaffinity(0))
    return {"answers": len(cases), "per_second": len(cases) / wall, "busy_cores": cpu / wall, "cores": cores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("agreement", "speed"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", help="part of a source's name")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N disagreements of each source")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="speed: without math and code, which run in processes")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="speed: compare `strict` with another's")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.what == "agreement":
        run = agreement(args.data, args.show, args.only)
    elif args.against:
        run = against(args.data, args.against.resolve(), args.turns, args.repeats)
    else:
        run = speed(args.data, args.repeats, not args.alone)
    text = json.dumps(run, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

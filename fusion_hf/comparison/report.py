"""The report of a comparison: built once from its figures, and rendered by `render` in every format.

A report has a verdict in one sentence, facts on how it was measured, and sections. Each section explains its words
where they stand, and holds tables, pictures and lines.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MissingPackage
from .plots import Picture, draw
from .systems import BEST_SINGLE, LEVELS, ORACLE
from .tables import FUSED, Table, averages, by_group, by_level, choice, representatives, rewards

ANCHORS = (
    "Anchors are what every system is held against: a random and the cheapest LLM, the best single LLM and the best "
    "LLM of each task (both chosen on train), and the per-query oracle, which no system can reach."
)
GAP = "Gap recovered: the share of the way from the best single LLM (0 %) to the per-query oracle (100 %)."
HULL = (
    "The hull joins what can be had at each cost by mixing the systems at its corners: a system below it pays more for "
    "the same performance."
)


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        id: Where links lead.
        title, note: Heading, and what its words mean.
        pictures: Names of pictures, shown first where they were drawn.
        tables: What is shown under them.
        lines: Sentences, one a list item.
    """

    id: str
    title: str
    note: str = ""
    pictures: Sequence[str] = ()
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """Everything that a rendering shows; `result` holds the figures by themselves (``report.json``)."""

    title: str
    verdict: str
    facts: list[str]
    sections: list[Section]
    result: dict
    pictures: dict[str, Picture] = field(default_factory=dict)


def build_report(result: dict, pictures: dict[str, Picture] | None = None) -> Report:
    """The report of what `measure` returned."""
    pictures = pictures or {}
    chosen = choice(result)
    sections = [
        Section("average", "On average", f"{ANCHORS} {GAP} {HULL}", ["frontier"], averages(result)),
        Section("rewards", "Rewards", "", (), [rewards(result)]),
        Section("domains", "Domains", "", ["domains"], [by_level(result, "by_domain", "domain")]),
        Section("tasks", "Tasks", "", ["tasks"], [by_level(result, "by_task", "task")]),
        Section(
            "verdicts", "Where each level beats the best single LLM, and where it does not", "",
            lines=[f"{level}, {name}: {_parts(parts)}" for level, name, parts in verdicts(result)],
        ),
        Section("choice", "Choice", "", (), [chosen])
        if chosen
        else Section("choice", "Choice", "No validation split (partial_test): no configuration was chosen."),
        *(Section(n, pictures[n].title, pictures[n].note, [n]) for n in ("wins", "calls") if n in pictures),
        Section("all", "Everything", "", (), [by_group(result, k, k[3:]) for k in ("by_domain", "by_task")]),
    ]  # fmt: skip
    return Report(result["title"], verdict(result), facts(result), sections, result, pictures)


def draw_report(result: dict, out: Path) -> Report:
    """The report with the pictures that the figures allow, drawn into `out`.

    Without matplotlib there are none, and a line in ``result["notes"]`` says how to get them.
    """
    pictures: dict[str, Picture] = {}
    try:
        pictures = draw(result, out)
    except MissingPackage as error:
        result["notes"].append(f"without pictures: {error}")
    return build_report(result, pictures)


def to_json(report: Report) -> str:
    """``report.json``: the figures."""
    return json.dumps(report.result, indent=1, allow_nan=False) + "\n"


def verdict(result: dict) -> str:
    """What came of it, in a sentence."""
    best = f"the best single LLM ({result['best_single']}, {_score(result['systems'][BEST_SINGLE])})"
    found = verdicts(result)
    if not found:
        return f"Nothing but single LLMs was compared: {best} is to be beaten, the per-query oracle would score " + (
            f"{_score(result['systems'][ORACLE])}."
        )
    # The first of all levels on validation, so that the sentence is no choice on test.
    name = max(representatives(result).values(), key=lambda n: result["systems"][n]["validation"] or 0.0)
    s, parts = result["systems"][name], next(p for _, n, p in found if n == name)
    gap = s["vs_best_single"]
    if gap["low"] is None:
        return f"{name} was not measured on enough queries to be held against {best}."
    does = "beats" if gap["low"] > 0 else "falls short of" if gap["high"] < 0 else "cannot be told apart from"
    better, _, worse = parts.values()
    paid = s["cost_ratio"]["ratio"]
    cost = "" if paid is None else f", at {paid:.2f} times its cost"
    return (
        f"{name} ({LEVELS[s['level']]}, {_score(s)}) {does} {best} by {gap['difference']:+.3f} "
        f"[{gap['low']:+.3f}, {gap['high']:+.3f}]{cost}: better on {len(better)} of "
        f"{sum(map(len, parts.values()))} tasks, worse on {len(worse)}."
    )


def _score(figures: dict) -> str:
    return "not measured" if figures["performance"] is None else f"{figures['performance']:.3f}"


def verdicts(result: dict) -> list[tuple[str, str, dict[str, list[str]]]]:
    """(level, system, verdict -> tasks) of one system a level, against the best single LLM."""
    found = []
    for level, name in representatives(result).items():
        gaps = {t: f["vs_best_single"] for t, f in result["systems"][name]["by_task"].items()}
        gaps = {t: g for t, g in gaps.items() if g["low"] is not None}
        parts = {
            "better (interval above 0)": [t for t, g in gaps.items() if g["low"] > 0],
            "not separated": [t for t, g in gaps.items() if g["low"] <= 0 <= g["high"]],
            "worse (interval below 0)": [t for t, g in gaps.items() if g["high"] < 0],
        }
        found.append((LEVELS[level], name, parts))
    return found


def _parts(parts: dict[str, list[str]]) -> str:
    return "; ".join(f"{what}: {', '.join(tasks) or 'none'}" for what, tasks in parts.items())


def facts(result: dict) -> list[str]:
    """What was measured and how, a sentence each."""
    sizes = ", ".join(f"{n:,} {split}" for split, n in result["queries"].items())
    lines = [
        f"Queries: {sizes}. Everything is measured on test; brackets are 95 % bootstrap intervals over the queries of "
        "each task, paired wherever two systems are compared.",
        f"Best single LLM, chosen on train: `{result['best_single']}`.",
        f"The per-query oracle picks the best candidate of the bench for each query. It would score "
        f"{result['oracle_by_luck']:.3f} by luck alone, if each guessed independently at its task's accuracy: only "
        "what it scores beyond that shows strengths that complement each other.",
    ]
    if result["in_train_and_test"]:
        lines.append(f"**{result['in_train_and_test']} queries stand in both train and test.**")
    return lines + [f"Note: {note}" for note in result["notes"]]


def shown_in_terminal(result: dict, most: int) -> tuple[list[str], list[str]]:
    """(systems of the short table, single LLMs that it leaves out): anchors, the best single LLMs, all others."""
    systems = result["systems"]
    singles = sorted((n for n, s in systems.items() if s["level"] == "single"),
                     key=lambda n: -(systems[n]["performance"] or 0))  # fmt: skip
    shown = [n for n, s in systems.items() if s["level"] == "anchor"] + singles[:most]
    return [*shown, *(n for n, s in systems.items() if s["level"] in FUSED)], singles[most:]

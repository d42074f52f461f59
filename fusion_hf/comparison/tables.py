"""The figures of a comparison as tables, for a terminal, Markdown and HTML alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..logs.rewards import get_scenario
from .systems import BEST_SINGLE, LEVELS, ORACLE

FUSED = [level for level in LEVELS if level not in ("anchor", "single")]


class Cell(NamedTuple):
    """What is shown, and the number to sort and to shade by (None: not measured)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table with a line of explanation; `shaded` columns hold performance in 0..1."""

    title: str
    note: str
    header: list[str]
    rows: list[list[Cell]]
    shaded: bool = False


def representatives(result: dict) -> dict[str, str]:
    """Level -> the name of its system that did best on validation (the first one where nothing was validated)."""
    chosen = {}
    for level in FUSED:
        names = [n for n, s in result["systems"].items() if s["level"] == level]
        if names:
            chosen[level] = max(names, key=lambda n: result["systems"][n]["validation"] or 0.0)
    return chosen


def columns_shown(result: dict) -> list[str]:
    """Best single, the representative of each level, and the oracle."""
    return [BEST_SINGLE, *representatives(result).values(), ORACLE]


def interval(figures: dict) -> Cell:
    """Performance with its interval."""
    value, ends = figures["performance"], figures["ci95"]
    if value is None or ends is None:
        return Cell("not measured")
    return Cell(f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]", value)


def difference(gap: dict) -> Cell:
    """Difference to best single with its interval."""
    if gap["difference"] is None:
        return Cell("not measured")
    return Cell(f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]", gap["difference"])


def ratio(figures: dict) -> Cell:
    """Cost as a multiple of best single's, with its interval."""
    if figures["ratio"] is None:
        return Cell("not measured")
    return Cell(f"{figures['ratio']:.2f} [{figures['low']:.2f}, {figures['high']:.2f}]", figures["ratio"])


def recovered(figures: dict) -> Cell:
    """Gap recovered in per cent."""
    value, ends = figures["gap_recovered"], figures["gap_recovered_ci95"]
    if value is None:
        return Cell("–")
    if ends is None:
        return Cell(f"{_percent(value)} %", value)
    return Cell(f"{_percent(value)} % [{_percent(ends[0])}, {_percent(ends[1])}]", value)


def _percent(share: float) -> str:
    return f"{round(100 * share) + 0}"  # + 0: no minus before a zero


def plain(value: float | None, form: str, scale: float = 1.0, missing: str = "not measured") -> Cell:
    """A number, or that it was not measured."""
    return Cell(missing) if value is None else Cell(format(scale * value, form), value)


def averages(result: dict) -> list[Table]:
    """Every system on average over queries and over tasks; one table where every task counts the same in both."""
    systems = result["systems"].values()
    both = [(s["performance"], s["over_tasks"]["performance"]) for s in systems if s["performance"] is not None]
    if all(abs(a - b) < 1e-9 for a, b in both):
        return [average(result, "queries and tasks")]
    return [average(result, "queries"), average(result, "tasks")]


def average(result: dict, part: str) -> Table:
    """Every system on average over ``queries``, ``tasks``, or both where they are the same."""
    header = ["system", "level", "performance", "against best single", "gap recovered", "USD / 1,000"]
    header += ["relative cost", "tokens", "judge", "latency, s"]
    rows = []
    for name, s in result["systems"].items():
        f = s["over_tasks"] if part == "tasks" else s
        rows.append(
            [
                Cell(name), Cell(s["level"]), interval(f), difference(f["vs_best_single"]), recovered(f),
                plain(f["cost_usd"], ".4g", 1000), ratio(f["cost_ratio"]), plain(f["tokens"], ".1f"),
                plain(f["judge"], ".3f"), plain(f["latency_s"], ".3g"),
            ]
        )  # fmt: skip
    unit = "USD for 1,000 queries, and as a multiple of best single's; tokens in and out."
    note = {
        "queries": "Means over all test queries; a task with many of them counts more. ",
        "tasks": "Means over tasks of each task's mean: a task with many queries does not decide alone. ",
        "queries and tasks": "Every task has as many queries, so means over queries and over tasks are the same. ",
    }[part] + unit
    shown = _without_unmeasured(header, rows)
    return Table(f"On average over {part}", note, *shown)


def _without_unmeasured(header: list[str], rows: list[list[Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """Drop the last columns (tokens, judge, latency) that no system has."""
    kept = [i for i in range(len(header)) if i < len(header) - 3 or any(r[i].value is not None for r in rows)]
    return [header[i] for i in kept], [[r[i] for i in kept] for r in rows]


def rewards(result: dict) -> Table:
    """The reward of every system in every scenario."""
    systems = result["systems"]
    scenarios = list(systems[BEST_SINGLE]["rewards"])
    rows = []
    for name, s in systems.items():
        found = ({"performance": f["reward"], "ci95": f["ci95"]} for f in s["rewards"].values())
        rows.append([Cell(name), *(interval(f) for f in found)])
    what = {n: get_scenario(n) for n in scenarios}
    formulas = "; ".join(
        f"{name}: {t.score} alone" if not t.beta else f"{name}: {t.alpha:g} * {t.score} - {t.beta:g} * cost"
        for name, t in what.items()
    )
    note = f"{formulas}; each scaled by its least and largest value in the task's train rows. Means over all queries."
    return Table("Reward in each scenario", note, ["system", *scenarios], rows)


def by_group(result: dict, key: str, what: str) -> Table:
    """Performance of every system (rows) in every domain or task (columns)."""
    groups = list(result["systems"][BEST_SINGLE][key])
    rows = [
        [Cell(name), *(plain(s[key][g]["performance"], ".3f", missing="–") for g in groups)]
        for name, s in result["systems"].items()
    ]
    return Table(f"Every system on every {what}", f"Mean performance on the test queries of each {what}.",
                 ["system", *groups], rows, shaded=True)  # fmt: skip


def by_level(result: dict, key: str, what: str) -> Table:
    """Best single, one system a level and the oracle (columns) in every domain or task (rows), with intervals."""
    names = columns_shown(result)
    groups = result["systems"][BEST_SINGLE][key]
    rows = [[Cell(g), *(interval(result["systems"][n][key][g]) for n in names)] for g in groups]
    note = "Of each level the system that did best on validation; means over the queries of each " + what + "."
    return Table(f"Per {what}", note, [what, *names], rows)


def choice(result: dict) -> Table | None:
    """The configuration that won on validation, task by task; None where nothing was chosen."""
    if not result["best_per_task"]:
        return None
    rows = [
        [
            Cell(task), Cell(c["system"]), Cell(c["level"]), plain(c["validation"], ".3f"), plain(c["test"], ".3f"),
            plain(c["best_single_test"], ".3f"), difference(c["vs_best_single"]), ratio(c["cost_ratio"]),
        ]
        for task, c in result["best_per_task"].items()
    ]  # fmt: skip
    header = ["task", "system", "level", "validation", "test", "best single on test", "against best single"]
    note = (
        "Chosen on partial_test by its mean there, then measured on test. The best of many on few queries looks better "
        "on validation than it is: only the columns of test count."
    )
    return Table("Best configuration of each task", note, [*header, "relative cost"], rows)


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


def facts(result: dict) -> list[str]:
    """What was measured and how, a sentence each."""
    sizes = ", ".join(f"{n:,} {split}" for split, n in result["queries"].items())
    lines = [
        f"Queries: {sizes}. Everything is measured on test; brackets are 95 % bootstrap intervals over the queries of "
        "each task, paired wherever two systems are compared.",
        f"Best single LLM, chosen on train: `{result['best_single']}`.",
        f"The per-query oracle picks the best candidate of the bench for each query. It would score "
        f"{result['oracle_by_luck']:.3f} by luck alone, if each guessed independently at its task's accuracy.",
    ]
    if result["in_train_and_test"]:
        lines.append(f"**{result['in_train_and_test']} queries stand in both train and test.**")
    return lines + [f"Note: {note}" for note in result["notes"]]


def terminal(result: dict, most: int = 3) -> str:
    """A short table, at most 120 columns: anchors, the best single LLMs and every other system."""
    systems = result["systems"]
    singles = sorted((n for n, s in systems.items() if s["level"] == "single"),
                     key=lambda n: -(systems[n]["performance"] or 0))  # fmt: skip
    shown = [n for n, s in systems.items() if s["level"] == "anchor"]
    shown += singles[:most] + [n for n, s in systems.items() if s["level"] in FUSED]
    form = "{:<31.31} {:<8} {:<20} {:<23} {:>7} {:>8} {:>7} {:>6}"
    lines = [form.format("system", "level", "performance", "against best single", "o.tasks", "USD/1k", "tokens", "gap")]
    for name in shown:
        s = systems[name]
        cells = [interval(s).text, difference(s["vs_best_single"]).text]
        cells += [plain(s["over_tasks"]["performance"], ".3f", missing="–").text]
        cells += [plain(s["cost_usd"], ".4g", 1000, "–").text, plain(s["tokens"], ".1f", missing="–").text]
        share = "–" if s["gap_recovered"] is None else f"{_percent(s['gap_recovered'])} %"
        lines.append(form.format(name, s["level"], *cells, share))
        if singles[:most] and name == singles[:most][-1] and len(singles) > most:
            rest = [systems[n]["performance"] for n in singles[most:] if systems[n]["performance"] is not None]
            between = f" between {min(rest):.3f} and {max(rest):.3f}" if rest else ""
            lines.append(f"… {len(singles) - most} more single LLMs{between}: see report.md")
    return "\n".join(lines)


def short_verdicts(result: dict) -> list[str]:
    """A line a level: on how many tasks its system is better, not separated or worse."""
    return [
        f"{name}: " + "; ".join(f"{verdict.split(' (')[0]} on {len(tasks)}" for verdict, tasks in parts.items())
        for _, name, parts in verdicts(result)
    ]


def names_of(tasks: Sequence[str]) -> str:
    """A list of tasks in words."""
    return ", ".join(tasks) or "none"

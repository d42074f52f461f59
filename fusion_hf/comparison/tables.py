"""The figures of a comparison as tables of cells; see `report` for the whole, and `render` for how it is shown."""

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


def label(result: dict, name: str) -> str:
    """A system as a reader knows it: the anchor ``best single`` with the LLM that it is."""
    return f"{name} ({result['best_single']})" if name == BEST_SINGLE else name


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
        return Cell(f"{percent(value)} %", value)
    return Cell(f"{percent(value)} % [{percent(ends[0])}, {percent(ends[1])}]", value)


def percent(share: float) -> str:
    """A share in whole per cent."""
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
                Cell(label(result, name)), Cell(s["level"]), interval(f), difference(f["vs_best_single"]), recovered(f),
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
        rows.append([Cell(label(result, name)), *(interval(f) for f in found)])
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
        [Cell(label(result, name)), *(plain(s[key][g]["performance"], ".3f", missing="–") for g in groups)]
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
    return Table(f"Per {what}", note, [what, *(label(result, n) for n in names)], rows)


def choice(result: dict) -> Table | None:
    """The configuration to trust, task by task; None where nothing was chosen."""
    if not result["best_per_task"]:
        return None
    rows = [
        [
            Cell(task), Cell(c["system"]), Cell(c["level"]), plain(c["validation"], ".3f"),
            Cell(f"{c['gain']:+.3f} ({c['gain_se']:.3f})", c["gain"]) if c["gain"] else Cell("–"),
            plain(c["test"], ".3f"), plain(c["best_single_test"], ".3f"), difference(c["vs_best_single"]),
            ratio(c["cost_ratio"]),
        ]
        for task, c in result["best_per_task"].items()
    ]  # fmt: skip
    header = ["task", "configuration", "level", "validation", "expected gain (se)"]
    header += ["test", "best single on test", "against best single", "relative cost"]
    note = (
        "Chosen on train and validation, then measured on test. The logged LLM that is best there stands, until "
        "another configuration is expected to gain more than half a standard error over it; what it gained on a task "
        "is shrunk towards what it gained on all of them, because the best of many on few queries is partly luck. "
        "`autofuse` deploys exactly this choice."
    )
    return Table("Configuration to trust on each task", note, header, rows)

"""The comparison as Markdown and as a picture."""

import math
from pathlib import Path

from ..errors import require
from .systems import BEST_SINGLE, ORACLE
from .systems import LEVELS as SYSTEM_LEVELS

LEVELS = {n: t for n, t in SYSTEM_LEVELS.items() if n not in ("anchor", "single")}
COLOURS = {BEST_SINGLE: "#444444", "query": "#1f77b4", "thought": "#2ca02c", "model": "#d62728", "combined": "#9467bd", ORACLE: "#aaaaaa"}


def representatives(result: dict) -> dict[str, str]:
    """Level -> the name of its system that did best on validation (the first one where nothing was validated)."""
    chosen = {}
    for level in LEVELS:
        names = [n for n, s in result["systems"].items() if s["level"] == level]
        if names:
            chosen[level] = max(names, key=lambda n: result["systems"][n]["validation"] or 0.0)
    return chosen


def render(result: dict) -> str:
    """The report as Markdown."""
    return "\n".join([*_head(result), *_average(result), *_per_task(result), *_honest(result), *_choice(result), ""])


def _head(result: dict) -> list[str]:
    sizes = ", ".join(f"{n} {split}" for split, n in result["queries"].items())
    lines = [
        f"# {result['title']}",
        "",
        f"Queries: {sizes}. Everything below is measured on test; brackets are 95 % bootstrap intervals over queries. "
        f"Best single LLM, chosen on train: `{result['best_single']}`.",
        "",
    ]
    if result["in_train_and_test"]:
        lines += [f"**{result['in_train_and_test']} queries stand in both train and test.**", ""]
    return [*lines, "![cost against quality, and performance per task](report.png)", ""]


def _average(result: dict) -> list[str]:
    lines = [
        "## On average",
        "",
        "| system | level | performance | against best single | gap recovered | USD per 1,000 queries |",
        "|---|---|---|---|---|---|",
    ]
    for name, s in result["systems"].items():
        gap = s["vs_best_single"]
        against = f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
        share = "–" if s["gap_recovered"] is None else f"{100 * s['gap_recovered']:.0f} %"
        usd = "not measured" if s["cost_usd"] is None else f"{1000 * s['cost_usd']:.4g}"
        lines.append(f"| {name} | {s['level']} | {_interval(s)} | {against} | {share} | {usd} |")
    return [
        *lines,
        "",
        f"The per-query oracle would score {result['oracle_by_luck']:.3f} by luck alone, if every candidate guessed "
        "independently at its task's accuracy.",
        "",
    ]


def _interval(figures: dict) -> str:
    low, high = figures["ci95"]
    return f"{figures['performance']:.3f} [{low:.3f}, {high:.3f}]"


def _columns(result: dict) -> list[str]:
    return [BEST_SINGLE, *representatives(result).values(), ORACLE]


def _per_task(result: dict) -> list[str]:
    names = _columns(result)
    lines = ["## Per task", "", "| task | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for task in result["systems"][BEST_SINGLE]["by_task"]:
        cells = [_interval(result["systems"][n]["by_task"][task]) for n in names]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _honest(result: dict) -> list[str]:
    """Where each level wins and where it does not, against the best single LLM."""
    lines = ["## Where each level beats the best single LLM, and where it does not", ""]
    for level, name in representatives(result).items():
        gaps = {t: f["vs_best_single"] for t, f in result["systems"][name]["by_task"].items()}
        parts = {
            "better (interval above 0)": [t for t, g in gaps.items() if g["low"] > 0],
            "not separated": [t for t, g in gaps.items() if g["low"] <= 0 <= g["high"]],
            "worse (interval below 0)": [t for t, g in gaps.items() if g["high"] < 0],
        }
        lines.append(
            f"- {LEVELS[level]}, `{name}`: " + "; ".join(f"{k}: {', '.join(v) or 'none'}" for k, v in parts.items())
        )
    return [*lines, ""]


def _choice(result: dict) -> list[str]:
    if not result["best_per_task"]:
        return ["No validation split (partial_test): no configuration was chosen."]
    lines = [
        "## Best configuration of each task",
        "",
        "Chosen on partial_test, then measured on test.",
        "",
        "| task | system | validation | test | best single on test |",
        "|---|---|---|---|---|",
    ]
    for task, c in result["best_per_task"].items():
        lines.append(
            f"| {task} | {c['system']} | {c['validation']:.3f} | {c['test']:.3f} | {c['best_single_test']:.3f} |"
        )
    return lines


def plot(result: dict, path: Path) -> None:
    """Draw cost against performance of every system, and performance per task of one system a level."""
    matplotlib = require("matplotlib", extra="plots")
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "fusion_hf"
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_frontier(left, result)
    _draw_tasks(right, result)
    figure.savefig(path, dpi=120)


def _draw_frontier(axes, result: dict) -> None:
    systems = {n: s for n, s in result["systems"].items() if s["cost_usd"] is not None}
    if not systems:
        axes.text(0.5, 0.5, "no cost in this log", ha="center", transform=axes.transAxes)
        return
    colours = {"single": "#bbbbbb", "anchor": "#444444"} | COLOURS
    seen = set()
    for name, s in systems.items():
        y, (low, high) = s["performance"], s["ci95"]
        label = (
            None if s["level"] in seen else LEVELS.get(s["level"], {"single": "one LLM in one mode"}.get(s["level"]))
        )
        seen.add(s["level"])
        axes.errorbar(
            1000 * s["cost_usd"], y, yerr=[[y - low], [high - y]], fmt="o" if s["level"] != "anchor" else "D",
            color=colours[s["level"]], ms=5, capsize=2, lw=1, label=label,
        )  # fmt: skip
        if s["level"] == "anchor":
            axes.annotate(name, (1000 * s["cost_usd"], y), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.set_xlabel("USD per 1,000 queries")
    axes.set_ylabel("performance on test")
    axes.set_title("Cost and quality, 95 % intervals")
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.04), ncols=2, frameon=False)
    axes.grid(alpha=0.3)


def _draw_tasks(axes, result: dict) -> None:
    names = _columns(result)
    tasks = list(result["systems"][BEST_SINGLE]["by_task"])
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        s = result["systems"][name]
        rows = [s["by_task"][t] for t in tasks]
        y = [i + (k - (len(names) - 1) / 2) * width for i in range(len(tasks))]
        x = [r["performance"] for r in rows]
        error = [
            [v - r["ci95"][0] for v, r in zip(x, rows, strict=True)],
            [r["ci95"][1] - v for v, r in zip(x, rows, strict=True)],
        ]
        clean = [[0.0 if math.isnan(e) else max(e, 0.0) for e in side] for side in error]
        axes.errorbar(
            x,
            y,
            xerr=clean,
            fmt="o",
            ms=4,
            lw=1,
            capsize=2,
            color=COLOURS.get(name, COLOURS.get(s["level"])),
            label=name,
        )
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("performance on test")
    axes.set_title("Per task, 95 % intervals")
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.04), ncols=2, frameon=False)
    axes.grid(axis="x", alpha=0.3)

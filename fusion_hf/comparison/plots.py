"""The pictures of a comparison (extra ``plots``): frontier, domains, tasks, wins, calls."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import require
from .plot_shares import MOST_WINS, calls, figure_of, wins
from .systems import BEST_SINGLE, LEVELS, ORACLE
from .tables import columns_shown, representatives

COLOURS = {
    "single": "#a3a9b0", "anchor": "#3a3f45", "query": "#1f77b4", "thought": "#2ca02c", "model": "#d62728",
    "combined": "#9467bd", BEST_SINGLE: "#3a3f45", ORACLE: "#c08a1e",
}  # fmt: skip
MARKS = {"single": "o", "anchor": "D", "query": "s", "thought": "^", "model": "v", "combined": "P"}
TIGHT = {"bbox_inches": "tight", "pad_inches": 0.12}  # no label is cut off
MOST_AXES = 20  # of a radar


@dataclass(frozen=True)
class Picture:
    """A picture on disk, and as SVG for the HTML file."""

    title: str
    note: str
    path: Path
    svg: str


def draw(result: dict, out: Path) -> dict[str, Picture]:
    """Draw what the figures allow into ``report.png`` (frontier) and ``report_<name>.png``; name -> picture.

    Raises `MissingPackage` without matplotlib.
    """
    matplotlib = require("matplotlib", extra="plots")
    drawn = {}
    with matplotlib.rc_context({"svg.hashsalt": "fusion_hf", "svg.fonttype": "path", "font.size": 9}):
        for name, (title, note, make) in PICTURES.items():
            figure = make(result)
            path = out / ("report.png" if name == "frontier" else f"report_{name}.png")
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            figure.savefig(path, dpi=120, metadata={"Software": None}, **TIGHT)
            svg = io.StringIO()
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None}, **TIGHT)
            drawn[name] = Picture(title, note, path, svg.getvalue())
    return drawn


def frontier(result: dict) -> Any:
    """Cost against performance of every system, with the hulls of the single LLMs and of everything."""
    systems = {n: s for n, s in result["systems"].items() if None not in (s["cost_usd"], s["performance"])}
    if not systems:
        return None
    import matplotlib.ticker

    figure = figure_of(11, 6.8)
    axes = figure.add_subplot()
    costs = np.array([1000 * s["cost_usd"] for s in systems.values()])
    wide = costs.min() > 0 and costs.max() > 20 * costs.min()
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    end = costs.max() * (1.15 if wide else 1.0) + (0.0 if wide else 0.04 * np.ptp(costs))
    hulls = (
        ("singles", "hull of single LLMs", COLOURS["single"], "--"),
        ("all", "hull of all systems", "#7a4fa0", "-"),
    )
    for name, label, colour, style in hulls:
        points = result["hulls"][name]
        if points:
            x = [*(1000 * p["cost_usd"] for p in points), end]
            y = [*(p["performance"] for p in points), points[-1]["performance"]]
            fine = np.unique(np.concatenate([np.linspace(a, b, 60) for a, b in pairwise(x)]))  # bent if logarithmic
            axes.plot(fine, np.interp(fine, x, y), style, color=colour, lw=1.6, alpha=0.85, label=label, zorder=1)
    seen: set[str] = set()
    for name, s in systems.items():
        level = s["level"]
        first = None if level in seen else LEVELS[level]
        seen.add(level)
        colour = COLOURS.get(name, COLOURS[level])
        x, y = 1000 * s["cost_usd"], s["performance"]
        if name in _named(result):
            low, high = s["ci95"]
            axes.errorbar(x, y, yerr=[[max(0, y - low)], [max(0, high - y)]], color=colour, lw=1, capsize=2, zorder=2)
        axes.plot([x], [y], MARKS[level], color=colour, ms=6, ls="", mec="white", mew=0.5, label=first,
                  zorder=3 + (level != "single"))  # fmt: skip
    _label_right(axes, [(1000 * systems[n]["cost_usd"], systems[n]["performance"], n) for n in _named(result)])
    axes.set_xlabel("USD per 1,000 queries" + (" (logarithmic)" if wide else ""))
    axes.set_ylabel("performance on test")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8.5)
    return figure


def _named(result: dict) -> list[str]:
    """Systems that carry a name in the frontier: anchors, one a level, corners of the hulls; best first."""
    names = [n for n, s in result["systems"].items() if s["level"] == "anchor"]
    names += [*representatives(result).values(), *(p["system"] for part in result["hulls"].values() for p in part)]
    systems = result["systems"]
    kept: dict[tuple, str] = {}  # an anchor that is one of the LLMs carries one name
    for name in dict.fromkeys(names):
        if None not in (systems[name]["cost_usd"], systems[name]["performance"]):
            kept.setdefault((systems[name]["cost_usd"], systems[name]["performance"]), name)
    return sorted(kept.values(), key=lambda n: -systems[n]["performance"])


def _label_right(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Names in a column beside the axes, each with a thin line to its point, so that none covers another."""
    low, high = axes.get_ylim()
    height = high - low
    gap = min(0.042 * height, height / max(len(points), 1))
    places, ceiling = [], high
    for _, y, _ in points:
        place = min(y, ceiling)
        places.append(place)
        ceiling = place - gap
    push = low - min(places, default=low)
    for k in range(len(places) - 1, -1, -1):  # what fell below the axes is pushed up again
        if push > 0:
            places[k] = max(places[k], low + gap * (len(places) - 1 - k))
    for (x, y, name), place in zip(points, places, strict=True):
        axes.annotate(
            name, xy=(x, y), xycoords="data", xytext=(1.015, (place - low) / height), textcoords="axes fraction",
            fontsize=8, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#b9bec4", "lw": 0.6, "relpos": (0, 0.5), "shrinkA": 0},
        )  # fmt: skip
    axes.set_ylim(low, high)


def domains(result: dict) -> Any:
    """A radar of the domains, or of the tasks where there are fewer than three domains; None where neither fits."""
    key = "by_domain" if len(result["domains"]) > 2 else "by_task"
    names = list(result["systems"][BEST_SINGLE][key])
    if not 3 <= len(names) <= MOST_AXES:
        return None
    figure = figure_of(8.4, 6.6)
    axes = figure.add_subplot(projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    for name in columns_shown(result):
        s = result["systems"][name]
        values = np.array([np.nan if (v := s[key][g]["performance"]) is None else v for g in names])
        colour, quiet = COLOURS.get(name, COLOURS[s["level"]]), name == ORACLE
        line = np.append(values, values[:1])
        axes.plot(np.append(angles, angles[:1]), line, "--" if quiet else "-", color=colour, lw=1.3 if quiet else 1.9,
                  marker=None if quiet else MARKS[s["level"]], ms=4.5, label=name)  # fmt: skip
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, names)
    axes.tick_params(axis="x", pad=8)
    for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
        side = np.sin(angle)  # angles run clockwise from the top
        label.set_horizontalalignment("center" if abs(side) < 0.1 else "left" if side > 0 else "right")
    axes.set_ylim(0, 1)
    axes.set_yticks([0.2, 0.4, 0.6, 0.8], ["0.2", "0.4", "0.6", "0.8"], color="#6b7178", fontsize=8)
    axes.set_rlabel_position(180 / len(names))
    axes.grid(alpha=0.35)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
    return figure


def tasks(result: dict) -> Any:
    """Performance per task, with intervals, of best single, one system a level and the oracle."""
    names = columns_shown(result)
    rows = list(result["systems"][BEST_SINGLE]["by_task"])
    figure = figure_of(9.5, 1.4 + 0.42 * len(rows))
    axes = figure.add_subplot()
    step = 0.72 / len(names)
    for k, name in enumerate(names):
        s = result["systems"][name]
        found = [(i, s["by_task"][t]) for i, t in enumerate(rows) if s["by_task"][t]["performance"] is not None]
        y = [i + (k - (len(names) - 1) / 2) * step for i, _ in found]
        x = np.array([f["performance"] for _, f in found])
        ends = np.array([f["ci95"] for _, f in found]).reshape(-1, 2)
        error = np.clip([x - ends[:, 0], ends[:, 1] - x], 0, None)
        axes.errorbar(x, y, xerr=error, fmt=MARKS[s["level"]], ms=4, lw=1, capsize=1.5,
                      color=COLOURS.get(name, COLOURS[s["level"]]), label=name)  # fmt: skip
    for i in range(1, len(rows), 2):
        axes.axhspan(i - 0.5, i + 0.5, color="#f1f3f5", zorder=0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("performance on test, 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8.5)
    return figure


PICTURES: dict[str, tuple[str, str, Callable]] = {
    "frontier": ("Cost and quality", "", frontier),
    "domains": ("Performance per domain", "", domains),
    "tasks": ("Performance per task", "", tasks),
    "wins": (
        "Wins, ties and losses",
        "Each cell: on how many per cent of the same queries the system of the row beats · ties with · loses to that "
        "of the column. Ties are common, because many systems are right, or wrong, at once. At most "
        f"{MOST_WINS} systems; report.json has all pairs.",
        wins,
    ),
    "calls": (
        "Share of calls a candidate",
        "Whom each system that chooses query by query asks, in per cent of the test queries. The oracle's choices are "
        "the cheapest candidate that does best.",
        calls,
    ),
}

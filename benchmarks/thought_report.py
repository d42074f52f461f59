"""The figures of `thought_evidence` as Markdown and as a radar plot."""

from pathlib import Path

import numpy as np

SHOWN = ("zero-shot", "few-shot, perf, full", "thought, perf, full", "thought, judge, full", "thought, hybrid, full")
"""The lines of the radar plot."""


def markdown(result: dict) -> str:
    """Tables: conditions by domain, against zero-shot, told apart from not told, k, and the probe."""
    lines = [f"{result['queries']} test queries; templates: {_pairs(result['templates'])}", ""]
    for name, reader in result["readers"].items():
        lines += [f"**{name}**", "", *_conditions(reader["conditions"]), ""]
        chosen = "; ".join(
            f"{style}: k = {best} of {_pairs({k: f'{v:.3f}' for k, v in means.items()})}"
            for style, (best, means) in reader["k"].items()
        )
        lines += [f"Chosen on partial_test: {chosen}.", ""]
    return "\n".join([*lines, *_probe(result["readers"]), ""])


def _conditions(found: dict) -> list[str]:
    domains = list(next(iter(found.values()))["domains"])
    head = ["condition", "all [95 %]", "against zero-shot [95 %]", *domains]
    head += ["told: n, accuracy, difference", "not told: difference", "USD per 1,000", "cost"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, one in found.items():
        cells = [name, _interval(one["all"]), _gain(one["all"]) if name != "zero-shot" else ""]
        cells += [f"{d['mean']:.3f} ± {(d['high'] - d['low']) / 2:.3f}" for d in one["domains"].values()]
        told = one["told"]
        cells.append(f"{told['n']}, {told['mean']:.3f}, {_gain(told)}" if told["n"] else "0")
        cells.append(_gain(one["not told"]) if name != "zero-shot" else "")
        cells += [f"{one['usd_per_1000']:.4f}", f"{one['cost_ratio']:.1f} x"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _probe(readers: dict) -> list[str]:
    lines = ["| probe: told / not told | " + " | ".join(readers) + " |", "|---" * (len(readers) + 1) + "|"]
    for task in next(iter(readers.values()))["probe"]:
        cells = [_told(reader["probe"][task]) for reader in readers.values()]
        lines.append("| " + " | ".join([task, *cells]) + " |")
    return lines


def _told(one: dict) -> str:
    return " / ".join(f"{one[key][0]:.2f}" for key in ("told", "not told"))


def _interval(one: dict) -> str:
    return f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _gain(one: dict) -> str:
    gap = one["difference"]
    return f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"


def _pairs(values: dict) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def draw_radar(result: dict, path: Path) -> None:
    """One radar a reader: accuracy by domain, a line a condition, with its 95 % interval as a band."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    readers = result["readers"]
    figure = Figure(figsize=(5.4 * len(readers), 5.8), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, reader) in enumerate(readers.items()):
        axes = figure.add_subplot(1, len(readers), place + 1, projection="polar")
        found = {condition: reader["conditions"][condition] for condition in SHOWN}
        domains = list(found[SHOWN[0]]["domains"])
        angles = np.linspace(0, 2 * np.pi, len(domains), endpoint=False)
        around = np.append(angles, angles[0])
        for number, (condition, one) in enumerate(found.items()):
            mean, low, high = (
                np.array([one["domains"][d][key] for d in [*domains, domains[0]]]) for key in ("mean", "low", "high")
            )
            style = {"color": f"C{number}", "linewidth": 1.8 if number < 3 else 1.1, "label": condition}
            axes.plot(around, mean, linestyle="-" if number < 3 else "--", **style)
            if number < 2:
                axes.fill_between(around, low, high, color=f"C{number}", alpha=0.12, linewidth=0)
        axes.set_xticks(angles, [domain.replace(" ", "\n") for domain in domains])
        axes.tick_params(axis="x", pad=12)
        axes.set_ylim(0, 1)
        axes.set_yticks([0.2, 0.4, 0.6, 0.8], ["0.2", "0.4", "0.6", "0.8"], fontsize=7)
        axes.set_title(f"tiny-{name}", pad=18)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(f"Accuracy by domain on {result['queries']} test queries (bands: 95 % intervals)", fontsize=10)
    figure.savefig(path, dpi=90, metadata={"Software": None})

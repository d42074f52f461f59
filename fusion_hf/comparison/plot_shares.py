"""Pictures of shares: who beats whom, and whom each system asks (extra ``plots``)."""

from typing import Any

import numpy as np

from .systems import BEST_SINGLE, LEVELS, ORACLE
from .tables import representatives

MOST_WINS = 14  # systems in the matrix of wins; more cannot be read
SHARE_SHOWN = 0.02  # a candidate that nobody asks more often stands under "others"


def figure_of(width: float, height: float) -> Any:
    """An empty figure, in inches, that makes room for what stands beside its axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def wins(result: dict) -> Any:
    """Win, tie and loss shares between the systems that matter most."""
    names = _contenders(result)
    places = [result["pairs"]["systems"].index(n) for n in names]
    win, tie = (
        np.array([[np.nan if v is None else v for v in row] for row in result["pairs"][k]], float)[places][:, places]
        for k in ("win", "tie")
    )
    loss = win.T
    longest = max(map(len, names))
    figure = figure_of(1.4 + 0.07 * longest + 0.84 * len(names), 1.2 + 0.04 * longest + 0.5 * len(names))
    axes = figure.add_subplot()
    net = np.ma.masked_invalid(win - loss)
    image = axes.imshow(net, cmap="RdBu", vmin=-0.6, vmax=0.6, aspect="auto")
    for i in range(len(names)):
        for j in range(len(names)):
            if i == j or np.ma.is_masked(net[i, j]):
                continue
            text = f"{100 * win[i, j]:.0f} · {100 * tie[i, j]:.0f} · {100 * loss[i, j]:.0f}"
            axes.text(
                j, i, text, ha="center", va="center", fontsize=7, color="white" if abs(net[i, j]) > 0.4 else "black"
            )
    for place in range(len(names)):
        axes.add_patch(_square(place))
    axes.set_xticks(range(len(names)), names, rotation=35, ha="left", rotation_mode="anchor", fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="share of wins less share of losses", fraction=0.025, pad=0.01)
    return figure


def _square(place: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((place - 0.5, place - 0.5), 1, 1, facecolor="#e3e6e9", edgecolor="none")


def _contenders(result: dict) -> list[str]:
    """Best single, best per task, the levels' own and then the best on test, at most `MOST_WINS`; best first."""
    systems: dict[str, dict] = {}
    for name, s in result["systems"].items():
        twin = s["level"] == "single" and any(s["spec"] == other["spec"] for other in systems.values())
        if s["performance"] is not None and name != "random" and not twin:
            systems[name] = s
    first = list(dict.fromkeys((BEST_SINGLE, "best per task", *representatives(result).values(), ORACLE)))
    rest = sorted((n for n in systems if n not in first), key=lambda n: -systems[n]["performance"])
    one_a_level = [next((n for n in rest if systems[n]["level"] == level), None) for level in LEVELS]
    kept = [n for n in dict.fromkeys([*first, *one_a_level, *rest]) if n in systems][:MOST_WINS]
    return sorted(kept, key=lambda n: -systems[n]["performance"])


def calls(result: dict) -> Any:
    """Whom each system that chooses asks, and how often; None where no system chooses."""
    rows = {n: s["calls"] for n, s in result["systems"].items() if s["calls"] and len(s["calls"]) > 1}
    if not rows:
        return None
    total: dict[str, float] = {}
    for shares in rows.values():
        for candidate, share in shares.items():
            total[candidate] = max(total.get(candidate, 0.0), share)
    kept = sorted(
        (c for c in total if total[c] > SHARE_SHOWN), key=lambda c: (-sum(r.get(c, 0) for r in rows.values()), c)
    )
    words = max(map(len, rows)) + max(map(len, [*kept, "others"]))
    figure = figure_of(7.6 + 0.065 * words, 1.6 + max(0.36 * len(rows), 0.17 * len(kept)))
    axes = figure.add_subplot()
    left = np.zeros(len(rows))
    for k, candidate in enumerate([*kept, None]):
        width = np.array([
            sum(v for c, v in r.items() if c not in kept) if candidate is None else r.get(candidate, 0.0)
            for r in rows.values()
        ])  # fmt: skip
        if candidate is None and not width.any():
            continue
        colour, hatch = ("#d7dade", None) if candidate is None else _paint(k)
        axes.barh(range(len(rows)), width, left=left, color=colour, hatch=hatch, edgecolor="white", lw=0.4, height=0.78,
                  label=candidate or "others")  # fmt: skip
        for i, share in enumerate(width):
            if share >= 0.07:
                axes.text(left[i] + share / 2, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7)
        left += width
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("share of the test queries")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _paint(k: int) -> tuple:
    """A light colour, with a hatch from the twentieth on."""
    from matplotlib import colormaps

    strong = np.array(colormaps["tab20"](k % 20)[:3])
    return tuple(0.75 * strong + 0.25), (None, "//", "..")[min(k // 20, 2)]

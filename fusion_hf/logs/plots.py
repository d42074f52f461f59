"""The picture on a dataset's card: mean performance of every candidate on every task."""

from pathlib import Path

import numpy as np

MOST_NAMES, MOST_TASKS, LONGEST_NAME = 60, 40, 48  # that are drawn; a picture of thousands takes a minute and gigabytes


def heat_map(means: dict[str, dict[str, float]], path: Path) -> bool:
    """Draw {task: {candidate: mean performance in 0..1}} as a heat map, best candidate on top.

    Rows and columns are sorted by their means, so that strong candidates and easy tasks meet in one corner; a cell
    without a score stays white. Returns False, and draws nothing, where there is no score or matplotlib (extra
    ``plots``) is not installed. Of more than `MOST_NAMES` candidates the best are drawn, and of more than `MOST_TASKS`
    tasks the easiest.
    """
    tasks = [task for task, row in means.items() if row]
    if not tasks:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = sorted({name for row in means.values() for name in row})
    grid = np.array([[means[task].get(name, np.nan) for task in tasks] for name in names])
    grid = np.ma.masked_invalid(grid)
    rows, columns = np.argsort(-grid.mean(1), kind="stable"), np.argsort(-grid.mean(0), kind="stable")
    left_out = max(len(rows) - MOST_NAMES, 0), max(len(columns) - MOST_TASKS, 0)
    rows, columns = rows[:MOST_NAMES], columns[:MOST_TASKS]
    grid = grid[rows][:, columns]
    tasks = [_short(tasks[j]) for j in columns]
    names = [_short(names[i]) for i in rows]
    width, height = 2.2 + 0.16 * max(map(len, names)) * 0.5 + 0.62 * len(tasks), 1.6 + 0.32 * len(names)
    figure = Figure(figsize=(max(width, 5), max(height, 2.4)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(grid, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            if not np.ma.is_masked(grid[i, j]):
                colour = "black" if grid[i, j] > 0.6 else "white"
                axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(len(tasks)), tasks, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="mean performance", fraction=0.03, pad=0.02)
    if any(left_out):
        axes.set_title(f"{left_out[0]} more candidates and {left_out[1]} more tasks are not drawn", fontsize=8)
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
    return True


def _short(name: str) -> str:
    """A name as it fits, without what a font cannot draw or takes for mathematics."""
    clean = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    return clean if len(clean) <= LONGEST_NAME else f"{clean[: LONGEST_NAME - 1]}…"

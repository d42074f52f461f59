"""The picture on a dataset's card: mean performance of every candidate on every task."""

from pathlib import Path

import numpy as np


def heat_map(means: dict[str, dict[str, float]], path: Path) -> bool:
    """Draw {task: {candidate: mean performance in 0..1}} as a heat map, best candidate on top.

    Rows and columns are sorted by their means, so that strong candidates and easy tasks meet in one corner; a cell
    without a score stays white. Returns False, and draws nothing, where there is no score or matplotlib (extra
    ``plots``) is not installed.
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
    grid = grid[rows][:, columns]
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
    axes.set_xticks(range(len(tasks)), [tasks[j] for j in columns], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [names[i] for i in rows])
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="mean performance", fraction=0.03, pad=0.02)
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
    return True

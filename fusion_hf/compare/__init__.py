"""The three levels on the same test queries, next to every anchor, with paired intervals."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..llms.logs import load_log
from .report import plot, render
from .systems import Splits, anchor_systems, log_systems, measure, router_systems, single_systems

__all__ = ["compare_bench"]


def compare_bench(
    bench: str | Path,
    routers: Sequence[str],
    logs: Sequence[str],
    out: str | Path,
    title: str = "Three levels on the same queries",
) -> dict:
    """Compare every system on the test split of `bench` and write the report.

    Args:
        bench: FusionBench folder or Hub id with the splits train and test. With partial_test, configurations are
            chosen on it; otherwise no choice among systems is reported.
        routers: ``[NAME=]FOLDER`` of trained routers (query level).
        logs: ``NAME=LOG`` of graded answers to the same queries (thought level when NAME begins with "thought", model
            level when it begins with "model").
        out: Folder of ``report.md``, ``report.json`` and ``report.png``.

    Returns:
        The content of ``report.json``.
    """
    splits = Splits.read(bench)
    systems = [*anchor_systems(splits), *single_systems(splits)]
    for item in routers:
        name, folder = item.split("=", 1) if "=" in item else (Path(item).name, item)
        systems += router_systems(name, folder, splits)
    for item in logs:
        if "=" not in item:
            raise UserError(f"--log {item}: expected NAME=LOG, found no '='")
        name, path = item.split("=", 1)
        systems += log_systems(name, load_log(path), splits)
    result = measure(systems, splits) | {"title": title}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, out / "report.png")
    (out / "report.md").write_text(render(result), encoding="utf-8")
    return result

"""What the choice of `autofuse` scores on test: where it beats the best single LLM, and where it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..logs.stats import mean, number, paired
from .systems import BEST_SINGLE, Splits, System
from .winners import Winner

BETTER, EVEN, WORSE = "better", "not separated", "worse"


def measure_on_test(
    splits: Splits,
    systems: Sequence[System],
    known: Mapping[str, System],
    chosen: Mapping[str, Winner],
    recognised: Sequence[str],
) -> dict[str, Any]:
    """What the choice scores on test beside the best single LLM, with the tasks given and with those `recognised`."""
    base = next(s for s in systems if s.name == BEST_SINGLE)
    tasks = np.array(splits.test.tasks)
    # A task without a choice is none that the system knows: its queries go where they are recognised to belong.
    asked = np.where(np.isin(tasks, list(chosen)), tasks, np.array(recognised))
    ours, paid = (_assembled(known, chosen, asked, what) for what in ("performance", "cost"))
    result: dict[str, Any] = {
        "tasks": {},
        "best_single": (base.spec or {}).get("candidate"),
        BETTER: [],
        EVEN: [],
        WORSE: [],
    }
    for task, winner in chosen.items():
        rows = tasks == task
        entry = asdict(winner) | {"level": known[winner.system].level, "test": None}
        if rows.any():
            gap = paired(ours[rows], base.performance[rows])
            verdict = BETTER if gap["low"] > 0 else WORSE if gap["high"] < 0 else EVEN
            result[verdict].append(task)
            entry["test"] = {
                "performance": number(mean(ours[rows])), "best_single": number(mean(base.performance[rows])),
                **{k: number(gap[k]) for k in ("difference", "low", "high")}, "verdict": verdict,
                "cost_usd": number(mean(paid[rows])), "best_single_cost_usd": number(mean(base.cost[rows])),
                "queries": int(rows.sum()),
            }  # fmt: skip
        result["tasks"][task] = entry
    measured = [e["test"] for e in result["tasks"].values() if e["test"] is not None]
    gap = paired(ours, base.performance)
    blind = _assembled(known, chosen, np.array(recognised), "performance")
    result["test"] = {
        "queries": len(tasks), "performance": number(mean(ours)), "best_single": number(mean(base.performance)),
        **{k: number(gap[k]) for k in ("difference", "low", "high")},
        "over_tasks": float(np.mean([t["performance"] for t in measured])),
        "best_single_over_tasks": float(np.mean([t["best_single"] for t in measured])),
        "cost_usd": number(mean(paid)), "best_single_cost_usd": number(mean(base.cost)),
        "recognised": {"tasks": float(np.mean(np.array(recognised) == tasks)), "performance": number(mean(blind))},
    }  # fmt: skip
    return result


def _assembled(known: Mapping[str, System], chosen: Mapping[str, Winner], tasks: np.ndarray, what: str) -> np.ndarray:
    """Scores or costs [n] where each query is answered by the configuration of its task."""
    result = np.full(len(tasks), np.nan)
    for task, winner in chosen.items():
        result[tasks == task] = getattr(known[winner.system], what)[tasks == task]
    return result


def format_fusion(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"Best single LLM, chosen on train: `{result['best_single']}`. Configurations: chosen on train and validation, "
        "measured on test.",
        "",
        "| task | configuration | level | best single | fused | difference [95 %] | |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, entry in result["tasks"].items():
        t = entry["test"]
        figures = " | ".join(_figures(t) if t else ["not in test", "", "", ""])
        lines.append(f"| {task} | {entry['system']} | {entry['level']} | {figures} |")
    t, count = result["test"], sum(len(result[v]) for v in (BETTER, EVEN, WORSE))
    lines += [
        f"| **all** | | | {' | '.join(_figures(t))} |",
        "",
        f"Beats the best single LLM on {len(result[BETTER])} of {count} tasks"
        + "".join(f"; {verdict}: {', '.join(result[verdict])}" for verdict in (EVEN, WORSE) if result[verdict])
        + ".",
        f"Without task labels {100 * t['recognised']['tasks']:.1f} % of the tasks are recognised, and it scores "
        f"{t['recognised']['performance']:.3f}.",
        *result.get("notes", []),
    ]
    return "\n".join(lines)


def _figures(t: dict[str, Any]) -> list[str]:
    gap = f"{t['difference']:+.3f} [{t['low']:+.3f}, {t['high']:+.3f}]"
    return [f"{t['best_single']:.3f}", f"{t['performance']:.3f}", gap, t.get("verdict", "")]

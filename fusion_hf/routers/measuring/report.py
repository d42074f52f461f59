"""Figures of routers as text for a terminal or a card."""

from ...logs.rewards import unseen_note
from .cascade_report import format_cascade
from .cross_validation import TASKS
from .text import cell, table


def format_evaluation(result: dict) -> str:
    """The dict of `evaluate_router` as Markdown."""
    parts = [f"{result['queries']} queries of split {result['split']}, {len(result['candidates'])} candidates"]
    if result.get("in_sample"):
        parts.append(
            "In-sample: the router was trained on this split. The figures say how well it fits, not how well it routes "
            "new queries: measure it on another split."
        )
    if result["unseen_tasks"]:
        parts.append(unseen_note(result["unseen_tasks"]))
    for name, s in result["scenarios"].items():
        low, high = s["ci95"]
        head = [name, "reward", "95 %", "performance", "USD a query", "queries"]
        interval = f"{cell(low)} to {cell(high)}"
        rows = [["router", cell(s["reward"]), interval, cell(s["performance"]), _usd(s), str(s["queries"])]]
        for anchor, a in s["anchors"].items():
            label = f"{anchor} ({a['candidate']})" if "candidate" in a else anchor
            rows.append([label, cell(a["reward"]), "", cell(a["performance"]), _usd(a), str(a["queries"])])
        parts.append(table(head, rows))
    if result["aiq"] is not None:
        shares = ", ".join(f"{100 * float(k):g} %: {cell(v, '{:.2f}')}" for k, v in result["cost_share_at"].items())
        parts.append(
            f"AIQ {result['aiq']:.4f} (hull of single candidates {result['aiq_singles']:.4f}); share of the best "
            f"single's cost at this share of its performance: {shares}; on {result['frontier_queries']} queries"
        )
    if _sparse(result["queries"], *result["scenarios"].values()):
        parts.append(SPARSE)
    if result.get("cascade"):
        parts.append(format_cascade(result["cascade"]))
    if result.get("leaked_queries"):
        parts.append(f"Warning: {result['leaked_queries']} query texts stand in the training split too.")
    return "\n\n".join(parts)


def format_calibration(result: dict) -> str:
    """The dict of `calibrate_router` for a terminal."""
    (low, high), (below, above) = result["cost_usd_ci95"], result["quality_ci95"]
    return (
        f"alpha {result['alpha']:.6g}, beta {result['beta']:.6g}: {result['cost_usd']:.4g} USD a query "
        f"({low:.4g} to {high:.4g}), {100 * result['quality']:.2f} % of {result['best_single']} "
        f"({100 * below:.2f} to {100 * above:.2f} %), on {result['queries']} queries"
    )


HELD_OUT = "its scores are taken as they are, and costs are scaled over all other tasks"
SPARSE = (
    "The log lacks answers: a line stands on the queries on which its choice and the best single candidate were both "
    "measured. Compare lines of unlike numbers of queries with care."
)


def _sparse(queries: int, *lines: dict) -> bool:
    return any(line["queries"] < queries for line in lines)


def _usd(figures: dict) -> str:
    return cell(figures["cost_usd"], "{:.3g}")


def format_cv(result: dict) -> str:
    """The dict of `cross_validate` as Markdown."""
    head = [result["scenario"], "reward", "se", "gap recovered", "queries", "fit s", "against the best kind"]
    best = max(result["kinds"], key=lambda k: result["kinds"][k]["reward"] or 0)
    rows = []
    for name, k in result["kinds"].items():
        gap = k["vs"].get(best)
        against = "" if not gap else f"{cell(gap['difference'], '{:+.4f}')} (se {cell(gap['se'])})"
        rows.append(
            [name, cell(k["reward"]), cell(k["se"]), cell(k["gap_recovered"], "{:.1%}"), str(k["queries"]),
             f"{k['fit_seconds']:.2f}", against]
        )  # fmt: skip
    for name, a in result["anchors"].items():
        rows.append([name, cell(a["reward"]), "", "", str(a["queries"]), "", ""])
    folds = f"{result['folds']} folds, {result['queries']} queries"
    if result["held_out"] == TASKS:
        folds = f"{result['folds']} tasks, each held out in turn: {HELD_OUT}; {result['queries']} queries"
    parts = [folds, table(head, rows)]
    if result["held_out"] == TASKS:
        parts.append(_by_task(result["kinds"]))
    if _sparse(result["queries"], *result["kinds"].values(), *result["anchors"].values()):
        parts.append(SPARSE)
    return "\n\n".join(parts)


def _by_task(kinds: dict[str, dict]) -> str:
    """What every kind earns more than the best single LLM on each task that it never saw."""

    def shown(gap: dict | None) -> str:
        return "" if gap is None else f"{cell(gap['difference'], '{:+.4f}')} (se {cell(gap['se'])})"

    tasks = list(next(iter(kinds.values()))["by_task"])
    rows = [[task, *(shown(line["by_task"][task]) for line in kinds.values())] for task in tasks]
    rows.append(["all queries", *(shown(line["vs"].get("best-single")) for line in kinds.values())])
    return table(["against best single", *kinds], rows)

"""Figures of routers as text for a terminal or a card."""

from .cascade_report import format_cascade
from .text import cell, table


def format_evaluation(result: dict) -> str:
    """The dict of `evaluate_router` as Markdown."""
    parts = [f"{result['queries']} queries of split {result['split']}, {len(result['candidates'])} candidates"]
    for name, s in result["scenarios"].items():
        low, high = s["ci95"]
        head = [name, "reward", "95 %", "performance", "USD a query"]
        rows = [["router", cell(s["reward"]), f"{cell(low)} to {cell(high)}", cell(s["performance"]), _usd(s)]]
        for anchor, a in s["anchors"].items():
            label = f"{anchor} ({a['candidate']})" if "candidate" in a else anchor
            rows.append([label, cell(a["reward"]), "", cell(a["performance"]), _usd(a)])
        parts.append(table(head, rows))
    if result["aiq"] is not None:
        shares = ", ".join(f"{100 * float(k):g} %: {cell(v, '{:.2f}')}" for k, v in result["cost_share_at"].items())
        parts.append(
            f"AIQ {result['aiq']:.4f} (hull of single candidates {result['aiq_singles']:.4f}); share of the best "
            f"single's cost at this share of its performance: {shares}"
        )
    if "cascade" in result:
        parts.append(format_cascade(result["cascade"]))
    if result.get("leaked_queries"):
        parts.append(f"Warning: {result['leaked_queries']} query texts stand in the training split too.")
    return "\n\n".join(parts)


def _usd(figures: dict) -> str:
    return cell(figures["cost_usd"], "{:.3g}")


def format_cv(result: dict) -> str:
    """The dict of `cross_validate` as Markdown."""
    head = [result["scenario"], "reward", "se", "gap recovered", "fit s", "against the best kind"]
    best = max(result["kinds"], key=lambda k: result["kinds"][k]["reward"] or 0)
    rows = []
    for name, k in result["kinds"].items():
        gap = k["vs"].get(best)
        against = f"{gap['difference']:+.4f} (se {cell(gap['se'])})" if gap else ""
        rows.append(
            [name, cell(k["reward"]), cell(k["se"]), cell(k["gap_recovered"], "{:.1%}"),
             f"{k['fit_seconds']:.2f}", against]
        )  # fmt: skip
    for name, a in result["anchors"].items():
        rows.append([name, cell(a["reward"]), "", "", "", ""])
    return f"{result['folds']} folds, {result['queries']} queries\n\n" + table(head, rows)

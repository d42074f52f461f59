"""Figures of routers as text for a terminal or a card."""


def _cell(value: float | None, form: str = "{:.4f}") -> str:
    return "-" if value is None else form.format(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns, so that it also reads well in a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def format_evaluation(result: dict) -> str:
    """The dict of `evaluate_router` as Markdown."""
    parts = [f"{result['queries']} queries of split {result['split']}, {len(result['candidates'])} candidates"]
    for name, s in result["scenarios"].items():
        low, high = s["ci95"]
        head = [name, "reward", "95 %", "performance", "USD a query"]
        rows = [["router", _cell(s["reward"]), f"{_cell(low)} to {_cell(high)}", _cell(s["performance"]), _usd(s)]]
        for anchor, a in s["anchors"].items():
            label = f"{anchor} ({a['candidate']})" if "candidate" in a else anchor
            rows.append([label, _cell(a["reward"]), "", _cell(a["performance"]), _usd(a)])
        parts.append(_table(head, rows))
    if result["aiq"] is not None:
        shares = ", ".join(f"{100 * float(k):g} %: {_cell(v, '{:.2f}')}" for k, v in result["cost_share_at"].items())
        parts.append(
            f"AIQ {result['aiq']:.4f} (hull of single candidates {result['aiq_singles']:.4f}); share of the best "
            f"single's cost at this share of its performance: {shares}"
        )
    if "cascade" in result:
        from .cascade_report import format_cascade

        parts.append(format_cascade(result["cascade"]))
    if result.get("leaked_queries"):
        parts.append(f"Warning: {result['leaked_queries']} query texts stand in the training split too.")
    return "\n\n".join(parts)


def _usd(figures: dict) -> str:
    return _cell(figures["cost_usd"], "{:.3g}")


def format_cv(result: dict) -> str:
    """The dict of `cross_validate` as Markdown."""
    head = [result["scenario"], "reward", "se", "gap recovered", "fit s", "against the best kind"]
    best = max(result["kinds"], key=lambda k: result["kinds"][k]["reward"] or 0)
    rows = []
    for name, k in result["kinds"].items():
        gap = k["vs"].get(best)
        against = f"{gap['difference']:+.4f} (se {_cell(gap['se'])})" if gap else ""
        rows.append(
            [name, _cell(k["reward"]), _cell(k["se"]), _cell(k["gap_recovered"], "{:.1%}"),
             f"{k['fit_seconds']:.2f}", against]
        )  # fmt: skip
    for name, a in result["anchors"].items():
        rows.append([name, _cell(a["reward"]), "", "", "", ""])
    return f"{result['folds']} folds, {result['queries']} queries\n\n" + _table(head, rows)

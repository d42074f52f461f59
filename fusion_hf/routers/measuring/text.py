"""Cells and tables of figures: Markdown that also reads well in a terminal, and LaTeX."""

from collections.abc import Sequence


def cell(value: float | None, form: str = "{:.4f}") -> str:
    return "-" if value is None else form.format(value)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns, so that it also reads well in a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


_LATEX = str.maketrans({
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "–": "--",
})  # fmt: skip


def latex_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in the style of the package booktabs."""
    lines = [" & ".join(text.translate(_LATEX) for text in row) + r" \\" for row in (head, *rows)]
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{caption.translate(_LATEX)}}}",
        rf"\begin{{tabular}}{{{'l' * len(head)}}}", r"\toprule", lines[0], r"\midrule", *lines[1:],
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ])  # fmt: skip

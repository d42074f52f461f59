"""Cells and tables of figures, as Markdown that also reads well in a terminal."""


def cell(value: float | None, form: str = "{:.4f}") -> str:
    return "-" if value is None else form.format(value)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns, so that it also reads well in a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])

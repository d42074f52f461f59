"""A report as text for a terminal, Markdown, one HTML file, CSV and LaTeX. What it says is decided in `report`."""

import base64
import csv
import io
from pathlib import Path
from textwrap import fill

import jinja2

from ..outputs import write_text
from ..routers.measuring.text import latex_table
from ..terminal import safe
from .plots import Picture
from .report import Report, Section, shown_in_terminal, to_json, verdicts
from .tables import Table, difference, interval, label, percent, plain

TEMPLATE = Path(__file__).with_name("report.html.jinja")
WIDTH = 118  # of lines in a terminal
MOST_SINGLE = 3  # single LLMs in the table of a terminal


def write_report(report: Report, out: Path) -> None:
    """Write ``report.html``, ``report.md``, ``report.json``, ``report.csv`` and ``report.tex`` into `out`."""
    for name, text in {"md": markdown, "html": html, "json": to_json, "csv": to_csv, "tex": latex}.items():
        # JSON writes control characters out by itself.
        write_text(out / f"report.{name}", text(report) if name == "json" else safe(text(report)))


def terminal(report: Report, most: int = MOST_SINGLE) -> str:
    """The verdict, the facts, a table of at most 120 columns, and a line a level."""
    result = report.result
    systems = result["systems"]
    shown, left_out = shown_in_terminal(result, most)
    form = "{:<31.31} {:<8} {:<20} {:<23} {:>7} {:>8} {:>7} {:>6}"
    head = ("system", "level", "performance", "against best single", "o.tasks", "USD/1k", "tokens", "gap")
    lines = [fill(report.verdict, WIDTH), "", *(fill(fact, WIDTH) for fact in report.facts), "", form.format(*head)]
    for name in shown:
        s = systems[name]
        cells = [interval(s).text, difference(s["vs_best_single"]).text]
        cells += [plain(s["over_tasks"]["performance"], ".3f", missing="–").text]
        cells += [plain(s["cost_usd"], ".4g", 1000, "–").text, plain(s["tokens"], ".1f", missing="–").text]
        share = "–" if s["gap_recovered"] is None else f"{percent(s['gap_recovered'])} %"
        lines.append(form.format(label(result, name), s["level"], *cells, share))
    if left_out:
        scores = [systems[n]["performance"] for n in left_out if systems[n]["performance"] is not None]
        between = f" between {min(scores):.3f} and {max(scores):.3f}" if scores else ""
        lines.append(f"… {len(left_out)} more single LLMs{between}: see report.md")
    lines += ["", "Against the best single LLM, by task:"] if verdicts(result) else []
    for _, name, parts in verdicts(result):
        counts = "; ".join(f"{what.split(' (')[0]} on {len(tasks)}" for what, tasks in parts.items())
        lines.append(f"{name}: {counts}")
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """The report as Markdown; pictures are those that `plots.draw` wrote beside it."""
    lines = [f"# {report.title}", "", f"**{report.verdict}**", ""]
    lines += [line for fact in report.facts for line in (fact, "")]
    for section in report.sections:
        lines += _section(report, section)
    return "\n".join(lines)


def _section(report: Report, section: Section) -> list[str]:
    titled = len(section.tables) == 0 or section.note or section.pictures
    lines = [f"## {section.title}", ""] if titled else []
    lines += [section.note, ""] if section.note else []
    for name in section.pictures:
        if name in report.pictures:
            picture = report.pictures[name]
            lines += [f"![{picture.title}]({picture.path.name})", ""]
    lines += [f"- {line}" for line in section.lines] + ([""] if section.lines else [])
    for table in section.tables:
        lines += _markdown_table(table, "###" if titled else "##")
    return lines


def _markdown_table(table: Table, level: str) -> list[str]:
    rows = ["| " + " | ".join(cell.text.replace("|", "\\|") for cell in row) + " |" for row in table.rows]
    head = "| " + " | ".join(name.replace("|", "\\|") for name in table.header) + " |"
    return [f"{level} {table.title}", "", table.note, "", head, "|" + "---|" * len(table.header), *rows, ""]


def html(report: Report) -> str:
    """The report as one HTML file that needs nothing else: styles, script and pictures are inside."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=report.title,
        verdict=report.verdict,
        facts=[fact.replace("**", "").replace("`", "") for fact in report.facts],
        sections=report.sections,
        pictures={name: _inline(picture) for name, picture in report.pictures.items()},
    )


def _inline(picture: Picture) -> dict:
    data = base64.b64encode(picture.svg.encode("utf-8")).decode("ascii")
    return {"title": picture.title, "note": picture.note, "source": f"data:image/svg+xml;base64,{data}"}


def to_csv(report: Report) -> str:
    """A row a system and group of queries (all, each domain, each task), with every figure and its interval."""
    names = ["performance", "low", "high", "difference", "difference_low", "difference_high", "cost_usd", "cost_ratio"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["system", "level", "group", "name", *names, "gap_recovered", "queries"])
    for name, s in report.result["systems"].items():
        groups = [("all", "all", s)]
        groups += [(kind, g, f) for kind in ("domain", "task") for g, f in s[f"by_{kind}"].items()]
        for kind, group, f in groups:
            low, high = f["ci95"] or (None, None)
            gap = f["vs_best_single"]
            figures = [f["performance"], low, high, gap["difference"], gap["low"], gap["high"], f["cost_usd"]]
            row = [*figures, f["cost_ratio"]["ratio"], f["gap_recovered"], f["queries"]]
            writer.writerow(
                [no_formula(name), s["level"], kind, no_formula(group), *("" if v is None else v for v in row)]
            )
    return out.getvalue()


def no_formula(name: str) -> str:
    """A name as a spreadsheet shows it: one that begins like a formula would be computed."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def latex(report: Report) -> str:
    """Every table in the style of the package booktabs, for a paper."""
    parts = ["% needs \\usepackage{booktabs}"]
    for table in (table for section in report.sections for table in section.tables):
        rows = [[cell.text for cell in row] for row in table.rows]
        parts += ["", latex_table(f"{table.title}. {table.note}", table.header, rows)]
    return "\n".join(parts) + "\n"

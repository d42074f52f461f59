"""The comparison on disk: Markdown, one HTML file, JSON, and pictures where matplotlib is installed."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from ..errors import MissingPackage
from .tables import Table, averages, by_group, by_level, choice, facts, names_of, rewards, verdicts

if TYPE_CHECKING:
    from .plots import Picture

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(result: dict, out: Path) -> None:
    """Write ``report.md``, ``report.html``, ``report.json`` and ``report*.png`` into `out`.

    Without matplotlib there are no pictures, and a line in ``result["notes"]`` says how to get them.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Picture] = {}
    try:
        from .plots import draw

        pictures = draw(result, out)
    except MissingPackage as error:
        result["notes"].append(f"without pictures: {error}")
    (out / "report.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / "report.md").write_text(markdown(result, pictures), encoding="utf-8")
    (out / "report.html").write_text(html(result, pictures), encoding="utf-8")


def markdown(result: dict, pictures: dict[str, "Picture"]) -> str:
    """The report as Markdown; `pictures` are those that `plots.draw` wrote beside it."""
    lines = [f"# {result['title']}", "", *(line for fact in facts(result) for line in (fact, ""))]
    shown = {name: [f"![{picture.title}]({picture.path.name})", ""] for name, picture in pictures.items()}
    lines += shown.get("frontier", []) + [line for table in averages(result) for line in _table(table)]
    lines += _table(rewards(result))
    lines += _table(by_level(result, "by_domain", "domain")) + shown.get("domains", [])
    lines += _table(by_level(result, "by_task", "task")) + shown.get("tasks", []) + _honest(result)
    chosen = choice(result)
    lines += _table(chosen) if chosen else ["No validation split (partial_test): no configuration was chosen.", ""]
    for name in ("wins", "calls"):
        lines += [f"## {pictures[name].title}", "", pictures[name].note, "", *shown[name]] if name in pictures else []
    lines += _table(by_group(result, "by_task", "task"))
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    rows = ["| " + " | ".join(cell.text.replace("|", "\\|") for cell in row) + " |" for row in table.rows]
    head = "| " + " | ".join(name.replace("|", "\\|") for name in table.header) + " |"
    return [f"## {table.title}", "", table.note, "", head, "|" + "---|" * len(table.header), *rows, ""]


def _honest(result: dict) -> list[str]:
    """Where each level wins and where it does not, against the best single LLM."""
    lines = ["## Where each level beats the best single LLM, and where it does not", ""]
    for level, name, parts in verdicts(result):
        lines.append(f"- {level}, `{name}`: " + "; ".join(f"{k}: {names_of(v)}" for k, v in parts.items()))
    return [*lines, ""]


def html(result: dict, pictures: dict[str, "Picture"]) -> str:
    """The report as one HTML file that needs nothing else: styles, script and pictures are inside."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=result["title"],
        facts=[fact.replace("**", "").replace("`", "") for fact in facts(result)],
        pictures={name: _inline(picture) for name, picture in pictures.items()},
        tables={
            "averages": averages(result),
            "rewards": rewards(result),
            "domain": by_level(result, "by_domain", "domain"),
            "task": by_level(result, "by_task", "task"),
            "choice": choice(result),
            "domains": by_group(result, "by_domain", "domain"),
            "all": by_group(result, "by_task", "task"),
        },
        verdicts=verdicts(result),
    )


def _inline(picture: "Picture") -> dict:
    data = base64.b64encode(picture.svg.encode("utf-8")).decode("ascii")
    return {"title": picture.title, "note": picture.note, "source": f"data:image/svg+xml;base64,{data}"}

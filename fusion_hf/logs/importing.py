"""Import a log in a publisher's format into a FusionBench folder, and report what was read, kept and dropped."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc

from ..tasks import TASKS
from .card import llm_rows
from .importers import FORMATS, ImportResult, format_name, read
from .store import SPLITS, bench_splits, query_overlap, read_log, summary
from .write import write_bench


def import_log(
    format: str,
    path: str | Path,
    out: str | Path,
    split: str | None = None,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    title: str = "FusionBench",
) -> dict:
    """Read a log with the importer `format` and write (or extend) the FusionBench at `out`.

    Args:
        format: Name of an importer, or the path of a file that is one.
        path: File or folder of the log.
        out: FusionBench folder. Splits that the import does not hold stay as they are.
        split: Put every row into this split, whatever the file names say.
        task: Task name for formats that carry none.
        mapping: Column of the log row -> key of the source; for the format ``jsonl``.
        title: Heading of the card.

    Returns:
        ``{"read", "kept", "dropped": {reason: n}, "notes": {what: n}, "splits": {split: {...}}, "in_two_splits": {"a &
        b": n}}``. Queries that stand in two splits are counted, not removed: which one to keep is the user's choice.
    """
    format = format_name(format)
    result = read(format, path, task=task, mapping=mapping)
    if split is not None and len(result.tables) > 1:  # a query may stand in several of the source's splits
        result = ImportResult({}, result.llms, result.read, 0, result.dropped, result.notes).keep(
            {split: list(result.tables.values())}
        )
    tables = {split or name: table for name, table in result.tables.items() if table.num_rows}
    publisher, licence = FORMATS[format].SOURCE or (None, None)
    known = {name: (publisher, licence) for table in tables.values() for name in pc.unique(table["task"]).to_pylist()}
    text = f"Imported from the format `{format}`" + (f", as published by {publisher}." if publisher else ".")
    write_bench(
        tables, out, title=title, text=text,
        llms=list({row["name"]: row for row in [*llm_rows(out), *result.llms]}.values()),
        # The queries of our tasks have a source of their own; those of others come with the log.
        sources={name: source for name, source in known.items() if name not in TASKS and publisher},
    )  # fmt: skip
    return {
        "read": result.read,
        "kept": result.kept,
        "dropped": result.dropped,
        "notes": result.notes,
        "splits": {row.pop("split"): row for row in summary(out)},
        "in_two_splits": _overlaps(out),
    }


def _overlaps(out: str | Path) -> dict[str, int]:
    names = [s for s in SPLITS if s in bench_splits(out)]
    tables = {s: read_log(out, s, columns=["query"]) for s in names}
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return {f"{a} & {b}": query_overlap(tables[a], tables[b]) for a, b in pairs}

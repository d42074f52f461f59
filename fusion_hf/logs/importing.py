"""Import a log in a publisher's format into a FusionBench folder, and report what was read, kept and dropped."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc

from ..tasks import TASKS
from .card import About
from .importers import FORMATS, ImportResult, format_name, read
from .log import Log
from .store import query_overlap


def import_log(
    format: str,
    path: str | Path,
    out: str | Path,
    split: str | None = None,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    title: str | None = None,
    replace: bool = False,
    newer: bool = False,
    overwrite: bool = False,
) -> dict:
    """Read a log with the importer `format` and write (or extend) the FusionBench at `out`.

    Args:
        format: Name of an importer, or the path of a file that is one.
        path: File or folder of the log.
        out: FusionBench folder; the rows are added by key to those that it holds.
        split: Put every row into this split, whatever the file names say.
        task: Task name for formats that carry none.
        mapping: Column of the log row -> key of the source; for the format ``jsonl``.
        title: Heading of the card.
        replace: The imported splits take the place of those that `out` holds.
        newer: Rows that differ from those of the same query, LLM and mode take their place; else the old ones stay.
        overwrite: Write into a folder that holds other things.

    Returns:
        ``{"read", "kept", "dropped": {reason: n}, "notes": {what: n}, "merged": {...}, "splits": {split: {...}},
        "in_two_splits": {"a & b": n}}``; ``merged`` as in `Merged`. Queries that stand in two splits are counted, not
        removed: which one to keep is the user's choice.
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
    # The queries of our tasks have a source of their own; those of others come with the log.
    sources = {name: source for name, source in known.items() if name not in TASKS and publisher}
    about = About(title, text, result.llms, sources)
    merged = Log(tables, about=about).add_to(out, newer, replace, overwrite)
    log = Log(out)
    return {
        "read": result.read,
        "kept": result.kept,
        "dropped": result.dropped,
        "notes": result.notes,
        "merged": merged.to_dict(),
        "splits": {row.pop("split"): row for row in log.summary()},
        "in_two_splits": _overlaps(log),
    }


def _overlaps(log: Log) -> dict[str, int]:
    tables = log.parts(["query"])
    pairs = [(a, b) for i, a in enumerate(log.splits) for b in log.splits[i + 1 :]]
    return {f"{a} & {b}": query_overlap(tables[a], tables[b]) for a, b in pairs}

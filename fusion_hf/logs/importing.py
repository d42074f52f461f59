"""Reading a log in a publisher's format as a `Log`."""

from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from ..tasks import TASKS
from ..tasks.described import open_task
from .card import About
from .importers import FORMATS, ImportResult, format_name, read
from .log import Log
from .store import check_task_name


def import_tables(
    format: str,
    path: str | PathLike[str],
    split: str | None = None,
    task: str | None = None,
    title: str | None = None,
    **options: Any,
) -> tuple[ImportResult, Log]:
    """(what the importer `format` read, its rows as a log with splits); see `fusion_hf.import_log`."""
    format = format_name(format)
    if task is not None and task.endswith((".yaml", ".yml", ".py")):
        task = open_task(task).name
    if task is not None:
        check_task_name(task)
    result = read(format, Path(path) if not isinstance(path, str) else path, task=task, **options)
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
    return result, Log(tables, about=About(title, text, result.llms, sources))

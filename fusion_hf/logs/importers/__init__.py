"""Logs in their publishers' formats -> log tables.

A file a format: `DESCRIPTION`, `SOURCE` (who publishes such logs and under which licence, as the Hub spells it; None
where it is not known) and ``read(path, task=None)``.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ... import plugins
from ...errors import UserError
from ._files import files_of, read_csv, split_of
from ._result import ImportResult, Query, build_table, check_score

FORMATS: Mapping[str, ModuleType] = plugins.Plugins("importers")


def format_name(format: str) -> str:
    """Name of the importer that a user names, by its name or by the path of a file; raises `UserError` without one."""
    if format.endswith(".py"):
        return plugins.given("importers", format)[0]
    name = format.replace("_", "-")
    if name not in FORMATS:
        raise UserError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}, or the path of a .py file")
    return name


def read(format: str, path: str | Path, task: str | None = None, **options: Any) -> ImportResult:
    """Read a file or folder, gzip or not, with the importer called `format`.

    Args:
        format: Name of an importer (``-`` and ``_`` count as the same), or the path of a file that is one.
        path: File or folder (``fusionbench``: or a Hub dataset id).
        task: Task name for formats that carry none; it stands for the names of those that do.
        **options: Further arguments of the importer's ``read``; None counts as not given. Those of one's own logs and
            of gateways have ``mapping``, ``scale`` and ``on_duplicate`` (see `fusion_hf.logs.importers.jsonl.read`).

    Raises:
        UserError: One line: unknown format, missing file, wrong shape, a score outside 0..1, an empty log.
    """
    module = FORMATS[format_name(format)]
    options = {name: value for name, value in options.items() if value is not None and value != {}}
    known = inspect.signature(module.read).parameters
    for name in options:
        if name not in known:
            word = name.replace("mapping", "map")
            raise UserError(f"{word} is for the formats of your own logs and gateways: leave it out for {format!r}")
    result = module.read(path, task=task, **options)
    if not any(table.num_rows for table in result.tables.values()):
        dropped = ", ".join(f"{n} {reason}" for reason, n in result.dropped.items())
        found = f"found none ({dropped})" if dropped else "found none"
        raise UserError(f"{path}: the log is empty: expected at least one answer, {found}")
    return result


__all__ = [
    "FORMATS", "ImportResult", "Query", "build_table", "check_score", "files_of", "format_name", "read", "read_csv",
    "split_of",
]  # fmt: skip

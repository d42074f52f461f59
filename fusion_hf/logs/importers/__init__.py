"""Logs in their publishers' formats -> log tables.

A file a format: `DESCRIPTION`, `SOURCE` (who publishes such logs and under which licence, as the Hub spells it; None
where it is not known) and ``read(path, task=None)``.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from ... import plugins
from ...errors import UserError
from ._result import ImportResult

FORMATS: Mapping[str, ModuleType] = plugins.Plugins("importers")


def format_name(format: str) -> str:
    """Name of the importer that a user names, by its name or by the path of a file; raises `UserError` without one."""
    if format.endswith(".py"):
        return plugins.given("importers", format)[0]
    name = format.replace("_", "-")
    if name not in FORMATS:
        raise UserError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}, or the path of a .py file")
    return name


def read(
    format: str, path: str | Path, task: str | None = None, mapping: Mapping[str, str] | None = None
) -> ImportResult:
    """Read a file or folder, gzip or not, with the importer called `format`.

    Args:
        format: Name of an importer (``-`` and ``_`` count as the same), or the path of a file that is one.
        path: File or folder (``fusionbench``: or a Hub dataset id).
        task: Task name for formats that carry none; it stands for the names of those that do.
        mapping: Column of the log row -> key of the source (``jsonl`` only).

    Raises:
        UserError: One line: unknown format, missing file, wrong shape, a score outside 0..1, an empty log.
    """
    module = FORMATS[format_name(format)]
    if mapping and format != "jsonl":
        raise UserError(f"--map names the keys of the format 'jsonl': leave it out for {format!r}")
    result = module.read(path, task=task, **({"mapping": mapping} if mapping else {}))
    if not any(table.num_rows for table in result.tables.values()):
        raise UserError(f"{path}: the log is empty: expected at least one answer, found none")
    return result


__all__ = ["FORMATS", "ImportResult", "format_name", "read"]

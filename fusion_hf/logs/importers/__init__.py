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

FORMATS: dict[str, ModuleType] = {name: plugins.load("importers", name) for name in plugins.names("importers")}


def read(
    format: str, path: str | Path, task: str | None = None, mapping: Mapping[str, str] | None = None
) -> ImportResult:
    """Read a file or folder, gzip or not, with the importer called `format`.

    Args:
        format: Name of a file in this folder; ``-`` and ``_`` count as the same.
        path: File or folder (``fusionbench``: or a Hub dataset id).
        task: Task name for formats that carry none; it stands for the names of those that do.
        mapping: Column of the log row -> key of the source (``jsonl`` only).

    Raises:
        UserError: One line: unknown format, missing file, wrong shape, a score outside 0..1, an empty log.
    """
    module = FORMATS.get(format.replace("_", "-"))
    if module is None:
        raise UserError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    if mapping and format != "jsonl":
        raise UserError(f"--map names the keys of the format 'jsonl': leave it out for {format!r}")
    result = module.read(path, task=task, **({"mapping": mapping} if mapping else {}))
    if not any(table.num_rows for table in result.tables.values()):
        raise UserError(f"{path}: the log is empty: expected at least one answer, found none")
    return result


__all__ = ["FORMATS", "ImportResult", "read"]

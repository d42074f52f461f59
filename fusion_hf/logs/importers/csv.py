"""Your own log as CSV or TSV: one answer a line below a line of names, gzip or not; every cell is read as text."""

from collections.abc import Mapping
from pathlib import Path

from ._files import files_of, split_of
from ._own import ALIASES, read_objects
from ._result import ImportResult
from ._rows import RowReader, keys_of, read_scale

DESCRIPTION = (
    "CSV or TSV, one answer a line below a line of names: query, llm, response or performance; others with --map"
)
SOURCE = None


def read(
    path: str | Path,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    scale: str | None = None,
    on_duplicate: str = "first",
) -> ImportResult:
    """See `fusion_hf.logs.importers.jsonl.read` for the arguments."""
    files = [(file, split_of(file)[1]) for file in files_of(path, (".csv", ".tsv"))]
    reader = RowReader(keys_of(ALIASES, mapping or {}), read_scale(scale))
    return read_objects(files, reader, task, on_duplicate)

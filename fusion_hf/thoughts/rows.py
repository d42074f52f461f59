"""Templates as JSON lines, and as lists in memory: what a saved pipeline reads where pyarrow is missing.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError

COLUMNS = ("query_id", "task", "query", "template", "answer", "candidates", "rule", "summariser", "prompt_version")
NEEDED = ("query_id", "task", "query", "template")  # never null


class Rows:
    """As much of a `pyarrow.Table` as an index needs, over lists: ``{column: values}``."""

    def __init__(self, columns: dict[str, list]):
        self._columns = columns
        self.column_names = list(columns)
        self.num_rows = len(next(iter(columns.values()), []))

    def __getitem__(self, name: str) -> list:
        return self._columns[name]

    def select(self, names: Sequence[str]) -> "Rows":
        """Only these columns."""
        return Rows({name: self._columns[name] for name in names})


def value(table: Any, name: str, row: int) -> Any:
    """A cell of `Rows` or of a `pyarrow.Table`, as Python has it."""
    cell = table[name][row]
    return cell if isinstance(table, Rows) else cell.as_py()


def values(table: Any, name: str) -> Iterator[Any]:
    """A column of `Rows` or of a `pyarrow.Table`, one value after the other."""
    return iter(table[name]) if isinstance(table, Rows) else (cell.as_py() for cell in table[name])


def write_rows(path: Path, table: Any) -> None:
    """`Rows` or a `pyarrow.Table` as JSON lines."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in zip(*(values(table, name) for name in COLUMNS), strict=True):
            file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of such a file; `UserError` where one is no template."""
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = enumerate(file, 1)
        while True:
            try:
                number, line = next(lines)
                row = json.loads(line)
            except StopIteration:
                return
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: expected JSON lines of templates, found something else: {error}") from None
            if (wrong := _wrong(row)) is not None:
                raise UserError(f"{path}, line {number}: {wrong}")
            yield row


def _wrong(row: Any) -> str | None:
    """What is wrong with a template; None where nothing is."""
    if not isinstance(row, dict) or not row.keys() >= set(COLUMNS):
        return f"expected an object with {', '.join(COLUMNS)}, found {str(row)[:80]}"
    for name in COLUMNS:
        cell = row[name]
        if name == "candidates":
            fine = cell is None or (isinstance(cell, list) and all(isinstance(c, str) for c in cell))
        else:
            fine = isinstance(cell, str) or (cell is None and name not in NEEDED)
        if not fine:
            return f"expected {'texts' if name == 'candidates' else 'a text'} in {name}, found {str(cell)[:80]}"
    return None


def as_rows(rows: Iterable[dict[str, Any]]) -> Rows:
    """`Rows` of dictionaries."""
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for row in rows:
        for name in COLUMNS:
            columns[name].append(row[name])
    return Rows(columns)

"""CSV and TSV as objects: every cell a text, an empty one nothing; no guess of types or of missing values."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ._files import open_text

csv.field_size_limit(1 << 27)  # a response may be long


def read_table(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(where it stands, {column: text}) of a file with a line of names, gzip or not."""
    text = open_text(path)
    first = text.split("\n", 1)[0]
    mark = "\t" if ".tsv" in path.name.lower() else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names) or not all(names):
            raise UserError(f"{path}: expected a first line of different column names, found {', '.join(names)!r:.80}")
        for cells in reader:
            if not cells:
                continue
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(names):
                raise UserError(f"{where}: expected {len(names)} columns, found {len(cells)}")
            yield where, {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: expected CSV, found something else ({error})") from None

"""Single files of log rows (Parquet, JSON lines), read with their values checked and written beside their place."""

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from ..outputs import atomic_file
from .schema import KEY, LOG_SCHEMA, SchemaError, conform, rows_to_table

# Level 3 takes a quarter of the time of level 9; the files are a tenth larger.
ZSTD_LEVEL = 3
SUFFIXES = (".parquet", ".jsonl")


def read_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The log rows of a ``.parquet`` or ``.jsonl`` file; see `read_parquet`."""
    if path.suffix == ".parquet":
        return read_parquet(path, columns)
    if path.suffix == ".jsonl":
        try:
            table = rows_to_table(_json_lines(path))
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from None
        return conform(table, str(path), columns)
    raise UserError(f"{path}: expected a .parquet or .jsonl file, found {path.suffix or 'no suffix'}")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Log rows with the columns of the log row in its types; those that the file lacks are null, others are left out.

    Raises `UserError` for a file that is no Parquet, and `SchemaError` for a value that no log row can have.
    """
    try:
        present = pq.read_schema(path).names
        wanted = [name for name in (LOG_SCHEMA.names if columns is None else columns) if name in present]
        table = pq.read_table(path, columns=wanted, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{path}: expected a Parquet file, found something else: {error}") from None
    return conform(table, str(path), columns)


def _json_lines(path: Path) -> Iterable[dict]:
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: expected a JSON object, found {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
            yield row


def write_file(table: pa.Table, out: Path) -> None:
    """Write log rows to a ``.parquet`` or ``.jsonl`` file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as part:
        if out.suffix == ".parquet":
            pq.write_table(table, part, compression="zstd", compression_level=ZSTD_LEVEL)
        else:
            _write_lines(table, part)


def _write_lines(table: pa.Table, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as lines:
        for batch in table.to_batches(10_000):
            for row in batch.to_pylist():
                lines.write(json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def named_by_content(folder: Path, stem: str) -> Iterator[tuple[Path, list[Path]]]:
    """Write a file whose name tells its content: (a path to write to, a list that then holds the file).

    ``<stem>-<16 digits of the SHA-256>.parquet``. `datasets` keeps what it once read from a local folder under the
    folder's base name and the file patterns of its card; with such names another folder of that name, or new rows, are
    other patterns. A file of the same content is left as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{stem}.{secrets.token_hex(4)}.part"
    written: list[Path] = []
    try:
        yield part, written
        with open(part, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        written.append(folder / f"{stem}-{digest}.parquet")
        if not written[0].exists():
            part.replace(written[0])
    finally:
        part.unlink(missing_ok=True)


def is_log(path: Path) -> bool:
    """Whether a file holds log rows and nothing else, so that other log rows may take its place."""
    try:
        read_file(path, list(KEY))
    except UserError:
        return False
    return True

"""Opening what a publisher left: files or folders, packed or not, with errors that name the file and the line."""

import bz2
import gzip
import io
import json
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from ...errors import UserError

SPLIT_WORDS = {"train": "train", "test": "test", "partial_test": "partial_test", "validation": "test", "dev": "test"}
BIG = 1 << 28  # bytes from which reading shows a bar
PACKED_NAMES = {".gz": "gzip", ".zst": "zstandard", ".bz2": "bzip2", ".xz": "xz"}
PACKED = tuple(PACKED_NAMES)
_UNPACKERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(pa.PythonFile(file), "zstd"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_NO_ROWS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"PAR1": "Parquet, which a FusionBench folder holds",
}
_BROKEN = (EOFError, OSError, lzma.LZMAError, zlib.error)
LONGEST_LINE = 1 << 28
"""Bytes of a line: a packed file of a megabyte may hold gigabytes of blanks."""
UNREADABLE = (ValueError, RecursionError)
"""What `json.loads` raises: also for a number of more digits than Python reads, and for lists in lists without end."""


def open_binary(path: Path) -> BinaryIO:
    """The bytes of a file as a stream, unpacked where it is gzip, zstandard, bzip2 or xz (by its first bytes)."""
    try:
        file = open(path, "rb")  # noqa: SIM115  it is handed to the caller
    except FileNotFoundError:
        raise UserError(f"{path}: expected a file, found none there") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    start = file.read(8)
    file.seek(0)
    for mark, unpacked in _UNPACKERS.items():
        if start.startswith(mark):
            return io.BufferedReader(unpacked(file), 1 << 20)
    found = next((what for mark, what in _NO_ROWS.items() if start.startswith(mark)), None)
    if path.suffix in PACKED:
        found = "other bytes: rename it or pack it again"
    if found:
        file.close()
        packed = f"a {PACKED_NAMES[path.suffix]} file" if path.suffix in PACKED else "text"
        raise UserError(f"{path}: expected {packed}, found {found}")
    return file


def open_text(path: Path) -> str:
    """The whole text of a file, gzip or not."""
    try:
        with open_binary(path) as file:
            data = file.read()
        # What Excel calls Unicode text says so in its first bytes.
        return data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#x} (of another encoding? iconv -f latin1 -t utf-8 writes it anew)"
        raise UserError(f"{path}: expected text in UTF-8, found {found}") from None


def line_blocks(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, whole lines) of a file, gzip or not, about `size` bytes at a time."""
    number = 1
    with open_binary(path) as file:
        size_on_disk = path.stat().st_size
        whole = None if path.suffix in PACKED else size_on_disk
        bar = tqdm(
            total=whole, desc=f"reading {path.name}", unit="B", unit_scale=True, disable=size_on_disk < BIG or None
        )
        while True:
            try:
                block = file.read(size)
                rest = file.readline(LONGEST_LINE)
            except _BROKEN as error:
                raise UserError(f"{path}: cannot be read: {error}") from None
            if len(rest) == LONGEST_LINE:
                after = number + block.count(b"\n")
                raise UserError(
                    f"{path}, line {after}: expected a line of less than {LONGEST_LINE >> 20} MiB, found a longer one"
                )
            block += rest
            if not block:
                bar.close()
                return
            yield number, block.removeprefix(b"\xef\xbb\xbf") if number == 1 else block
            number += block.count(b"\n")
            bar.update(len(block))


def read_json(path: Path) -> Any:
    """A JSON file, gzip or not."""
    text = open_text(path)
    if not text.strip():
        raise UserError(f"{path}: the log is empty: expected JSON, found nothing")
    try:
        return json.loads(text)
    except UNREADABLE as error:
        raise UserError(f"{path}: expected JSON, found something else ({error})") from None


def read_csv(path: Path, **options) -> pd.DataFrame:
    """A CSV file, gzip or not; `options` as in `pandas.read_csv`.

    Only an empty cell is missing: pandas would take texts such as "None", "NA" and "null" for missing, too. Columns of
    such texts are no numbers; who reads numbers says so.
    """
    try:
        return pd.read_csv(io.StringIO(open_text(path)), **({"keep_default_na": False, "na_values": [""]} | options))
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: expected CSV, found something else ({error})") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a JSON lines file, gzip or not; blank lines are passed over."""
    for first, block in line_blocks(path, 1 << 24):
        yield from json_objects(path, first, block)


def json_objects(path: Path, first: int, block: bytes) -> Iterator[tuple[int, dict]]:
    """The same for the lines of one block, the first of which is line `first` of the file."""
    for number, line in enumerate(block.split(b"\n"), first):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError as error:
            found = f"byte {error.object[error.start]:#x}"
            raise UserError(f"{path}, line {number}: expected text in UTF-8, found {found}") from None
        except UNREADABLE as error:
            raise UserError(f"{path}, line {number}: expected a JSON object, found something else ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def files_of(path: str | Path, suffixes: Sequence[str], deep: bool = False) -> list[Path]:
    """The file itself, or the files of a folder whose names end in one of `suffixes` (or that and one of `PACKED`).

    With `deep` the folders below count too.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: expected a file or folder, found nothing there")
    if path.is_file():
        return [path]
    names = tuple(s + packed for s in suffixes for packed in ("", *PACKED))
    inside = [Path(folder) / name for folder, _, files in os.walk(path) for name in files] if deep else path.iterdir()
    files = sorted(f for f in inside if f.is_file() and f.name.endswith(names))
    if not files:
        found = ", ".join(sorted(f.name for f in path.iterdir())[:5]) or "nothing"
        raise UserError(f"{path}: expected files that end in {' or '.join(suffixes)}, found {found}")
    return files


def stem_of(path: Path) -> str:
    """The name of a file without its suffix, also of what is packed."""
    return unpacked_name(path).rsplit(".", 1)[0]


def unpacked_name(path: Path) -> str:
    """The name of a file without .gz and the like."""
    return path.stem if path.suffix in PACKED else path.name


def split_of(path: Path) -> tuple[str, str]:
    """(task, split) of a file name: ``arc_challenge_test.csv.gz`` is ("arc_challenge", "test"); train by default."""
    stem = stem_of(path)
    for word, split in sorted(SPLIT_WORDS.items(), key=lambda pair: -len(pair[0])):
        for mark in ("_", "-"):
            if stem.lower().endswith(mark + word):
                return stem[: -len(word) - 1], split
        if stem.lower() == word:
            return "", split
    return stem, "train"

"""Opening what a publisher left: files or folders, gzip or not, with errors that name the file and the line."""

import gzip
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
from tqdm import tqdm

from ...errors import UserError

SPLIT_WORDS = {"train": "train", "test": "test", "partial_test": "partial_test", "validation": "test", "dev": "test"}
BIG = 1 << 28  # bytes from which reading shows a bar
_GZIP = b"\x1f\x8b"


def open_binary(path: Path) -> BinaryIO:
    """The bytes of a file as a stream, unpacked where it is gzip (by its first bytes, not by its name)."""
    try:
        file = open(path, "rb")  # noqa: SIM115  it is handed to the caller
    except FileNotFoundError:
        raise UserError(f"{path}: expected a file, found none there") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    packed = file.read(2) == _GZIP
    file.seek(0)
    if packed:
        return io.BufferedReader(gzip.GzipFile(fileobj=file), 1 << 20)
    if path.suffix == ".gz":
        file.close()
        raise UserError(f"{path}: expected a gzip file, found other bytes: rename it or pack it again")
    return file


def open_text(path: Path) -> str:
    """The whole text of a file, gzip or not."""
    try:
        with open_binary(path) as file:
            return file.read().decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected text in UTF-8, found byte {error.object[error.start]:#x}") from None


def line_blocks(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, whole lines) of a file, gzip or not, about `size` bytes at a time."""
    number = 1
    with open_binary(path) as file:
        size_on_disk = path.stat().st_size
        whole = None if path.suffix == ".gz" else size_on_disk
        bar = tqdm(
            total=whole, desc=f"reading {path.name}", unit="B", unit_scale=True, disable=size_on_disk < BIG or None
        )
        while True:
            try:
                block = file.read(size)
                block += file.readline()
            except (gzip.BadGzipFile, EOFError, OSError) as error:
                raise UserError(f"{path}: cannot be read: {error}") from None
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
    except json.JSONDecodeError as error:
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
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: expected a JSON object, found something else ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def files_of(path: str | Path, suffixes: Sequence[str], deep: bool = False) -> list[Path]:
    """The file itself, or the files of a folder whose names end in one of `suffixes` (with or without .gz).

    With `deep` the folders below count too.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: expected a file or folder, found nothing there")
    if path.is_file():
        return [path]
    names = tuple(suffixes) + tuple(s + ".gz" for s in suffixes)
    inside = [Path(folder) / name for folder, _, files in os.walk(path) for name in files] if deep else path.iterdir()
    files = sorted(f for f in inside if f.is_file() and f.name.endswith(names))
    if not files:
        found = ", ".join(sorted(f.name for f in path.iterdir())[:5]) or "nothing"
        raise UserError(f"{path}: expected files that end in {' or '.join(suffixes)}, found {found}")
    return files


def stem_of(path: Path) -> str:
    """The name of a file without .gz and its suffix."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


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

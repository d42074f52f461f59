"""What the collector writes: append-only files of JSON lines, one a run, one whole line a row.

A process that is killed in the middle of a write leaves a torn last line. It is never read, and the next run cuts it
off. A lock that lives as long as its process tells a torn file from one that another process is writing.
"""

import errno
import json
import logging
import os
import secrets
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .key_set import Key, digest

try:
    import fcntl
except ImportError:  # Windows: shards are read as well, but a torn line is skipped rather than cut off
    fcntl = None

logger = logging.getLogger(__name__)
Row = dict[str, Any]
RESERVE = 2_000_000  # bytes: of the answers in flight when a disk is full


def row_key(row: Row) -> Key:
    """(query_id, llm, mode); the names that recur are stored once."""
    return row["query_id"], sys.intern(row["llm"]), sys.intern(row["mode"])


class ShardWriter:
    """Appends rows to a new shard in `folder`. Each row is on its way to the disk when `write` returns.

    A row survives the death of the process; `close` also makes the rows survive the loss of power.

    Args:
        tag: Becomes part of the shard's name.
        on_full: Called when the disk is full; `RESERVE` bytes that were kept back then take the rows that are still to
            come. Without it, `write` raises `UserError` at once.

    Attributes:
        full: The error, once the disk was full; None before.
    """

    def __init__(self, folder: str | PathLike[str], tag: str = "", on_full: Callable[[], None] | None = None):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.full: UserError | None = None
        self._on_full, self._reserve = on_full, folder / "reserve.tmp"
        if on_full is not None:
            _keep_back(self._reserve)
        while True:
            seconds, rest = divmod(time.time_ns(), 10**9)  # one reading, or a second that begins between two misleads
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)) + f"{rest:09d}"
            self.path = folder / f"shard-{stamp}-{tag or 0}-{os.getpid()}-{secrets.token_hex(2)}.jsonl"
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            if fcntl:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            if os.fstat(self._file).st_nlink:
                break
            os.close(self._file)  # another process took it for one that is over, and has removed it

    def write(self, row: Row) -> None:
        """Append one row."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            append(self._file, line)
        except OSError as error:
            full = UserError(
                f"{self.path}: expected to write a row, found {error.strerror}: what was answered before is kept, and "
                "the same command goes on"
            )
            if self.full is not None or self._on_full is None:
                raise full from None
            self.full = full
            self._reserve.unlink(missing_ok=True)
            self._on_full()
            self.write(row)

    def close(self) -> None:
        """Flush to the disk; a shard without rows is removed."""
        if os.fstat(self._file).st_size:
            os.fsync(self._file)
        else:
            self.path.unlink()
        os.close(self._file)
        if self._on_full is not None:
            self._reserve.unlink(missing_ok=True)


def _keep_back(path: Path) -> None:
    """Take `RESERVE` bytes of the disk; a disk that has not so many could not keep what is about to be paid for."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(file, 0, RESERVE)
    except AttributeError:  # not on this system
        pass
    except OSError as error:
        path.unlink()
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"{path.parent}: expected {RESERVE // 1_000_000} MB of free disk for answers, found less "
                f"({error.strerror}): nothing was asked"
            ) from None
    finally:
        os.close(file)


def append(file: int, line: bytes) -> None:
    """Append a line whole, or not at all: half a one would spoil the next. Raises `OSError`, on a full disk say."""
    start = os.fstat(file).st_size
    try:
        while line:
            line = line[os.write(file, line) :]
    except OSError:
        os.ftruncate(file, start)
        raise


def shard_files(folder: str | PathLike[str], tag: str = "") -> list[Path]:
    """The shards of a folder, oldest first; only those with the `tag` where one is given."""
    return sorted(Path(folder).glob(f"shard-*-{tag}-*.jsonl" if tag else "shard-*.jsonl"))


def repair(folder: str | PathLike[str]) -> int:
    """Cut torn last lines off the shards whose writer is gone; returns how many were cut."""
    cut = 0
    for path in shard_files(folder) if fcntl else ():
        with open(path, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("%s is being written by another process: what it has in flight is asked twice", path)
                continue
            end = _last_whole_line(file)
            if file.seek(0, os.SEEK_END) == 0:
                path.unlink()  # its writer was killed before its first row
            elif end < file.seek(0, os.SEEK_END):
                file.truncate(end)
                cut += 1
    return cut


def _last_whole_line(file) -> int:
    """Where the last whole line ends, in bytes; looks back from the end."""
    position = file.seek(0, os.SEEK_END)
    while position:
        start = max(0, position - 65536)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def read_rows(folder: str | PathLike[str], tag: str = "") -> Iterator[Row]:
    """Every whole row of every shard (with the `tag`), oldest first, repeated keys included.

    Raises `UserError` that names file and line if a whole line is not a row.
    """
    yield from _read([(path, path.stat().st_size) for path in shard_files(folder, tag)])


def _read(files: list[tuple[Path, int]]) -> Iterator[Row]:
    for path, end in files:
        position = 0
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                position += len(line)
                if position > end or not line.endswith(b"\n"):
                    break  # torn, or written since: the writer was killed, or is at work
                try:
                    row = json.loads(line)
                    row_key(row)
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise UserError(f"{path}, line {number}: expected a log row, found {error}") from None
                yield row


def latest_rows(folder: str | PathLike[str]) -> list[Row]:
    """One row a key: its last answer, or its last error where there is no answer."""
    return [row for chunk in latest_chunks(folder) for row in chunk]


def latest_chunks(folder: str | PathLike[str], size: int = 10_000) -> Iterator[list[Row]]:
    """`latest_rows`, at most `size` at a time, so that a million responses need not be in memory as Python objects.

    The shards are read twice: once for the keys, once for the rows that count.
    """
    keys, answered = array("Q"), bytearray()
    files = [(path, path.stat().st_size) for path in shard_files(folder)]  # both readings end where the first does
    for row in _read(files):
        keys.append(digest(row_key(row)))
        answered.append(row.get("error") is None)
    number = np.arange(len(keys))
    key = np.array(keys, np.uint64)
    order = np.lexsort((number, np.frombuffer(answered, np.uint8), key))
    last = np.append(key[order][1:] != key[order][:-1], [True][: len(order)]).astype(bool)
    wanted = np.zeros(len(order), bool)
    wanted[order[last]] = True
    chunk: list[Row] = []
    for take, row in zip(wanted.tolist(), _read(files), strict=True):
        if take:
            chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

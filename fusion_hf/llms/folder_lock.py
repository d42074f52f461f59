"""One collector a folder: two would ask, and pay, everything twice, and neither would know what the other spends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps a second collector out there
    fcntl = None

NAME = "collect.lock"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other collectors out of `folder` for as long as this one works, and not longer, however it ends.

    Raises `UserError` that says who is at work there.
    """
    if not os.fspath(folder).strip():
        raise UserError("out: expected a path, found empty text")
    if fcntl is None:
        yield
        return
    path = Path(folder) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: expected a folder to write to, found {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(file, 200).decode(errors="replace").strip()
            raise UserError(
                f"{folder}: another collector is at work there ({who or 'it does not say which'}): wait for it or stop "
                "it, or use another folder"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(file, 0)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a process was forked meanwhile
    finally:
        os.close(file)  # the file stays: if it were removed, two could hold locks on two files of one name

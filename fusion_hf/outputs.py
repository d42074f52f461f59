"""One rule for everything that is written, and writing that a crash leaves whole.

A folder may be written if it is new, empty, or carries our marker of the same kind (`MARKER`, which also lists what we
wrote there). Any other is refused in one line, unless overwriting is asked for. What we wrote there before is replaced;
what somebody else put there stays, also when overwriting, but for files of the same name.

This file is copied beside checkpoints (see `fusion_hf.remote_code`).
"""

import contextlib
import ctypes
import glob
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

from .errors import UserError

MARKER = ".fusion_hf.json"
"""In every folder that we write: ``{"kind": …, "files": […]}``. Hidden, so it is never pushed."""


def check_folder(out: str | PathLike[str], kind: str, overwrite: bool = False) -> Path:
    """`out` as a path, if it may be written; call it before any work is done.

    Args:
        kind: What will lie there, such as ``router``.
        overwrite: Also a folder that holds something else: files of the same names are then replaced.

    Raises:
        UserError: `out` is empty text, a file, cannot be written, or holds what we did not write.
    """
    path = _place(out)
    if path.exists() and not path.is_dir():
        raise UserError(f"out: expected a folder, found a file: {out}")
    _check_writable(path)
    if overwrite or not path.is_dir() or not any(path.iterdir()):
        return path
    found = _marked(path).get("kind")
    if found == kind:
        return path
    holds = f"holds {found!r}, not {kind!r}" if found else "is not empty, and fusion_hf did not make it"
    raise UserError(f"out: {out} {holds}: give a new folder, or set overwrite")


def check_file(out: str | PathLike[str], overwrite: bool = False, ours: Callable[[Path], bool] | None = None) -> Path:
    """`out` as a path, if this file may be written; call it before any work is done.

    Args:
        overwrite: Also a file that holds something else.
        ours: Whether an existing file is one that we wrote and may replace (by default none is).

    Raises:
        UserError: `out` is empty text, a folder, lies in a folder that does not exist, or is a file that is not ours.
    """
    path = _place(out)
    if path.is_dir():
        raise UserError(f"out: expected a file, found a folder: {out}")
    if not path.parent.is_dir():
        raise UserError(f"out: {out}: there is no folder {path.parent}: make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"out: {out} may not be written")
    if path.exists() and path.stat().st_size and not overwrite and not (ours is not None and ours(path)):
        raise UserError(f"out: {out} exists: give a new file, or set overwrite")
    return path


@contextlib.contextmanager
def atomic_folder(
    out: str | PathLike[str], kind: str, overwrite: bool = False, keep: Callable[[str], bool] | None = None
) -> Iterator[Path]:
    """A folder beside `out` to write into, which takes its place at the end: all of it or, after an error, nothing.

    Args:
        out, kind, overwrite: As for `check_folder`, which is called first.
        keep: Which of the files that we wrote before stay where they are not written anew, by their path relative to
            `out` (by default none). Files of others always stay; one of the name of a new file is kept as ``NAME.old``,
            unless overwriting is asked for.
    """
    path = check_folder(out, kind, overwrite)
    path = path.resolve()  # a link stays one, and "." has a name
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    new = path.with_name(f".{path.name[:100]}.{socket.gethostname()}-{os.getpid()}.tmp")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        (new / MARKER).unlink(missing_ok=True)
        written = sorted(file.relative_to(new).as_posix() for file in _files(new))
        kept = _carry(path, new, set(written), overwrite, keep or (lambda name: False)) if path.is_dir() else []
        _write_marker(new, kind, sorted({*written, *kept}))
        _exchange(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(path: str | PathLike[str]) -> Iterator[Path]:
    """A file beside `path` to write, which takes its place at the end: all of it or, after an error, nothing."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=f".tmp{path.suffix}", dir=path.parent)
    os.close(handle)
    new = Path(name)
    try:
        yield new
        mask = os.umask(0)
        os.umask(mask)
        new.chmod(0o666 & ~mask)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def absolute(path: str | PathLike[str]) -> Path:
    """The whole path of a file or folder; a link stays one.

    In the Hub's cache a file has its name, and so its kind, as a link only. The folders above it are followed, so that
    paths relative to them can be written.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    return path.parent.resolve() / path.name


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write a text file, UTF-8, all of it or nothing."""
    with atomic_file(path) as new:
        new.write_text(text, encoding="utf-8")


def mark_folder(folder: str | PathLike[str], kind: str, files: list[str] | None = None) -> None:
    """Mark a folder that is written bit by bit, such as shards, as ours; `files` are those that we may replace."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    _write_marker(Path(folder), kind, files if files is not None else _marked(Path(folder)).get("files", []))


def clear_folder(folder: str | PathLike[str]) -> None:
    """Remove from a marked folder what the marker says that we wrote there; everything else stays."""
    root = Path(folder).resolve()
    for name in _marked(root).get("files", []):
        place = root / name
        above = place.parent.resolve()
        # A marker of somebody else may name what lies elsewhere.
        if ".." in Path(name).parts or place == root or not (above == root or root in above.parents):
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _write_marker(folder: Path, kind: str, files: list[str]) -> None:
    text = json.dumps({"kind": kind, "files": files}, ensure_ascii=False) + "\n"
    (folder / MARKER).write_text(text, encoding="utf-8", errors="surrogateescape")


def _marked(folder: Path) -> dict:
    """Content of the marker; empty where there is none, or none that can be read."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return {}
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        return {}
    return content if isinstance(content.get("kind"), str) else {}


def _place(out: str | PathLike[str]) -> Path:
    if not os.fspath(out).strip():
        raise UserError("out: expected a path, found empty text")
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(out)
    except (OSError, ValueError) as error:
        raise UserError(f"out: {out!r} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return Path(out)


def _check_writable(path: Path) -> None:
    """The folder, or the nearest one above it that is there, lets us write."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"out: {path} cannot be made: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"out: {path} cannot be written: no permission in {place}")


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is not a plain folder itself, at any depth."""
    for root, folders, files in os.walk(folder):
        for name in [*files, *(name for name in folders if Path(root, name).is_symlink())]:
            yield Path(root, name)


def _carry(old: Path, new: Path, written: set[str], overwrite: bool, keep: Callable[[str], bool]) -> list[str]:
    """Link into `new` what stays of `old`; returns what of it is ours."""
    ours, kept = set(_marked(old).get("files", [])), []
    for file in _files(old):
        name = file.relative_to(old).as_posix()
        if name == MARKER or (name in ours and (name in written or not keep(name))):
            continue
        if name in ours:
            kept.append(name)
        target = new / name
        if name in written:
            if overwrite:
                continue
            target = _free(target, old / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink():
            target.symlink_to(os.readlink(file))
            continue
        try:
            os.link(file, target)
        except OSError:  # a file system without links
            shutil.copy2(file, target)
    return kept


def _free(target: Path, old: Path) -> Path:
    """A name for the old file that neither folder has: NAME.old, NAME.old2, …"""
    number, name = 1, f"{target.name}.old"
    while target.with_name(name).exists() or old.with_name(name).exists():
        number += 1
        name = f"{target.name}.old{number}"
    return target.with_name(name)


def _exchange(new: Path, out: Path) -> None:
    """Put `new` at the place of `out`; what was there lies at `new` afterwards."""
    if not out.exists():
        new.rename(out)
        return
    here = Path.cwd()
    if out.resolve() not in (here, *here.parents):  # whoever stands in a folder should not find it deleted
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
        if rename is not None and rename(-100, os.fsencode(new.absolute()), -100, os.fsencode(out.absolute()), 2) == 0:
            return
        old = new.with_name(f"{new.name}.was")
        try:
            out.rename(old)
        except OSError:  # a mount point
            pass
        else:
            new.rename(out)
            old.rename(new)
            return
    _replace_files(new, out)


def _replace_files(new: Path, out: Path) -> None:
    """File by file, where the folder itself has to stay: each is whole, the marker comes last."""
    names = {file.relative_to(new).as_posix() for file in _files(new)}
    stale = [name for name in _marked(out).get("files", []) if name not in names]
    for name in sorted(names, key=lambda name: name == MARKER):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / name, out / name)
    for name in stale:
        place = out / name
        if out.resolve() in place.resolve().parents:
            place.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Remove what a killed process of this machine left beside `path`."""
    prefix = f".{path.name[:100]}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        number = left.name.removeprefix(prefix).removesuffix(".tmp")
        if number.isdigit() and int(number) != os.getpid() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

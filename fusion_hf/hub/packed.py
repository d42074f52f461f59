"""What stands inside packed files and archives, and in the texts of pictures, for the search for secrets."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import pyarrow as pa

MOST_UNPACKED = 1 << 30  # bytes of a packed file that are looked at
DEEPEST = 4  # archives within archives
MOST_TEXT = 1 << 24  # bytes of a text in a picture
# What Python raises for files that nobody can read to their end.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError, pa.ArrowException,
          zipfile.BadZipFile, tarfile.TarError, ValueError)  # fmt: skip
OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open,
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"


def contents(file: IO[bytes], depth: int = 0) -> Iterator[tuple[str, IO[bytes]]]:
    """(where, what can be read there) for everything in a file, at least the file itself; names of members as well.

    ``where`` is empty, or the path inside an archive. What cannot be unpacked is left out.
    """
    start = file.read(512)
    file.seek(0)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
    if depth > DEEPEST:
        yield "", file
    elif opener is not None:
        yield from _unpacked(opener(file), depth)
    elif start.startswith(b"\x28\xb5\x2f\xfd"):
        with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as inside:
            yield "", cast(IO[bytes], inside)
    elif start.startswith(b"PK") and zipfile.is_zipfile(file):
        yield from _members(zipfile.ZipFile(file), depth)
    elif start[257:262] == b"ustar":
        file.seek(0)
        yield from _members(tarfile.TarFile.open(fileobj=file), depth)
    else:
        file.seek(0)
        yield "", file
        if start.startswith(PNG):
            yield "a text of the picture", io.BytesIO(_texts_of_png(file))


def _unpacked(file: Any, depth: int) -> Iterator[tuple[str, IO[bytes]]]:
    with file:
        yield from contents(cast(IO[bytes], file), depth + 1)


def _members(archive: zipfile.ZipFile | tarfile.TarFile, depth: int) -> Iterator[tuple[str, IO[bytes]]]:
    opened: Callable[[str], Any]
    with archive:
        if isinstance(archive, zipfile.ZipFile):
            names, opened = archive.namelist(), cast(Any, archive.open)
        else:
            names, opened = [m.name for m in archive.getmembers() if m.isfile()], cast(Any, archive.extractfile)
        yield "its list of members", io.BytesIO("\n".join(names).encode("utf-8", "replace"))
        for name in names:
            try:
                with opened(name) as inside:
                    for where, part in contents(inside, depth + 1):
                        yield f"{name}/{where}" if where else name, part
            except BROKEN:
                continue


def _texts_of_png(file: IO[bytes]) -> bytes:
    """The texts of a PNG that are packed; the others can be read as they are."""
    file.seek(len(PNG))
    found = []
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind not in (b"zTXt", b"iTXt"):
            file.seek(size + 4, io.SEEK_CUR)
            continue
        data = file.read(min(size, MOST_TEXT))
        file.seek(size - len(data) + 4, io.SEEK_CUR)
        name, _, rest = data.partition(b"\0")
        packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""
        try:
            found.append(name + b" " + zlib.decompressobj().decompress(packed, MOST_TEXT))
        except zlib.error:
            continue
    return b"\n".join(found)

"""The body of a reply, read part by part and unpacked within a limit: what a server sends cannot fill the memory."""

import zlib

from . import BackendError

LARGEST = 16 << 20
"""Bytes of a body at most, unpacked. The longest answers that LLMs give today have about a twentieth of it."""
ACCEPTED = "gzip, deflate"  # sent as Accept-Encoding: what `Body` can unpack
_PART = 1 << 16


class Body:
    """Collects the parts of a body.

    Args:
        encoding: The Content-Encoding header.
        most: Bytes at most, packed and unpacked.

    Raises:
        BackendError: Kind ``bad_reply``: more bytes than that, or what cannot be unpacked.
    """

    def __init__(self, encoding: str | None = None, most: int = LARGEST):
        self.most = most
        self._parts: list[bytes] = []
        self._size = self._packed = 0
        coding = (encoding or "identity").strip().lower()
        if coding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise BackendError("bad_reply", f"expected Content-Encoding {ACCEPTED} or none, found {coding[:40]!r}")
        self._coding = None if coding == "identity" else coding
        self._unpacker = None

    def feed(self, part: bytes) -> None:
        """Add what has arrived."""
        if self._coding is None:
            return self._keep(part)
        self._packed += len(part)
        self._check(self._packed)
        try:
            while part:
                if self._unpacker is None or self._unpacker.eof:
                    self._unpacker = zlib.decompressobj(_window(self._coding, part))
                self._keep(self._unpacker.decompress(part, _PART))
                # A packed body may be made of several, one after the other.
                part = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        except zlib.error as error:
            raise BackendError("bad_reply", f"a body that is no {self._coding}: {error}") from None

    def finish(self) -> bytes:
        """The whole body."""
        if self._unpacker is not None:
            try:
                while not self._unpacker.eof and (rest := self._unpacker.decompress(b"", _PART)):
                    self._keep(rest)
            except zlib.error as error:
                raise BackendError("bad_reply", f"a body that is no {self._coding}: {error}") from None
            if not self._unpacker.eof:
                raise BackendError("bad_reply", f"a {self._coding} body that ends too early")
        return b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        self._check(self._size)
        self._parts.append(part)

    def _check(self, size: int) -> None:
        if size > self.most:
            raise BackendError("bad_reply", f"a body of more than {self.most >> 20} MiB")


def _window(coding: str, start: bytes) -> int:
    """zlib's wbits. "deflate" means zlib's format, and some servers send bare deflate all the same."""
    if coding != "deflate":
        return 31
    return 15 if start[0] & 15 == 8 and (len(start) < 2 or (start[0] << 8 | start[1]) % 31 == 0) else -15

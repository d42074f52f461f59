"""What a run may have spent beyond its rows, in a file: it counts against the cap of the next run.

That is what requests in flight may cost, if the run is killed, and tries that failed but may be on the bill.
"""

import math
import os
import secrets
from pathlib import Path

from ..errors import UserError


class ReservedSpend:
    """A file in `folder` with the USD that no row accounts for just now. It goes at the end if there are none."""

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / f"held-{os.getpid()}-{secrets.token_hex(4)}.usd"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self.write(0.0)

    def write(self, usd: float) -> None:
        """Note the sum. One write of fixed length, so that a kill leaves the old one or the new one."""
        self._usd = usd
        os.pwrite(self._file, b"%-31.16e\n" % usd, 0)

    def close(self) -> None:
        """The run has ended, and nothing is in flight any more."""
        os.close(self._file)
        if not self._usd:
            self._path.unlink()


def reserved_usd(folder: str | Path) -> float:
    """USD that earlier runs may have spent beyond their rows, and that others at work have set aside."""
    total = 0.0
    for path in Path(folder).glob("held-*.usd"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")[:100].strip()
        except FileNotFoundError:  # its run has just ended
            continue
        try:
            usd = float(text or 0)
        except ValueError:
            usd = math.nan
        if not 0 <= usd < math.inf:
            raise UserError(
                f"{path}: expected the USD that a run may have spent without a row, found {text[:40]!r}: write the sum "
                "into it, or remove it if nothing was spent"
            )
        total += usd
    return total

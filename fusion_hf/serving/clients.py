"""Who may ask, and for how many USD a day: bearer tokens, and a ledger that outlives the process."""

import hashlib
import logging
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..errors import UserError
from .errors import ServeError

logger = logging.getLogger(__name__)
ENVIRONMENT = "FUSION_HF_SERVE_KEYS"
ANYBODY = "anybody"
SHORTEST = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RECORD = 96  # bytes of a client's line in the ledger


@dataclass(frozen=True)
class Client:
    """Somebody who may ask.

    Attributes:
        name: Stands in the log and the figures.
        usd_a_day: Budget of a day (UTC); None for none.
    """

    name: str
    usd_a_day: float | None = None


def read_clients(path: str | Path | None = None) -> dict[bytes, Client]:
    """Clients by the hash of their token, from a file or else from the environment; {} where neither names any.

    The file is YAML: ``clients: {alice: {token: …, usd_a_day: 5}, bob: {token_env: BOB_TOKEN}}``. The environment
    variable ``FUSION_HF_SERVE_KEYS`` holds ``alice:TOKEN:5,bob:TOKEN``.

    Raises:
        UserError: It names the client and the field, never the token.
    """
    if path is None:
        entries = [_entry(text) for text in os.environ.get(ENVIRONMENT, "").split(",") if text.strip()]
    else:
        entries = _file(Path(path))
    clients: dict[bytes, Client] = {}
    for name, token, usd in entries:
        if not _NAME.fullmatch(name) or name == ANYBODY:
            raise UserError(f"clients: expected a name of letters, digits, '.', '_' and '-', found {name!r:.80}")
        if not isinstance(token, str) or len(token) < SHORTEST or not token.isascii() or not token.isprintable():
            raise UserError(f"clients.{name}: expected a token of at least {SHORTEST} plain characters")
        number = isinstance(usd, int | float) and not isinstance(usd, bool) and math.isfinite(usd) and usd >= 0
        if usd is not None and not number:
            raise UserError(f"clients.{name}.usd_a_day: expected USD as a number, found {usd!r:.40}")
        if digest(token) in clients or name in {c.name for c in clients.values()}:
            raise UserError(f"clients.{name}: expected every name and every token once")
        clients[digest(token)] = Client(name, usd)
    return clients


def _entry(text: str) -> tuple[str, str, float | None]:
    name, _, rest = text.strip().partition(":")
    token, _, usd = rest.partition(":")
    try:
        return name, token, float(usd) if usd else None
    except ValueError:
        raise UserError(f"{ENVIRONMENT}: {name!r:.80}: expected NAME:TOKEN or NAME:TOKEN:USD_A_DAY") from None


def _file(path: Path) -> list[tuple[str, str, float | None]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: expected a file of clients, found none that can be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path}: expected YAML, found something else") from None  # its words may hold a token
    clients = content.get("clients") if isinstance(content, dict) else None
    if not isinstance(clients, dict) or not clients or not all(isinstance(c, dict) for c in clients.values()):
        raise UserError(f"{path}: expected a mapping 'clients' from names to token and usd_a_day, found none")
    entries = []
    for name, entry in clients.items():
        unknown = sorted(set(entry) - {"token", "token_env", "usd_a_day"})
        if unknown:
            raise UserError(f"{path}: clients.{name}: unknown field {unknown[0]!r}: token, token_env or usd_a_day")
        token = entry.get("token")
        if "token_env" in entry:
            token = os.environ.get(str(entry["token_env"]), "")
            if not token:
                raise UserError(f"{path}: clients.{name}: expected its token in {entry['token_env']}, found none")
        entries.append((str(name), token, entry.get("usd_a_day")))
    return entries


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Ledger:
    """What each client has spent today, in a file of fixed lines, so that a kill loses nothing.

    A request is let in while what was spent and what is expected of those in flight is below the budget; so it is
    passed at most by what is in flight.

    Args:
        folder: Where the day's file lies; None keeps it in memory.
        today: The day, for tests.
    """

    def __init__(self, folder: str | Path | None = None, today: Callable[[], str] | None = None):
        self._folder = None if folder is None else Path(folder)
        self._today = today or (lambda: time.strftime("%Y-%m-%d", time.gmtime()))
        self._day, self._file = "", -1
        self._spent: dict[str, float] = {}
        self._place: dict[str, int] = {}
        self._held: dict[str, float] = {}
        self._unwritten: set[str] = set()
        self._told = False

    async def admit(self, client: Client, expected: float) -> float:
        """Set aside what a request is expected to cost; returns it for `settle`. `ServeError` 429 if none is left."""
        self._turn()
        if client.usd_a_day is not None:
            used = self._spent.get(client.name, 0.0) + self._held.get(client.name, 0.0)
            if used >= client.usd_a_day:
                raise ServeError(
                    429,
                    f"{client.name} has used its budget of {client.usd_a_day:g} USD a day",
                    "insufficient_quota",
                    "budget_exceeded",
                    86400 - time.time() % 86400,
                )
        self._held[client.name] = self._held.get(client.name, 0.0) + expected
        return expected

    async def settle(self, client: Client, held: float, spent: float) -> None:
        """A request has ended."""
        self._turn()
        self._held[client.name] = max(0.0, self._held.get(client.name, 0.0) - held)
        if spent:
            self._spent[client.name] = self._spent.get(client.name, 0.0) + spent
            self._write(client.name)

    async def spent(self, client: str) -> float:
        """USD of today."""
        self._turn()
        return self._spent.get(client, 0.0)

    def close(self) -> None:
        """Keep what could not be kept before, and close the file."""
        for name in sorted(self._unwritten)[:1]:
            self._write(name)
        if self._file >= 0:
            os.close(self._file)
            self._file, self._day = -1, ""

    def _turn(self) -> None:
        """Another day has another file."""
        day = self._today()
        if day == self._day:
            return
        self.close()
        self._day, self._spent, self._place, self._unwritten = day, {}, {}, set()
        if self._folder is None:
            return
        try:
            self._open()
        except OSError as error:
            if self._path.exists():  # what was spent before a restart is not known
                self._day = ""
                told = f"what clients have spent today cannot be read ({error.strerror})"
                raise ServeError(503, told, "server_error", "no_ledger", 60.0) from None
            return self._tell(error)
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        for number, line in enumerate(content.decode("ascii", "replace").splitlines()):
            name, _, usd = line.partition(" ")
            try:
                self._spent[name], self._place[name] = float(usd), number
            except ValueError:  # torn by a loss of power
                continue

    @property
    def _path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"spent-{self._day}.txt"

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def _write(self, name: str) -> None:
        """Keep what a client has spent, and what others have that could not be kept before."""
        if self._folder is None:
            return
        self._unwritten.add(name)
        try:
            if self._file < 0:
                self._open()
            for each in sorted(self._unwritten):
                place = self._place.setdefault(each, len(self._place))
                record = f"{each} {self._spent[each]!r}".ljust(_RECORD - 1) + "\n"
                os.pwrite(self._file, record.encode("ascii"), place * _RECORD)
                self._unwritten.discard(each)
        except OSError as error:
            self._tell(error)
        else:
            self._told = False

    def _tell(self, error: OSError) -> None:
        """A full disk refuses nobody: what was spent is counted in memory until there is room."""
        if not self._told:
            self._told = True
            logger.error("%s: what clients spend cannot be kept (%s): a restart forgets it", self._path, error.strerror)

"""What is served: a fused system or a router, loaded from a folder or the Hub, and replaced when its folder changes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..fused.config import CONFIG_FILE, POOL_FILE
from ..fused.routed import RoutedSystem
from ..fused.system import FusedSystem
from ..llms.pool import Pool, load_pool, save_pool
from ..routers import load_router
from .choosing import RequestChooser

logger = logging.getLogger(__name__)
LOOKS_S = 2.0
"""Seconds between two looks at the folder."""


def open_system(
    path: str | Path,
    pool: str | Path | Pool | None = None,
    keys: Collection[str] | None = None,
    scenario: str | None = None,
) -> FusedSystem | RoutedSystem:
    """A fused system or a router with its pool.

    Args:
        path: Folder or Hub id.
        pool: File of the pool, or a pool; a fused system has its own.
        keys: API keys that a fused system's own pool may have sent (see `FusedSystem.from_pretrained`).
        scenario: The trade-off of requests that name none; a fused system has chosen its own.

    Raises:
        UserError: Nothing that can be served.
    """
    pool = load_pool(pool) if isinstance(pool, (str, Path)) else pool
    if not is_router(path):
        if scenario is not None:
            raise UserError("scenario: a fused system has chosen its own; requests may name another one")
        return FusedSystem.from_pretrained(path, pool, keys=keys)
    if pool is None:
        raise UserError(f"{path} is a router: expected --pool FILE that says how its LLMs are reached")
    return RoutedSystem(load_router(str(path)), pool, scenario or "performance")


def is_router(path: str | Path) -> bool:
    """Whether a folder or a repository of the Hub is a router, rather than a fused system."""
    folder = Path(path)
    if folder.is_dir():
        return not (folder / CONFIG_FILE).is_file()
    from huggingface_hub import file_exists
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return not file_exists(str(path), CONFIG_FILE)
    except (HfHubHTTPError, HFValidationError, OSError):
        return False  # loading says what is wrong


def remember_pool(pool: Pool, out: Path) -> None:
    """Keep the pool beside the shards: its prices and names are what the log is read with."""
    known = dict(load_pool(out / POOL_FILE)) if (out / POOL_FILE).is_file() else {}
    save_pool(Pool((known | dict(pool)).values()), out / POOL_FILE)


class Reload:
    """Takes over a new version of the folder that is served; no request is dropped: those in flight keep the old one.

    Used as an asynchronous context manager while the server runs.

    Args:
        chooser: Decides; its system is replaced.
        path: The folder.
        load: Opens what is in the folder.
        looks_s: Seconds between two looks.
    """

    def __init__(self, chooser: RequestChooser, path: str | Path, load: Callable[[], Any], looks_s: float = LOOKS_S):
        self.chooser, self.path, self.looks_s = chooser, Path(path), looks_s
        self._open = load
        self._seen = self._stamp()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Reload":
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _stamp(self) -> tuple:
        """Changes when a file that decides is replaced."""
        names = ("config.json", "model.safetensors", CONFIG_FILE)
        found = []
        for name in names:
            with contextlib.suppress(OSError):
                status = (self.path / name).stat()
                found.append((name, status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(found)

    async def _look(self) -> None:
        settled = self._seen
        while True:
            await asyncio.sleep(self.looks_s)
            now = self._stamp()
            # Only when it has stood still between two looks: somebody may be writing.
            if now and now == settled and now != self._seen:
                self._seen = now
                try:
                    self.chooser.system = await asyncio.to_thread(self._open)
                    logger.warning("%s: took over the new version", self.path)
                except Exception as error:
                    logger.warning("%s: kept the old version, the new one cannot be loaded: %s", self.path, error)
            settled = now

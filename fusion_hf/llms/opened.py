"""LLMs that stay open: each is loaded once and then shared by all who ask it on the same event loop."""

import asyncio

from .backends import Backend, open_backend
from .pool import Pool


class OpenBackends:
    """Backends of a pool, opened when they are first asked for and closed together.

    Everything but the constructor belongs to one event loop.
    """

    def __init__(self, pool: Pool):
        self.pool = pool
        self._opening: dict[str, asyncio.Task[Backend]] = {}

    async def get(self, name: str) -> Backend:
        """The backend of an LLM; those who ask while it is being opened wait for the same one."""
        if name not in self._opening:
            # In a thread: loading a local model takes long.
            opened = asyncio.to_thread(open_backend, self.pool.get_llm(name))
            self._opening[name] = asyncio.create_task(opened)
        task = self._opening[name]
        try:
            return task.result() if task.done() else await asyncio.shield(task)
        except BaseException:
            if task.done() and (task.cancelled() or task.exception() is not None) and self._opening.get(name) is task:
                del self._opening[name]  # the next one tries anew
            raise

    @property
    def names(self) -> list[str]:
        """The LLMs that are open."""
        return [name for name, task in self._opening.items() if task.done() and task.exception() is None]

    async def close(self) -> None:
        """Close them all; the next `get` opens anew."""
        tasks, self._opening = self._opening, {}
        for task in tasks.values():
            for backend in await asyncio.gather(task, return_exceptions=True):
                if not isinstance(backend, BaseException):
                    await backend.close()

"""An event loop in a thread of its own, on which LLMs stay open between calls from programs that have none."""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Coroutine
from typing import Any

from ..llms.opened import OpenBackends
from ..llms.pool import Pool


class OpenPool:
    """LLMs of a pool that are opened once and stay open until `close`, or until nobody uses this object any more.

    Args:
        pool: The LLMs; each is opened when it is first asked.
    """

    def __init__(self, pool: Pool):
        self.backends = OpenBackends(pool)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="open-llms", daemon=True)
        self._thread.start()
        self.close = weakref.finalize(self, _close, self._loop, self._thread, self.backends)
        """Close the LLMs; also done at the end of the program."""

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` returns, which runs on the loop; an interruption (Ctrl-C) cancels it and waits for its end."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            task_ended = threading.Event()
            future.add_done_callback(lambda _: task_ended.set())
            future.cancel()
            task_ended.wait(10)
            raise


def _close(loop: asyncio.AbstractEventLoop, thread: threading.Thread, backends: OpenBackends) -> None:
    if loop.is_closed():
        return
    with contextlib.suppress(Exception):
        asyncio.run_coroutine_threadsafe(backends.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(10)
        loop.close()

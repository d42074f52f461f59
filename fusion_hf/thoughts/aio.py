"""Many calls to an LLM at once, from ordinary code."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm import tqdm

RETRIES = 4
FIRST_WAIT_S = 0.5

T = TypeVar("T")
R = TypeVar("R")


def run_async(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine to its end, inside a notebook too (whose loop is running already)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def bounded(
    call: Callable[[T], Awaitable[R]], items: Sequence[T], concurrency: int, label: str, progress: bool = True
) -> list[R]:
    """``[await call(item) for item in items]`` with at most `concurrency` at a time, in the order of `items`.

    The first exception stops the rest.
    """
    gate = asyncio.Semaphore(max(1, concurrency))
    with tqdm(total=len(items), desc=label, disable=not progress or None) as bar:

        async def one(item: T) -> R:
            async with gate:
                result = await call(item)
            bar.update()
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in items]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def chat(backend: Any, messages: list[dict[str, str]], **options: Any) -> Any:
    """``backend.chat``, tried again where the error may pass: after the server's own time, else after ever longer."""
    from ..llms.backends import BackendError

    for attempt in range(RETRIES):
        try:
            return await backend.chat(messages, **options)
        except BackendError as error:
            if not error.may_retry:
                raise
            wait = FIRST_WAIT_S * 2**attempt if error.retry_after is None else error.retry_after
        # Not all at once: those that failed together would fail together again.
        await asyncio.sleep(wait * random.uniform(1.0, 1.5))
    return await backend.chat(messages, **options)

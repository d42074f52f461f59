"""The engine of the collector: asks endpoints, retries, keeps to the budget. Knows nothing of tasks and files."""

import asyncio
import contextlib
import logging
import math
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from .backends import BackendError, Reply
from .budget import Budget, charged, dearer_than
from .limits import AdaptiveLimit, Limits
from .opened import OpenBackends
from .pool import LLM, Pool
from .requests import Request, overcharge, worst_case
from .token_limits import limit_option

logger = logging.getLogger(__name__)
DEFAULT_CONCURRENCY = 32
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 300.0
ENDPOINT_KINDS = ("connection", "auth", "server")  # failures that are the endpoint's rather than the request's


@dataclass
class Endpoint:
    """A server or a device that requests share."""

    name: str
    limit: AdaptiveLimit
    queue: asyncio.Queue = field(default_factory=asyncio.Queue)
    workers: int = 0
    failures: int = 0
    open_at: float = 0.0  # loop time before which it asked not to be asked
    down: str | None = None  # why it is left alone


class Abandoned(Exception):
    """A request that was given up while it was in flight."""


class Runner:
    """Answers requests and hands every outcome to `on_answer`, `on_error` or `on_drop`.

    Args:
        on_answer: Called with (request, reply, USD or None).
        on_error: Called with (request, error) when all tries are used up.
        on_drop: Called with (request, reason) for a request that was not asked.
        budget: What may be spent; None sets no cap.
        backends: LLMs that are open already, and stay open; None opens its own and closes them.
    """

    def __init__(
        self,
        pool: Pool,
        limits: Limits,
        on_answer: Callable[[Request, Reply, float | None], None],
        on_error: Callable[[Request, BackendError], None],
        on_drop: Callable[[Request, str], None],
        budget: Budget | None = None,
        backends: OpenBackends | None = None,
    ):
        self.pool, self.limits = pool, limits
        self.on_answer, self.on_error, self.on_drop = on_answer, on_error, on_drop
        self.budget = budget or Budget(None)
        self.stop = asyncio.Event()
        self.abandoned = False
        self._asked: set[asyncio.Task] = set()
        self.endpoints: dict[str, Endpoint] = {}
        self.retried: Counter[str] = Counter()
        self._backends = backends or OpenBackends(pool)
        self._own = backends is None
        self._window = asyncio.Semaphore(limits.window)
        # Under a cap, by LLM: who asks it first, and how many times its worst case an answer turned out to cost.
        self._first: dict[str, asyncio.Lock] = {}
        self._dearer: dict[str, float] = dict(limits.dearer)

    async def run(self, requests: Iterable[Request]) -> None:
        """Answer all requests; may be called again. After `stop` those in flight are finished, the others dropped."""
        try:
            async with asyncio.TaskGroup() as workers:
                for number, request in enumerate(requests):
                    if number % 256 == 0:
                        await asyncio.sleep(0)  # lets answers in while many requests are read
                    await self._window.acquire()
                    endpoint = await self._endpoint(request.llm)
                    endpoint.queue.put_nowait(request)
                    if endpoint.workers < endpoint.limit.most:
                        endpoint.workers += 1
                        workers.create_task(self._work(endpoint))
                    if self.stop.is_set():
                        break
                for endpoint in self.endpoints.values():
                    for _ in range(endpoint.workers):
                        endpoint.queue.put_nowait(None)
                    endpoint.workers = 0
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def abandon(self) -> None:
        """Stop at once: what is in flight is given up, and dropped as ``interrupted``."""
        self.abandoned = True
        self.stop.set()
        for task in self._asked:
            task.cancel()

    async def close(self) -> None:
        """Close the backends; the runner may not be used again."""
        if self._own:
            await self._backends.close()

    async def _endpoint(self, name: str) -> Endpoint:
        backend = await self._backends.get(name)
        if backend.endpoint not in self.endpoints:
            limit = self.limits.concurrency or backend.concurrency or DEFAULT_CONCURRENCY
            if not self.pool[name].local:
                limit = math.ceil(limit / self.limits.sharers)
            self.endpoints[backend.endpoint] = Endpoint(backend.endpoint, AdaptiveLimit(limit))
        return self.endpoints[backend.endpoint]

    async def _work(self, endpoint: Endpoint) -> None:
        while (request := await endpoint.queue.get()) is not None:
            name = request.llm
            if self.budget.cap is not None and name not in self._dearer:
                # A server that charges for more than it was asked for shows that by its first answer, asked alone.
                async with self._first.setdefault(name, asyncio.Lock()):
                    if name not in self._dearer:
                        await self._answer(endpoint, request)
                        self._dearer.setdefault(name, 1.0)
                        request = None
            if request is not None:
                await self._answer(endpoint, request)
            self._window.release()

    async def _answer(self, endpoint: Endpoint, request: Request) -> None:
        """One request to its end: an answer, an error, or dropped."""
        llm, attempt = self.pool[request.llm], 0
        while True:
            if not await self._may_ask(endpoint):
                return self.on_drop(request, "interrupted" if self.stop.is_set() else "endpoint_down")
            most, room = await self._reserve(llm, request)
            if most is None:
                return self.on_drop(request, "budget")
            if self.stop.is_set():  # while it waited for others to leave room in the budget
                await self.budget.settle(most, 0.0, False, room)
                return self.on_drop(request, "interrupted")
            entered, refused = await endpoint.limit.enter(), None
            try:
                reply = await self._chat(llm, request)
            except Abandoned:
                await self.budget.settle(most, most, True, room)
                return self.on_drop(request, "interrupted")
            except BackendError as error:
                # A server that cannot answer in time gets fewer at once, as one that says so does.
                refused = error.kind in ("rate_limit", "timeout")
                await self.budget.settle(most, most if _billed(error) else 0.0, True, room)
                wait = self._wait(error, attempt)
                if wait is None or self.stop.is_set():
                    self._count_failure(endpoint, error)
                    return self.on_error(request, error)
                endpoint.limit.leave(entered, refused)
                entered = None  # who waits for the next try leaves the place to others
                self.retried[error.kind] += 1
                attempt += 1
                if error.kind == "rate_limit":
                    endpoint.open_at = max(endpoint.open_at, asyncio.get_running_loop().time() + wait)
                else:
                    await self._sleep(wait)
                if endpoint.down or self.stop.is_set():
                    return self.on_error(request, error)
            except BaseException:
                await self.budget.settle(most, most, True, room)
                raise
            else:
                refused, endpoint.failures = False, 0
                return await self.budget.settle(most, self._keep(llm, request, reply, most), False, room)
            finally:
                if entered is not None:
                    endpoint.limit.leave(entered, refused)

    async def _reserve(self, llm: LLM, request: Request) -> tuple[float | None, float]:
        """Set aside what an answer may cost; that, and what it may cost beyond that; None where the cap forbids it."""
        if self.budget.cap is None:
            return 0.0, 0.0
        fair = worst_case(llm, request.messages, limit=request.max_tokens)
        while True:
            dearer = self._dearer.get(llm.name, 1.0)
            most, room = dearer * fair, dearer * overcharge(llm, fair)
            if not await self.budget.reserve(most, room):
                return None, 0.0
            if dearer >= self._dearer.get(llm.name, 1.0):
                return most, room
            await self.budget.settle(most, 0.0, False, room)  # an answer meanwhile showed that its LLM charges more

    def _keep(self, llm: LLM, request: Request, reply: Reply, most: float) -> float:
        """Hand an answer over; the USD that count against the cap, in the light of which the next ones are reserved."""
        counts = (reply.input_tokens, reply.output_tokens, reply.cached_tokens, reply.reasoning_tokens)
        usd = self.pool.cost(llm.name, *counts)
        self.on_answer(request, reply, usd)
        real = charged(usd, reply.usage_source, reply.reported_cost, most)
        if self.budget.cap is not None:
            fair = worst_case(llm, request.messages, limit=request.max_tokens)
            self._dearer[llm.name] = max(self._dearer.get(llm.name, 1.0), dearer_than(fair, real))
        return real

    async def _chat(self, llm: LLM, request: Request) -> Reply:
        """One try. Whatever a backend makes of an odd reply is a `BackendError`: no reply ends a run."""
        backend, limit = await self._backends.get(llm.name), limit_option(llm, request.max_tokens)
        asked = asyncio.ensure_future(backend.chat(request.messages, timeout=self.limits.timeout, **limit))
        self._asked.add(asked)
        try:
            reply = await asked
        except (BackendError, UserError):
            raise
        except asyncio.CancelledError:
            if self.abandoned:
                raise Abandoned from None
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            # Without the error's own words, which may repeat a key.
            where = f"{Path(place.filename).name}, line {place.lineno}"
            raise BackendError("bad_reply", f"{type(error).__name__} in {where}, backend {llm.backend}") from None
        finally:
            self._asked.discard(asked)
        if not isinstance(reply, Reply):
            raise BackendError("bad_reply", f"expected a Reply of backend {llm.backend}, found {type(reply).__name__}")
        return reply

    async def _may_ask(self, endpoint: Endpoint) -> bool:
        """Wait until the endpoint takes requests; False if it is down or the run was stopped."""
        loop = asyncio.get_running_loop()
        while not (endpoint.down or self.stop.is_set()) and (wait := endpoint.open_at - loop.time()) > 0:
            # Not all at once: those that waited together would run into the same limit together.
            await self._sleep(wait * random.uniform(1.0, 1.1))
        return not (endpoint.down or self.stop.is_set())

    def _wait(self, error: BackendError, attempt: int) -> float | None:
        """Seconds before the next try, or None to give up."""
        if not error.may_retry or attempt >= self.limits.retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_WAIT_S else None
        return min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S) * random.uniform(0.5, 1.5)

    def _count_failure(self, endpoint: Endpoint, error: BackendError) -> None:
        if error.kind not in ENDPOINT_KINDS:
            return
        endpoint.failures += 1
        if endpoint.failures >= self.limits.max_failures and not endpoint.down:
            endpoint.down = f"{endpoint.failures} requests in a row failed, the last with {error.kind}: {error}"

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


@contextlib.contextmanager
def stop_on_signal(runner: Runner):
    """The first SIGINT or SIGTERM lets the runner finish what is in flight, for `Limits.drain` seconds; the second
    ends that at once."""
    loop, timer = asyncio.get_running_loop(), None

    def on_signal():
        nonlocal timer
        if runner.stop.is_set():
            runner.abandon()
        else:
            wait = runner.limits.drain
            logger.warning("stopping: waiting %g s for the answers in flight; once more to stop at once", wait)
            runner.stop.set()
            timer = loop.call_later(wait, runner.abandon)

    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Only the main thread of a Unix process may do this; elsewhere Ctrl-C cancels the run, which is safe too.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, on_signal)
            handled.append(number)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for number in handled:
            loop.remove_signal_handler(number)


def _billed(error: BackendError) -> bool:
    """Whether a failed try may be on the bill: it was cut off, or its reply is of no use, and a connection was made."""
    import aiohttp

    never_made = isinstance(error.__cause__, aiohttp.ClientConnectorError)
    return error.kind in ("timeout", "bad_reply") or (error.kind == "connection" and not never_made)

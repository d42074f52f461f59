"""From a request to an answer: decide, ask, fall back, log.

A request is admitted (budget), its candidates are those that can take it and whose LLM is up, they are ranked, and the
best is asked; where it fails before the first token, the next. After the first token nothing is switched.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..errors import UserError
from ..fused.choice import FusedDecision
from ..fused.keys import refusal
from ..fused.ranking import OTHER, PASSED_ON, Asked, Ranking
from ..llms.backends import BackendError, Reply
from ..llms.opened import OpenBackends
from ..logs.schema import split_candidate
from .breaker import Breaker
from .cascades import follow
from .choosing import RequestChooser, ServedSystem
from .clients import Client, Ledger
from .errors import ServeError
from .exchange import Exchange, Settings
from .fitting import fitting
from .metrics import Metrics
from .request import ChatRequest
from .sessions import Sessions
from .shared_ledger import SharedLedger
from .stream import StreamedAnswer, opened
from .traffic import GONE, TrafficLog, error_text
from .upstream import complete

logger = logging.getLogger(__name__)


class Engine:
    """Answers requests. Belongs to one event loop; `system` may be replaced while requests are in flight."""

    def __init__(
        self,
        system: ServedSystem,
        settings: Settings,
        log: TrafficLog,
        ledger: Ledger | SharedLedger,
        metrics: Metrics | None = None,
    ):
        self.settings, self.log, self.ledger = settings, log, ledger
        self.metrics = metrics or Metrics()
        self.chooser = RequestChooser(system)
        self.backends = OpenBackends(system.pool)
        self.breaker = Breaker()
        self.sessions = Sessions(system.pool)
        self._random = random.Random()
        self._told_images = False

    @property
    def system(self) -> ServedSystem:
        """What decides."""
        return self.chooser.system

    def names(self) -> list[str]:
        """Models that a client may ask for by name: candidates, and LLMs of the pool."""
        return list(dict.fromkeys([*self.system.candidates, *self.system.pool]))

    # -- deciding

    async def rank(self, request: ChatRequest, client: Client, explain: bool = False) -> Ranking:
        """Who may answer, best first; raises `ServeError` where nobody can."""
        names = request.candidates or self.system.candidates
        kept, out = fitting(request, names, self.system.pool)
        if not kept:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in out.items())
            raise ServeError(400, f"no candidate can take this request: {reasons}", code="no_candidate", reasons=out)
        self._tell_images(request, kept)
        up = [c for c in kept if not self.breaker.wait(split_candidate(c)[0])]
        if not up:
            wait = min(self.breaker.wait(split_candidate(c)[0]) for c in kept)
            raise ServeError(503, "every LLM that could answer is resting after errors", "overloaded", "resting", wait)
        if request.task is not None and request.task not in self.system.tasks:
            raise ServeError(400, f"fusion.task: expected one of {', '.join(self.system.tasks)}")
        known = [c for c in up if c in self.system.candidates]
        if not known:  # an LLM of the pool that the router has never seen, asked by name
            return Ranking(request.task or OTHER, [FusedDecision(OTHER, "asked", up[0], float("nan"), None)])
        saved = self.sessions.saved(client.name, request.session, known, request.tokens)
        asked = Asked(request.text, request.task, request.scenario, request.max_cost, tuple(known), saved)
        began = time.perf_counter()
        try:
            ranking = await (self.chooser.explain(asked) if explain else self.chooser.rank(asked))
        except UserError as error:
            raise ServeError(400, str(error), code="no_candidate") from None
        self.metrics.routing.observe(time.perf_counter() - began)
        return ranking

    def _tell_images(self, request: ChatRequest, kept: list[str]) -> None:
        """Say once that who takes images is not known; where the pool says it, they are handled."""
        if "images" not in request.needs or self._told_images:
            return
        pool = self.system.pool
        unknown = sorted({name for c in kept if pool[name := split_candidate(c)[0]].abilities is None})
        if unknown:
            self._told_images = True
            logger.warning(
                "a request has images: the choice reads its text only, and the pool does not say whether %s "
                "take images (abilities in the pool file)", ", ".join(unknown),
            )  # fmt: skip

    async def begin(self, request: ChatRequest, client: Client) -> Exchange:
        """Admit a request and decide who is to answer it."""
        ranking = await self.rank(request, client)
        options, propensity, explored = list(ranking.options), 1.0, False
        if self.settings.explore and not request.fixed:
            share = self.settings.explore / len(options)
            chosen = options[0]
            if self._random.random() < self.settings.explore:
                chosen, explored = self._random.choice(options), True
            propensity = share + (1 - self.settings.explore if chosen is options[0] else 0.0)
            options = [chosen, *(o for o in options if o is not chosen)]
        held = await self.ledger.admit(client, options[0].cost or 0.0)
        return Exchange(
            f"req-{secrets.token_hex(12)}", client, request, ranking, options,
            None if request.fixed else propensity, explored, held,
        )  # fmt: skip

    # -- asking

    async def answer(self, exchange: Exchange) -> dict[str, Any]:
        """A whole answer, as a chat completion. Raises `ServeError` where nobody answered."""
        request = exchange.request
        if exchange.ranking.chain is not None and not exchange.explored and not request.needs:
            found = await follow(exchange, self.ask, self.answered, self.chooser.call)
            if found is not None:
                return found
        while True:
            option = self._next(exchange)
            try:
                body, reply = await self.ask(exchange, option)
            except BackendError as error:
                self._pass_on(exchange, error)
            else:
                self.answered(exchange, reply)
                return body

    async def ask(
        self, exchange: Exchange, option: FusedDecision, logprobs: bool = False
    ) -> tuple[dict[str, Any], Reply]:
        """One call, with its row of the log where it fails; `logprobs` measures how likely its LLM thought it."""
        llm, _ = split_candidate(option.candidate)
        self.started(exchange, option)
        try:
            messages = await self._messages(exchange, option)
            backend = await self._backend(llm)
            timeout = self.settings.timeout_s
            asked = (self.system.pool[llm], backend, exchange.request.body, messages, timeout)
            body, reply = await complete(*asked, logprobs)
        except BackendError as error:
            self.failed(exchange, error)
            raise
        except asyncio.CancelledError:
            self.hung_up(exchange)
            raise
        self.breaker.success(llm)
        return body, reply

    @asynccontextmanager
    async def stream(self, exchange: Exchange) -> AsyncIterator[tuple[StreamedAnswer, AsyncIterator[dict[str, Any]]]]:
        """(answer, its chunks), entered when the first token is there. Raises `ServeError` where nobody answers.

        An error after the first token is raised while the chunks are read. Who has read them all calls `answered`.
        """
        while True:
            option = self._next(exchange)
            llm, _ = split_candidate(option.candidate)
            self.started(exchange, option)
            how = (self.settings.first_token_s, self.settings.stall_s)
            entered = False
            try:
                messages = await self._messages(exchange, option)
                backend = await self._backend(llm)
                body = exchange.request.body
                async with opened(self.system.pool[llm], backend, body, messages, *how) as (answer, chunks):
                    entered = True
                    self.metrics.first.labels(llm).observe(time.perf_counter() - exchange.began)
                    try:
                        yield answer, chunks
                    except BackendError as error:
                        self.failed(exchange, error, answer.reply())
                        raise ServeError.of(error, attempts=exchange.attempts) from None
                    except (asyncio.CancelledError, GeneratorExit):
                        self.hung_up(exchange, answer.reply())
                        raise
                    self.breaker.success(llm)
                    return
            except BackendError as error:
                if entered:
                    raise
                self.failed(exchange, error)
                self._pass_on(exchange, error)
            except asyncio.CancelledError:
                if not entered:
                    self.hung_up(exchange)
                raise

    async def _messages(self, exchange: Exchange, option: FusedDecision) -> list[dict[str, Any]]:
        chat = exchange.request.messages
        if split_candidate(option.candidate)[1] == "direct":
            return chat
        return await self.chooser.call(self.system.messages, option.candidate, chat)

    async def _backend(self, llm: str) -> Any:
        if not self.system.may_send_key(self.system.pool[llm]):
            raise BackendError("auth", refusal(self.system.pool, llm))
        try:
            return await self.backends.get(llm)
        except UserError as error:  # a missing key, model or package
            raise BackendError("auth", str(error)) from None

    def _next(self, exchange: Exchange) -> FusedDecision:
        """The next candidate whose LLM is up."""
        while exchange.options:
            option = exchange.options.pop(0)
            llm = split_candidate(option.candidate)[0]
            if llm not in exchange.tried and not self.breaker.wait(llm):
                return option
        raise ServeError(503, "every LLM that could answer is resting after errors", "overloaded", "resting", 1.0)

    def _pass_on(self, exchange: Exchange, error: BackendError) -> None:
        """Go on to the next candidate, or tell the client why not."""
        llm = split_candidate(exchange.decision.candidate)[0]
        exchange.tried.append(llm)
        left = [o for o in exchange.options if split_candidate(o.candidate)[0] not in exchange.tried]
        if error.kind in PASSED_ON and any(not self.breaker.wait(split_candidate(o.candidate)[0]) for o in left):
            self.metrics.fallbacks.labels(llm).inc()
            return
        raise ServeError.of(error, attempts=exchange.attempts) from None

    # -- what became of a call

    def started(self, exchange: Exchange, option: FusedDecision) -> None:
        """A call begins."""
        exchange.done = False
        exchange.decision = option
        exchange.attempts += 1
        self.breaker.begin(split_candidate(option.candidate)[0])

    def answered(self, exchange: Exchange, reply: Reply) -> None:
        """An LLM has answered: the row is written before the client has the end of the answer."""
        llm = split_candidate(exchange.decision.candidate)[0]
        usd = self._price(exchange, llm, reply)
        self.log.write(exchange.call(), exchange.request, reply, usd)
        exchange.done = True
        self.metrics.answered(llm, usd, reply.input_tokens, reply.output_tokens, reply.latency_s)
        self.sessions.answered(exchange.client.name, exchange.request.session, llm, reply.input_tokens)

    def failed(self, exchange: Exchange, error: BackendError, partly: Reply | None = None) -> None:
        """A call failed, perhaps in the middle of its answer."""
        llm = split_candidate(exchange.decision.candidate)[0]
        self.breaker.failure(llm, error)
        self.metrics.failed(llm, error.kind)
        if error.kind == "auth":
            logger.warning("%s", error)
        usd = None if partly is None else self._price(exchange, llm, partly)
        self.log.write(exchange.call(), exchange.request, partly, usd, error_text(error))

    def hung_up(self, exchange: Exchange, partly: Reply | None = None) -> None:
        """The client has gone, and the call was cancelled."""
        if exchange.done:
            return
        llm = split_candidate(exchange.decision.candidate)[0]
        self.breaker.left(llm)
        self.metrics.failed(llm, GONE)
        usd = None if partly is None else self._price(exchange, llm, partly)
        self.log.write(exchange.call(), exchange.request, partly, usd, f"{GONE}: the client hung up")

    def _price(self, exchange: Exchange, llm: str, reply: Reply) -> float | None:
        counts = (reply.input_tokens, reply.output_tokens, reply.cached_tokens, reply.reasoning_tokens)
        usd = self.system.pool.cost(llm, *counts)
        if usd is not None:
            exchange.cost = (exchange.cost or 0.0) + usd
        return usd

    async def end(self, exchange: Exchange, status: int) -> None:
        """The request is over, however it ended."""
        await self.ledger.settle(exchange.client, exchange.held, exchange.cost or 0.0)
        answered = status == 200 and exchange.decision is not None
        llm = split_candidate(exchange.decision.candidate)[0] if answered else ""
        self.metrics.requests.labels(llm, str(status)).inc()
        if answered and not exchange.request.fixed:
            self.metrics.routed(exchange.ranking.options, exchange.cost)

    async def close(self) -> None:
        """Close the LLMs and the log."""
        self.chooser.close()
        await self.backends.close()
        self.log.close()
        self.ledger.close()

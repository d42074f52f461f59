"""A cascade with live answers: ask, compare, ask on, until the answers are enough."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..fused.choice import FusedDecision
from ..llms.backends import BackendError, Reply
from ..logs.schema import split_candidate
from ..routers.cascade.answers import read_answer
from .errors import ServeError
from .exchange import Exchange

Ask = Callable[[Exchange, FusedDecision, bool], Awaitable[tuple[dict[str, Any], Reply]]]


async def follow(
    exchange: Exchange,
    ask: Ask,
    answered: Callable[[Exchange, Reply], None],
    in_thread: Callable[..., Awaitable[Any]],
) -> dict[str, Any] | None:
    """The answer of a plan, as a chat completion; None where nobody in it answered. Every call has its row.

    Args:
        exchange: With ``ranking.chain``.
        ask: Asks one candidate; the last argument is whether for log-probabilities too.
        answered: Told of every answer.
        in_thread: Calls a function in a thread: to read an answer may take long, where it is a program.
    """
    plan, query = exchange.ranking.chain, exchange.request.text
    answers: dict[str, str | None] = {}
    bodies: dict[str, dict[str, Any]] = {}
    expected = {o.candidate: o for o in exchange.ranking.options}
    step = plan.next(answers)
    while step.ask is not None:
        option = expected.get(step.ask) or FusedDecision(
            exchange.ranking.task, "cascade", step.ask, plan.performance, plan.cost
        )
        try:
            body, reply = await ask(exchange, option, step.logprobs)
        except BackendError as error:
            if error.kind == "bad_request":
                raise ServeError.of(error, attempts=exchange.attempts) from None
            answers[step.ask] = None
            exchange.tried.append(split_candidate(step.ask)[0])
        else:
            answered(exchange, reply)
            bodies[step.ask] = body
            answers[step.ask] = await in_thread(read_answer, query, reply.text, reply.mean_logprob)
        step = plan.next(answers)
    if not bodies:
        return None
    chosen = step.candidate if step.candidate in bodies else next(reversed(bodies))
    exchange.decision = expected.get(chosen, exchange.decision)
    return bodies[chosen]

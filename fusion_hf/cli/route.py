"""`fusion-hf route`: which candidate should answer."""

import json

from ..errors import UserError
from . import read_queries

HELP = "which candidate should answer"
EXAMPLE = 'fusion-hf route router "What is 7 * 8?" --scenario balance'
FIGURES = True


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("query", nargs="*", help="queries; none reads standard input, a query a line")
    add("--file", help="read queries from this file: one a line; in a .jsonl file, a JSON string or a chat (list of "
        "messages with role and content) a line")  # fmt: skip
    add("--scenario", help="a trade-off that the router knows (default: performance)")
    add("--alpha", type=float, help="a trade-off of your own: reward = alpha * performance - beta * cost")
    add("--beta", type=float, help="see --alpha; the one that is not given is 0")
    add("--max-cost", type=float, help="USD that one answer may cost")
    add("--candidates", help="comma-separated candidates to choose from")
    add("--explain", action="store_true", help="also print the best three, the task, and similar logged queries")


def run(args):
    from ..routers import load_router
    from ..routers.chats import as_texts

    router = load_router(args.router)
    names = args.candidates.split(",") if args.candidates else None
    queries = read_queries(args)
    if not args.query and args.file and args.file.endswith(".jsonl"):
        queries = [_parsed(line, i) for i, line in enumerate(queries, 1)]
    decisions = router.route(
        queries, scenario=args.scenario, alpha=args.alpha, beta=args.beta, max_cost=args.max_cost, candidates=names,
        explain=args.explain,
    )  # fmt: skip
    for query, decision in zip(as_texts(queries), decisions, strict=True):
        print(f"{decision.candidate}\t{' '.join(query[:80].split())}")
        if args.explain:
            print(decision.explain())
    return [decision.to_dict() for decision in decisions]


def _parsed(line: str, number: int) -> str | list:
    """A query of a .jsonl file."""
    try:
        query = json.loads(line)
    except ValueError as error:
        raise UserError(f"line {number}: expected JSON, found {line[:40]!r} ({error})") from error
    if not isinstance(query, (str, list)):
        raise UserError(f"line {number}: expected a JSON string or a list of messages, found {type(query).__name__}")
    return query

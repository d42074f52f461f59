"""`fusion-hf route`: which candidate should answer."""

from . import read_queries

HELP = "which candidate should answer"
EXAMPLE = 'fusion-hf route router "What is 7 * 8?" --scenario balance'
FIGURES = True


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("query", nargs="*", help="queries; none reads standard input, a query a line")
    add("--file", help="read queries from this file, one a line")
    add("--scenario", default="performance", help="a trade-off that the router knows (default: performance)")
    add("--max-cost", type=float, help="USD that one answer may cost")
    add("--candidates", help="comma-separated candidates to choose from")
    add("--explain", action="store_true", help="also print the best three, the task, and similar logged queries")


def run(args):
    from ..routers import load_router

    router = load_router(args.router)
    names = args.candidates.split(",") if args.candidates else None
    queries = read_queries(args)
    decisions = router.route(
        queries, scenario=args.scenario, max_cost=args.max_cost, candidates=names, explain=args.explain
    )
    for query, decision in zip(queries, decisions, strict=True):
        print(f"{decision.candidate}\t{query[:80]}")
        if args.explain:
            print(decision.explain())
    return [decision.to_dict() for decision in decisions]

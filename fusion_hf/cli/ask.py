"""`fusion-hf ask`: answer queries by a fused system."""

from . import read_queries

HELP = "answer by a fused system: every query by the configuration that won on its task"
EXAMPLE = 'fusion-hf ask fused "What is 7 * 8?" --plan'
FIGURES = True


def arguments(add) -> None:
    add("fused", help="folder of `autofuse` or Hub id")
    add("query", nargs="*", help="queries; none reads standard input, a query a line")
    add("--file", help="read queries from this file, one a line")
    add("--task", help="task of the queries (default: it is recognised)")
    add("--plan", action="store_true", help="only say who would answer")
    add("--scenario", help="another trade-off: performance, balance or cost")
    add("--max-cost", type=float, help="USD that one answer may be expected to cost")
    add("--candidates", help="comma-separated candidates to choose from")
    add("--pool", help="pool file of your own, in place of the system's")
    add("--keys", action="store_true", help="let a system of the Hub have your API keys sent as its pool file says")
    add("--max-usd", type=float, help="stop before this much is spent")


def run(args):
    from ..fused import FusedSystem

    fused = FusedSystem.from_pretrained(args.fused, pool=args.pool, keys=args.keys or None)
    queries = read_queries(args)
    how = {"scenario": args.scenario, "max_cost": args.max_cost}
    how["candidates"] = args.candidates.split(",") if args.candidates else None
    if args.plan:
        decisions = fused.plan(queries, args.task, **how)
        for query, d in zip(queries, decisions, strict=True):
            cost = "cost not known" if d.cost is None else f"{d.cost:.3g} USD"
            print(
                f"{d.candidate}\t{d.task}, by {d.system}: {d.performance:.3f}, {cost}\t{' '.join(query[:80].split())}"
            )
        return [d.to_dict() for d in decisions]
    answers = fused(queries, args.task, **how, max_usd=args.max_usd)
    for answer in answers:
        print(f"[{answer.decision.candidate}] {answer.text if answer.error is None else answer.error}")
    return [answer.to_dict() for answer in answers]

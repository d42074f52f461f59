"""`fusion-hf route`: which candidate should answer."""

from . import call
from ._arguments import TRUST_HELP, add_queries, names, read_queries

HELP = "which candidate should answer"
EXAMPLE = 'fusion-hf route router "What is 7 * 8?" --scenario balance'


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add_queries(add, "read queries from this file: one a line; in a .jsonl file, a JSON string or a chat (list of "
        "messages with role and content) a line")  # fmt: skip
    add("--scenario", help="a trade-off that the router knows (default: performance)")
    add("--alpha", type=float, help="a trade-off of your own: reward = alpha * performance - beta * cost")
    add("--beta", type=float, help="see --alpha; the one that is not given is 0")
    add("--max-cost", type=float, help="USD that one answer may cost")
    add("--candidates", type=names, help="comma-separated candidates to choose from")
    add("--explain", action="store_true", help="also print the best three, the task, and similar logged queries")
    add("--trust-remote-code", action="store_true", help=TRUST_HELP)


def run(args):
    return call(args) if args.query or args.file else call(args, query=read_queries(args))

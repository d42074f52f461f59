"""`fusion-hf ask`: answer queries by a fused system."""

from . import call
from ._arguments import add_queries, names, read_queries

HELP = "answer by a fused system: every query by the configuration that won on its task"
EXAMPLE = 'fusion-hf ask fused "What is 7 * 8?" --plan'
ONLY_COMMAND, ONLY_PYTHON = ("query", "file"), ("queries",)


def arguments(add) -> None:
    add("fused", help="folder of `autofuse` or Hub id")
    add_queries(add)
    add("--task", help="task of the queries (default: it is recognised)")
    add("--plan", action="store_true", help="only say who would answer")
    add("--scenario", help="another trade-off: performance, balance or cost")
    add("--max-cost", type=float, help="USD that one answer may be expected to cost")
    add("--candidates", type=names, metavar="NAME,…", help="candidates to choose from")
    add("--pool", help="pool file of your own, in place of the system's")
    add("--keys", action="append", metavar="VARIABLE=HOST",
        help="a key that the system's own pool may have sent, and where to; repeat for more")  # fmt: skip
    add("--max-usd", type=float, help="stop before this much is spent")


def run(args):
    return call(args, queries=read_queries(args))


def exit_code(result, args) -> int:
    """1 where queries were asked and none was answered."""
    return int(bool(result.answers) and all(answer.error is not None for answer in result.answers))

"""`fusion-hf eval-router`: measure a router, with every anchor."""

from ._arguments import TRUST_HELP

HELP = "measure a router, with every anchor; --json ROUTER/eval.json puts the figures on its card"
EXAMPLE = "fusion-hf eval-router router bench --split test --json router/eval.json"


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("log", nargs="?", help="FusionBench folder or Hub id")
    add("--split", default="test", help="split that is measured (default: %(default)s)")
    add("--scenario", default="all", help="performance, balance, cost, judge or all (default: %(default)s)")
    add("--served", metavar="LOGS", help="estimate on the traffic in this folder of `serve` in place of a log")
    add("--trust-remote-code", action="store_true", help=TRUST_HELP)

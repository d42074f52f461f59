"""`fusion-hf calibrate`: the trade-off that meets a budget or a quality."""

from ._arguments import TRUST_HELP

HELP = "find the trade-off that meets a budget or a quality on held-out queries"
EXAMPLE = "fusion-hf calibrate router bench --max-cost 0.001 --out router --name cheap\n  " \
    "fusion-hf route router --scenario cheap \"What is 7 * 8?\""  # fmt: skip


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("log", help="FusionBench folder or Hub id")
    add("--max-cost", type=float, help="mean USD a query")
    add("--min-quality", type=float, help="share of the best single candidate's performance, such as 0.99")
    add("--split", help="queries that the router was not trained on (default: partial_test, or else test)")
    add("--out", help="save the router here, with the trade-off as a scenario")
    add("--overwrite", action="store_true", help="also write to a folder that holds something else")
    add("--name", default="calibrated", help="name of that scenario (default: %(default)s)")
    add("--trust-remote-code", action="store_true", help=TRUST_HELP)

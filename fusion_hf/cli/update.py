"""`fusion-hf update`: served traffic joins the training log, and a router that is not worse replaces the old one."""

HELP = "let a router learn from served traffic, and replace it unless that makes it worse"
EXAMPLE = "fusion-hf update router served --bench bench"


def arguments(add) -> None:
    add("router", help="folder of the router; the old one is kept beside it")
    add("logs", help="folder of `serve`, with texts (--log full) and scores (feedback, judge or grade)")
    add("--bench", required=True, help="the log that it was trained on: FusionBench folder or Hub id")
    add("--scenario", default="performance", help="trade-off under which both are compared (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    add("--force", action="store_true", help="replace it even if it is worse")

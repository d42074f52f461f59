"""`fusion-hf update`: served traffic joins the training log, and a router that is not worse replaces the old one."""

HELP = "let a router, or those of a fused system, learn from served traffic, and replace them unless that is worse"
EXAMPLE = "fusion-hf update router served --bench bench"


def arguments(add) -> None:
    add("router", help="folder of the router or fused system; the old one is kept beside it")
    add("logs", help="folder of `serve`, with texts (--log full) and scores (feedback, judge or grade)")
    add("--bench", required=True, help="the log that it was trained on: FusionBench folder or Hub id")
    add("--scenario", help="trade-off under which both are compared (default: performance; a fused system has its own)")
    add("--seed", type=int, help="of the training (default: the router's own)")
    add("--force", action="store_true", help="replace it even if it is worse")

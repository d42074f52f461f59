"""`fusion-hf eval-student`: ask what was trained the queries of the log, and add it there as one more candidate."""

from . import ended
from ._arguments import OVERWRITE, names

HELP = "ask a trained model the queries of the log, and add it there as <base>+<adapter>"
EXAMPLE = "fusion-hf eval-student bench adapter --base llama-3.1-8b-instruct --logs logs --out bench-with-student"


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id")
    add("student", help="folder of the adapter or model that fusion_hf.distill wrote")
    add("--base", help="name of the base model in the log and the pool (default: the base's folder or Hub id)")
    add("--pool", help="pool file with the base's prices and options (without it costs are unknown)")
    add(
        "--backend",
        default="transformers",
        choices=("transformers", "vllm"),
        help="who serves it (default: %(default)s)",
    )
    add("--splits", type=names, help="splits to ask, with commas (default: all, so that routers can learn about it)")
    add("--modes", type=names, default=["direct", "think"], help="modes, with commas (default: direct,think)")
    add("--limit", type=int, metavar="N", help="at most N queries of each task and split")
    add("--max-usd", type=float, help="stop before the answers cost this much by the prices of --pool")
    add("--split", default="test", help="split of the figures (default: %(default)s)")
    add("--logs", required=True, help="folder of its answers; the same command resumes")
    add("--out", required=True, help="FusionBench folder to write; may be the one that was read")
    add("--overwrite", action="store_true", help=OVERWRITE)


def exit_code(result, args) -> int:
    return ended(result.run)

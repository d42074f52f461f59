"""`fusion-hf leaderboard`: every router kind under one protocol, as a table for a paper."""

from ._arguments import DEFAULT_ENCODER, FOLDS_HELP, KIND_HELP, OVERWRITE, ROUTER_ENCODER_HELP, folds

HELP = "every router kind under one protocol, as a table for a paper"
EXAMPLE = "fusion-hf leaderboard bench --encoder none --seeds 3 --out leaderboard"


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id")
    add("--kind", action="append", help=f"{KIND_HELP}; repeat for more (default: every kind)")
    add("--reference", default="fusion", help="kind that the others are compared with (default: %(default)s)")
    add("--encoder", default=DEFAULT_ENCODER, help=ROUTER_ENCODER_HELP)
    add("--split", default="train", help="split that is cut into folds (default: %(default)s)")
    add("--folds", type=folds, default=5, help=FOLDS_HELP)
    add("--seeds", type=int, default=3, help="number of seeds, each with folds of its own (default: %(default)s)")
    add("--scenario", default="performance", help="performance, balance, cost or judge (default: %(default)s)")
    add("--no-task-labels", dest="task_labels", action="store_false", help="learn without the log's task names")
    add("--out", help="folder of leaderboard.md, .csv, .tex and .json")
    add("--overwrite", action="store_true", help=OVERWRITE)

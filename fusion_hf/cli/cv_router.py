"""`fusion-hf cv-router`: compare router kinds by cross-validation."""

from ._arguments import DEFAULT_ENCODER, FOLDS_HELP, KIND_HELP, ROUTER_ENCODER_HELP, Pairs, folds, value_pair

HELP = "compare router kinds by cross-validation"
EXAMPLE = "fusion-hf cv-router bench --kind knn --kind fusion --folds 5"


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id")
    add("--kind", action="append", required=True, help=f"{KIND_HELP}; repeat to compare")
    add("--encoder", default=DEFAULT_ENCODER, help=ROUTER_ENCODER_HELP)
    add("--split", default="train", help="split that is cut into folds (default: %(default)s)")
    add("--folds", type=folds, default=5, help=FOLDS_HELP)
    add("--scenario", default="performance", help="performance, balance, cost or judge (default: %(default)s)")
    add("--no-task-labels", dest="task_labels", action="store_false", help="learn without the log's task names")
    add("--seed", type=int, default=0, help="of the folds and of training (default: %(default)s)")
    add("--option", type=value_pair, action=Pairs, metavar="KIND.NAME=VALUE",
        help="an option of a kind, such as encoder.layers=2; repeat for more")  # fmt: skip

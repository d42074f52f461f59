"""`fusion-hf train-router`: train a router on a log."""

from ._arguments import DEFAULT_ENCODER, KIND_HELP, ROUTER_ENCODER_HELP, Pairs, value_pair

HELP = "train a router on a log"
EXAMPLE = (
    "fusion-hf train-router bench --kind fusion --out router\n"
    "  fusion-hf train-router bench --encoder offline,models/smollm2.gguf@pooling=last --out router"
)
OUT = ("out",)  # typed always, since a command has no other use for a router; a function may only return it
ONLY_COMMAND = ONLY_PYTHON = OUT


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id")
    add("--kind", default="fusion", help=f"{KIND_HELP} (default: %(default)s)")
    add("--encoder", default=DEFAULT_ENCODER, help=ROUTER_ENCODER_HELP)
    add("--split", default="train", help="split that is learned from (default: %(default)s)")
    add("--no-task-labels", dest="task_labels", action="store_false", help="learn without the log's task names")
    add("--seed", type=int, default=0, help="of every random choice (default: %(default)s)")
    add("--option", type=value_pair, action=Pairs, metavar="NAME=VALUE",
        help="an option of the kind, such as layers=2 for encoder; repeat for more")  # fmt: skip
    add("--out", required=True, help="folder of the router")
    add("--overwrite", action="store_true", help="also write to a folder that holds something else")

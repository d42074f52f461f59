"""`fusion-hf train-router`: train a router on a log."""

from pathlib import Path

from . import DEFAULT_ENCODER, ENCODER_HELP, read_option

HELP = "train a router on a log"
EXAMPLE = "fusion-hf train-router bench --kind fusion --out router"


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id")
    add("--kind", default="fusion", help="router kind (default: fusion)")
    add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
    add("--split", default="train")
    add("--no-task-labels", action="store_true", help="learn without the log's task names")
    add("--seed", type=int, default=0)
    add(
        "--option", action="append", default=[], metavar="NAME=VALUE",
        help="an option of the kind, such as layers=2 for encoder or strong=gpt-4 for pairwise; repeat for more",
    )  # fmt: skip
    add("--out", required=True, help="folder of the router")


def run(args):
    from .. import routers
    from ..logs.arrays import RoutingData
    from ..logs.log import Log, read_log

    table = read_log(args.bench, args.split)
    data, answers = RoutingData.from_table(table), None
    if routers.get_kind(args.kind).needs_answers:
        from ..routers.cascade.answers import log_answers

        answers = log_answers(table, data, progress=True)
    pool = Log(args.bench).extra("llms")
    router = routers.fit_router(
        args.kind, data, encoder=args.encoder, task_labels=not args.no_task_labels, seed=args.seed, answers=answers,
        llms=None if pool is None else pool.to_pylist(), **dict(read_option(text) for text in args.option),
    )  # fmt: skip
    if not Path(args.bench).exists():  # a Hub id, for the card
        router.config.trained_from = args.bench
    router.save_pretrained(args.out)
    print(f"{args.kind} router for {len(data.candidates)} candidates from {len(data)} queries: {args.out}")

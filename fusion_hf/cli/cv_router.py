"""`fusion-hf cv-router`: compare router kinds by cross-validation."""

from ..errors import UserError
from . import DEFAULT_ENCODER, ENCODER_HELP, read_option

HELP = "compare router kinds by cross-validation"
EXAMPLE = "fusion-hf cv-router bench --kind knn --kind fusion --folds 5"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id")
    add("--kind", action="append", required=True, help="router kind; repeat to compare")
    add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
    add("--split", default="train")
    add("--folds", type=int, default=5)
    add("--scenario", default="performance")
    add("--no-task-labels", action="store_true", help="learn without the log's task names")
    add("--seed", type=int, default=0)
    add(
        "--option", action="append", default=[], metavar="KIND.NAME=VALUE",
        help="an option of a kind, such as encoder.layers=2; repeat for more",
    )  # fmt: skip


def run(args):
    from ..logs.arrays import RoutingData
    from ..logs.log import Log, read_log
    from ..routers.measuring.evaluate import cross_validate, format_cv

    pool = Log(args.bench).extra("llms")
    result = cross_validate(
        RoutingData.from_table(read_log(args.bench, args.split)), args.kind, folds=args.folds, scenario=args.scenario,
        encoder=args.encoder, task_labels=not args.no_task_labels, seed=args.seed,
        llms=None if pool is None else pool.to_pylist(), options=_options(args.option, args.kind),
    )  # fmt: skip
    print(format_cv(result))
    return result


def _options(given: list[str], kinds: list[str]) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for text in given:
        kind, _, rest = text.partition(".")
        if kind not in kinds:
            raise UserError(
                f"--option: expected KIND.NAME=VALUE of a compared kind ({', '.join(kinds)}), found {text!r}"
            )
        name, value = read_option(rest)
        found.setdefault(kind, {})[name] = value
    return found

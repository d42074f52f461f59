"""`fusion-hf compare`: the three levels on the same queries."""

from pathlib import Path

HELP = "the three levels on the same queries"
EXAMPLE = "fusion-hf compare bench --router router --log thought=t.parquet --out r"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id with train and test")
    add("--router", action="append", default=[], metavar="[NAME=]DIR", help="router; repeat to compare")
    add(
        "--log",
        action="append",
        default=[],
        metavar="NAME=LOG",
        help="graded answers of a thought-level or model-level system to the same queries; repeat",
    )
    add("--title", default="Three levels on the same queries")
    add("--out", required=True, help="folder of report.md, report.json and the plot")


def run(args):
    from ..compare import compare_bench

    result = compare_bench(args.bench, args.router, args.log, args.out, title=args.title)
    print(Path(args.out, "report.md").read_text(encoding="utf-8"))
    return result

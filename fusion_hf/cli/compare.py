"""`fusion-hf compare`: the three levels on the same queries."""

from pathlib import Path

HELP = "the three levels on the same queries"
EXAMPLE = "fusion-hf compare bench --router router --log thought=t.parquet --combine fusion --out r"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id with train and test")
    add("--router", action="append", default=[], metavar="[NAME=]DIR", help="router; repeat to compare")
    add(
        "--log",
        action="append",
        default=[],
        metavar="NAME=LOG",
        help="graded answers to the same queries, by templates, by a distilled model or by any other LLM; repeat",
    )
    add("--combine", metavar="KIND", help="also train a router of this kind over the candidates of all levels")
    add("--encoder", help="text encoder of that router (default: that of the first --router)")
    add("--title", default="Three levels on the same queries")
    add("--out", required=True, help="folder of report.html, report.md, report.json and the plots")


def run(args):
    from ..comparison import compare_bench
    from ..comparison.render import terminal
    from ..comparison.report import build_report

    result = compare_bench(
        args.bench, args.router, args.log, args.out, title=args.title, combine=args.combine, encoder=args.encoder
    )
    print("\n".join([terminal(build_report(result)), "", f"All of it: {Path(args.out, 'report.html')}"]))
    return result

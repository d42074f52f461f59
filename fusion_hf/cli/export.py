"""`fusion-hf export`: choices, scores and figures in the formats of other benchmarks."""

HELP = "choices, scores and figures in the formats of RouterArena, RouterBench and LLMRouterBench"
EXAMPLE = "fusion-hf export routerarena bench --router router --system 'router (balance)' --out my-router.json"
FIGURES = True
SHOWN = ("accuracy", "gain_at_r", "gain_at_b", "gap_at_o", "cost_save", "perf_gain", "arena_score", "optimal_selection")


def arguments(add) -> None:
    formats = "routerarena (prediction file), routerbench (CSV of all candidates), llmrouterbench (figures)"
    add("format", metavar="FORMAT", help=formats)
    add("bench", help="FusionBench folder or Hub id with train and test")
    add("--router", action="append", default=[], metavar="[NAME=]DIR", help="router; repeat for several")
    add("--log", action="append", default=[], metavar="NAME=LOG", help="other graded answers to the same queries")
    add("--system", metavar="NAME", help="routerarena: whose choices, as compare calls it, such as 'router (balance)'")
    add(
        "--split",
        default="test",
        choices=("train", "partial_test", "test"),
        help="routerbench: which split (default: %(default)s)",
    )
    add("--out", required=True, help="the file: .json, or .csv for routerbench")


def run(args):
    from ..comparison.export import export

    result = export(args.format, args.bench, args.out, args.router, args.log, args.system, args.split)
    for name, scores in result.get("systems", {}).items():
        shown = ((key, scores["average"][key]) for key in SHOWN)
        figures = ", ".join(f"{key} {value:.3f}" for key, value in shown if value is not None)
        print(f"{name}: {figures}")
    print(f"{result['rows']} {'systems' if 'systems' in result else 'queries'} -> {args.out}")
    return result

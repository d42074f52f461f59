"""`fusion-hf calibrate`: the trade-off that meets a budget or a quality."""

HELP = "find the trade-off that meets a budget or a quality on held-out queries"
EXAMPLE = "fusion-hf calibrate router bench --max-cost 0.001 --out router --name cheap\n  " \
    "fusion-hf route router --scenario cheap \"What is 7 * 8?\""  # fmt: skip
FIGURES = True


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("bench", help="FusionBench folder or Hub id")
    add("--max-cost", type=float, help="mean USD a query")
    add("--min-quality", type=float, help="share of the best single candidate's performance, such as 0.99")
    add("--split", help="queries that the router was not trained on (default: partial_test, or else test)")
    add("--out", help="save the router here, with the trade-off as a scenario")
    add("--name", default="calibrated", help="name of that scenario (default: calibrated)")


def run(args):
    from ..errors import UserError
    from ..routers.measuring.calibrate import calibrate_on_bench, format_calibration

    if (args.max_cost is None) == (args.min_quality is None):
        raise UserError("expected either --max-cost or --min-quality")
    result = calibrate_on_bench(
        args.router, args.bench, args.split, args.out, args.name, max_cost=args.max_cost, min_quality=args.min_quality
    )
    print(format_calibration(result))
    return result

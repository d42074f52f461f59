"""`fusion-hf eval-router`: measure a router, with every anchor."""

HELP = "measure a router, with every anchor; --json ROUTER/eval.json puts the figures on its card"
EXAMPLE = "fusion-hf eval-router router bench --split test --json router/eval.json"
FIGURES = True


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("bench", help="FusionBench folder or Hub id")
    add("--split", default="test")
    add("--scenario", default="all", help="performance, balance, cost, judge or all (default: all)")


def run(args):
    from ..routers.measuring.evaluate import evaluate_on_bench, format_evaluation

    result = evaluate_on_bench(args.router, args.bench, split=args.split, scenario=args.scenario)
    print(format_evaluation(result))
    return result

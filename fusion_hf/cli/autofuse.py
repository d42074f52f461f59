"""`fusion-hf autofuse`: for every task the configuration that won on validation, as one system."""

HELP = "for every task the configuration that won on validation, as one system to load, call and push"
EXAMPLE = (
    "fusion-hf autofuse bench --router router --log thought=logs --pool pool.yaml --templates templates --out fused"
)
FIGURES = True


def arguments(add) -> None:
    # fmt: off
    add("bench", help="FusionBench folder or Hub id with train, partial_test (to choose on) and test")
    add("--router", action="append", default=[], metavar="[NAME=]DIR", help="router; repeat")
    add("--log", action="append", default=[], metavar="NAME=LOG",
        help="graded answers of a thought-level or model-level system to the same queries; repeat")  # fmt: skip
    add("--pool", required=True, help="pool file: how the LLMs are reached")
    add("--templates", action="append", default=[], metavar="[LLM=]DIR",
        help="thought templates of an LLM (or of all), where the folder of its log does not say; repeat")
    add("-k", type=int, default=3, help="with --templates: so many before a query, as it was collected (default: 3)")
    add("--adapter", action="append", default=[], metavar="DIR", help="what fusion_hf.distill trained; repeat")
    add("--base", help="name of the adapters' base in the pool (default: as each adapter says)")
    add("--combine", metavar="KIND", help="also train a router of this kind over the candidates of all logs")
    add("--out", required=True, help="folder of the fused system")
    # fmt: on


def run(args):
    from ..comparison.autofuse import autofuse
    from ..comparison.verdicts import format_fusion
    from ..fused import Thoughts

    named = dict(item.split("=", 1) if "=" in item else ("", item) for item in args.templates)
    thoughts = {llm: Thoughts(folder, args.k) for llm, folder in named.items()}
    result = autofuse(
        args.bench, args.router, args.log, args.out, args.pool,
        thoughts=thoughts[""] if set(thoughts) == {""} else thoughts,
        students=args.adapter, base=args.base, combine=args.combine,
    )  # fmt: skip
    print(format_fusion(result))
    return result

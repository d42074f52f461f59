"""`fusion-hf autofuse`: for every task the configuration that won on validation, as one system."""

from ._arguments import OVERWRITE, Pairs, add_systems, named_or_all, names

HELP = "for every task the configuration that won on validation, as one system to load, call and push"
EXAMPLE = "fusion-hf autofuse bench --routers router --thoughts templates=logs --pool pool.yaml --out fused"


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id with train, partial_test (to choose on) and test")
    add_systems(add)
    add("--pool", required=True, help="pool file: how the LLMs are reached")
    add("--templates", action=Pairs, type=named_or_all, metavar="[LLM=]DIR",
        help="thought templates of an LLM (or of all), where the folder of its log does not say; repeat")  # fmt: skip
    add("-k", type=int, default=3, help="with --templates: so many before a query (default: %(default)s)")
    add("--adapters", type=names, default=[], metavar="DIR,…", help="what fusion_hf.distill trained")
    add("--base", help="name of the adapters' base in the pool (default: as each adapter says)")
    add("--combine", metavar="KIND", help="also train a router of this kind over the candidates of all logs")
    add("--encoder", help="text encoder of that router (default: that of the first of --routers)")
    add("--out", required=True, help="folder of the fused system")
    add("--overwrite", action="store_true", help=OVERWRITE)

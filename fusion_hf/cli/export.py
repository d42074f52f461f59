"""`fusion-hf export`: choices, scores and figures in the formats of other benchmarks."""

from ._arguments import SPLITS, add_systems

HELP = "choices, scores and figures in the formats of RouterArena, RouterBench and LLMRouterBench"
EXAMPLE = "fusion-hf export routerarena bench --routers router --system 'router (balance)' --out my-router.json"


def arguments(add) -> None:
    known = ("routerarena", "routerbench", "llmrouterbench")
    add("format", metavar="FORMAT", choices=known,
        help="routerarena (predictions), routerbench (CSV of all candidates), llmrouterbench (figures)")  # fmt: skip
    add("bench", help="FusionBench folder or Hub id with train and test")
    add_systems(add)
    add("--system", metavar="NAME", help="routerarena: whose choices, as compare calls it, such as 'router (balance)'")
    add("--split", default="test", choices=SPLITS, help="routerbench: which split (default: %(default)s)")
    add("--out", required=True, help="the file: .json, or .csv for routerbench")
    add("--overwrite", action="store_true", help="replace the file where it exists")

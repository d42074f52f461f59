"""`fusion-hf add-llm`: a new candidate from a few scored queries, without training again."""

from ._arguments import TRUST_HELP

HELP = "let a router choose one more LLM, from 20 to 50 scored queries"
EXAMPLE = "fusion-hf add-llm router bench --llm qwen2.5-7b-instruct --out router-with-qwen"
ONLY_COMMAND = ONLY_PYTHON = ("out",)  # typed always; a function may only return the router


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("log", help="FusionBench folder or Hub id that holds scored answers of the new LLM")
    add("--llm", required=True, help="name of the LLM; both of its modes are added where the log has them")
    add("--split", default="train", help="split of the log (default: %(default)s)")
    add("--out", required=True, help="folder of the new router")
    add("--overwrite", action="store_true", help="also write to a folder that holds something else")
    add("--trust-remote-code", action="store_true", help=TRUST_HELP)

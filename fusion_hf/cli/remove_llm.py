"""`fusion-hf remove-llm`: take an LLM away from a router."""

from ._arguments import TRUST_HELP

HELP = "take an LLM away from a router, without training again"
EXAMPLE = "fusion-hf remove-llm router --llm qwen2.5-7b-instruct --out router-without-qwen"
ONLY_COMMAND = ONLY_PYTHON = ("out",)  # typed always; a function may only return the router


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("--llm", required=True, help="name of the LLM; both of its modes are taken away")
    add("--out", required=True, help="folder of the new router")
    add("--overwrite", action="store_true", help="also write to a folder that holds something else")
    add("--trust-remote-code", action="store_true", help=TRUST_HELP)

"""`fusion-hf demo`: the whole factory on the embedded sample."""

from pathlib import Path

HELP = "the whole factory on the embedded sample"
EXAMPLE = "fusion-hf demo --out demo"


def arguments(add) -> None:
    add("--out", default="demo", help="folder for everything that the demo makes (default: demo)")


def run(args):
    from ..demonstration import run_demo

    run_demo(Path(args.out))

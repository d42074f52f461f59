"""`fusion-hf import`: a public or private log -> FusionBench folder."""

from . import print_json

HELP = "a public or private log -> FusionBench folder"
EXAMPLE = "fusion-hf import routerbench logs/routerbench --out bench"
FIGURES = True


def arguments(add) -> None:
    add("format", help="llmrouter, routerdc, routerbench, jsonl")
    add("path", help="file or folder in the publisher's format, gzip or not")
    add("--out", required=True, help="FusionBench folder; other splits in it are kept")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split")
    add("--task", help="task name, where the format has none")


def run(args):
    from ..bench.importing import import_log

    result = import_log(args.format, args.path, args.out, split=args.split, task=args.task)
    print_json(result)
    return result

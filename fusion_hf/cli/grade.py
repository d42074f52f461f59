"""`fusion-hf grade`: grade a log again; prints what changed."""

from . import print_json

HELP = "grade a log again; prints what changed"
EXAMPLE = "fusion-hf grade logs --grader paper --out graded.parquet"
FIGURES = True


def arguments(add) -> None:
    add("logs", help="shards of `collect`, a FusionBench folder, a .parquet or a .jsonl file")
    add("--grader", default="strict", choices=("strict", "paper"))
    add("--out", help="write the graded log to this .parquet file or FusionBench folder")
    add("--split", default="train", choices=("train", "partial_test", "test"), help="split in --out")


def run(args):
    from ..llms.logs import load_log
    from ..logs.regrade import regrade

    result = regrade(load_log(args.logs), args.grader, args.out, split=args.split)
    print_json(result)
    return result

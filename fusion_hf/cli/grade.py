"""`fusion-hf grade`: grade a log again; prints what changed."""

from . import print_json

HELP = "grade a log again; prints what changed"
EXAMPLE = "fusion-hf grade logs --grader paper --out graded.parquet"
FIGURES = True


def arguments(add) -> None:
    add("logs", help="shards of `collect`, a FusionBench folder, a .parquet or a .jsonl file")
    add("--grader", default="strict", choices=("strict", "paper"))
    add("--out", help="write the graded log to this .parquet file or FusionBench folder")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split (a log without splits "
        "needs it to become a folder)")  # fmt: skip


def run(args):
    from ..logs.regrade import regrade

    result = regrade(args.logs, args.grader, args.out, split=args.split)
    print_json(result)
    return result

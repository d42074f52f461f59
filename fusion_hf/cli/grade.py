"""`fusion-hf grade`: grade a log again; prints what changed."""

HELP = "grade a log again; prints what changed"
EXAMPLE = "fusion-hf grade logs --grader paper --out graded.parquet"


def arguments(add) -> None:
    add("log", help="shards of `collect`, a FusionBench folder or Hub id, a .parquet or a .jsonl file")
    add("--grader", default="strict", choices=("strict", "paper"), help="version of the graders (default: %(default)s)")
    add("--out", help="write the graded log to this FusionBench folder, or .parquet or .jsonl file")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split (a log without splits "
        "needs it to become a folder)")  # fmt: skip

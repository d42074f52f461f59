"""`fusion-hf audit`: what is wrong, or looks wrong, in a log."""

HELP = "find leaks, duplicates, unparsed answers, wrong reference answers, and counts and costs that cannot be real"
EXAMPLE = "fusion-hf audit bench --json audit.json"
ONLY_COMMAND = ("strict",)


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id, shards of `collect`, a .parquet or a .jsonl file")
    add("--regrade", type=int, default=200, metavar="N",
        help="grade N responses a task and split again; 0 grades none, -1 all (default: %(default)s)")  # fmt: skip
    add("--near", type=float, default=0.8, help="similarity of near-duplicate queries, 0..1 (default: %(default)s)")
    add("--strict", action="store_true", help="exit with code 1 where a finding is an error")


def exit_code(result, args) -> int:
    return int(args.strict and result.by_severity["error"] > 0)

"""`fusion-hf split`: a log without splits -> train and test."""

HELP = "split a log into train and test, each query and all that are nearly like it on one side"
EXAMPLE = "fusion-hf split log.jsonl --test 0.3 --out bench\n  fusion-hf split served --after 2026-06-01 --out bench"


def arguments(add) -> None:
    add("log", help="shards of `collect`, a FusionBench folder or Hub id, a .parquet or a .jsonl file; splits that it "
        "has are taken together")  # fmt: skip
    add("--out", required=True, help="FusionBench folder that holds no log yet")
    add("--test", type=float, metavar="SHARE", help="share of the queries of each task for the test split, 0..1")
    add("--after", metavar="DATE", help="in place of --test: queries first served on this day or later are the test "
        "split; those that are like an earlier one stay in train")  # fmt: skip
    add("--near", type=float, default=0.8, help="similarity of near-duplicate queries, 0..1 (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    add("--overwrite", action="store_true", help="also into a folder that holds something else, or a log")

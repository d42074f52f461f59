"""`fusion-hf build`: graded logs -> dataset repository folder."""

HELP = "graded logs -> dataset repository folder (Parquet, card, plot)"
EXAMPLE = "fusion-hf build graded.parquet --split train --out bench"


def arguments(add) -> None:
    add("logs", nargs="+", help="shards of `collect`, FusionBench folders, .parquet or .jsonl files")
    add("--out", required=True, help="FusionBench folder; rows are added to those that it holds")
    add("--replace", action="store_true", help="splits that the logs have take the place of those in --out")
    add("--newer", action="store_true", help="rows that differ from those of the same query, LLM and mode replace them")
    add("--overwrite", action="store_true", help="write into a folder that holds other things")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split (FusionBench folders "
        "keep their own splits without it)")  # fmt: skip
    add("--pool", help="pool file for the config `llms` (default: what the logs carry)")
    add("--templates", help="folder of `fusion-hf templates`, for the config `thought_templates`")
    add("--title", help="heading of the card (default: that of the folder, else FusionBench)")
    add("--text", default="", help="paragraph under the heading (Markdown)")

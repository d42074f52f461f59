"""`fusion-hf build`: graded logs -> dataset repository folder."""

HELP = "graded logs -> dataset repository folder (Parquet, card, plot)"
EXAMPLE = "fusion-hf build graded.parquet --split train --out bench"
FIGURES = True


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


def run(args):
    from ..llms.build import build
    from ..logs.log import Log

    merged = build(
        args.logs, args.out, split=args.split, pool=args.pool, templates=args.templates, title=args.title,
        text=args.text, replace=args.replace, newer=args.newer, overwrite=args.overwrite,
    )  # fmt: skip
    if merged.conflicts:
        print(merged.conflict_text())
    rows = Log(args.out).summary()
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    return {"splits": {row.pop("split"): row for row in rows}, "merged": merged.to_dict()}

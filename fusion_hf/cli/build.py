"""`fusion-hf build`: graded logs -> dataset repository folder."""

HELP = "graded logs -> dataset repository folder (Parquet, card, plot)"
EXAMPLE = "fusion-hf build graded.parquet --split train --out bench"
FIGURES = True


def arguments(add) -> None:
    add("logs", nargs="+", help="shards of `collect`, FusionBench folders, .parquet or .jsonl files")
    add("--out", required=True, help="FusionBench folder; splits that it holds and that are not given stay")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split (FusionBench folders "
        "keep their own splits without it)")  # fmt: skip
    add("--pool", help="pool file for the config `llms` (default: what the logs carry)")
    add("--templates", help="folder of `fusion-hf templates`, for the config `thought_templates`")
    add("--title", default="FusionBench", help="heading of the card (default: %(default)s)")
    add("--text", default="", help="paragraph under the heading (Markdown)")


def run(args):
    from ..llms.build import build
    from ..logs.store import summary

    build(args.logs, args.out, split=args.split, pool=args.pool, templates=args.templates, title=args.title,
          text=args.text)  # fmt: skip
    rows = summary(args.out)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    return {"splits": {row.pop("split"): row for row in rows}}

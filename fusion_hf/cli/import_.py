"""`fusion-hf import`: a public or private log -> FusionBench folder."""

from pathlib import Path

from ..errors import UserError
from . import print_json

HELP = "a public or private log -> FusionBench folder"
EXAMPLE = """fusion-hf import routerbench logs/routerbench --out bench
  fusion-hf import fusionbench ulab-ai/FusionBench --out bench
  fusion-hf import jsonl answers.jsonl --map query=prompt,llm=engine,performance=correct --task mine --out bench"""
FIGURES = True
FORMATS = sorted(
    file.stem.replace("_", "-")
    for file in (Path(__file__).parent.parent / "logs" / "importers").glob("*.py")
    if not file.stem.startswith("_")
)


def arguments(add) -> None:
    add("format", help=", ".join(FORMATS))
    add("path", help="file or folder in the publisher's format, gzip or not (fusionbench: or a Hub dataset id)")
    add("--out", required=True, help="FusionBench folder; rows are added to those that it holds")
    add("--replace", action="store_true", help="the imported splits take the place of those in --out")
    add("--newer", action="store_true", help="rows that differ from those of the same query, LLM and mode replace them")
    add("--overwrite", action="store_true", help="write into a folder that holds other things")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split")
    add("--task", help="task name, where the format has none")
    add("--map", metavar="COLUMN=KEY,…", help="jsonl: which key of the source holds a column of the log row")


def mapping_of(text: str | None) -> dict[str, str]:
    """``query=prompt,llm=engine`` as a dict."""
    pairs = [pair.split("=", 1) for pair in (text or "").split(",") if pair]
    for pair in pairs:
        if len(pair) < 2 or not all(part.strip() for part in pair):
            raise UserError(f"--map: expected COLUMN=KEY, such as query=prompt, found {'='.join(pair)!r}")
    return {column.strip(): key.strip() for column, key in pairs}


def run(args):
    from ..logs.importing import import_log

    result = import_log(
        args.format,
        args.path,
        args.out,
        split=args.split,
        task=args.task,
        mapping=mapping_of(args.map),
        replace=args.replace,
        newer=args.newer,
        overwrite=args.overwrite,
    )
    print_json(result)
    return result

"""`fusion-hf import`: a public or private log -> FusionBench folder."""

from ..plugins import names
from ._arguments import pair_list

FUNCTION = "import_log"
HELP = "a public or private log -> FusionBench folder"
EXAMPLE = """fusion-hf import routerbench logs/routerbench --out bench
  fusion-hf import fusionbench ulab-ai/FusionBench --out bench
  fusion-hf import jsonl answers.jsonl --map query=prompt,llm=engine,performance=correct --task mine --out bench"""


def arguments(add) -> None:
    add("format", help=", ".join(names("importers")) + ", or the path of a .py file")
    add("path", help="file or folder in the publisher's format, gzip or not (fusionbench: or a Hub dataset id)")
    add("--out", required=True, help="FusionBench folder; rows are added to those that it holds")
    add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split")
    add("--task", help="task name, where the format has none; or a YAML file that describes your task")
    add("--map", type=pair_list, metavar="COLUMN=KEY,…", help="which key of the source holds a column of the log row; "
        "a.b for the key b inside a")  # fmt: skip
    add("--scale", metavar="WORST-BEST", help="ratings of your own log are on this scale, such as 1-5 (default: 0-1)")
    add("--on-duplicate", choices=("first", "last", "rated", "mean", "error"), help="which of several rows of one "
        "query, LLM and mode stays; rated: the first with a score (default: first)")  # fmt: skip
    add("--title", help="heading of the card (default: that of the folder, else FusionBench)")
    add("--replace", action="store_true", help="the imported splits take the place of those in --out")
    add("--newer", action="store_true", help="rows that differ from those of the same query, LLM and mode replace them")
    add("--overwrite", action="store_true", help="write into a folder that holds other things")

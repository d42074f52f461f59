"""`fusion-hf compare`: the three levels on the same queries."""

from ._arguments import OVERWRITE, add_systems

HELP = "the three levels on the same queries"
EXAMPLE = "fusion-hf compare bench --routers router --thoughts templates=t.parquet --combine fusion --out report"


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id with train and test")
    add_systems(add)
    add("--combine", metavar="KIND", help="also train a router of this kind over the candidates of all levels")
    add("--encoder", help="text encoder of that router (default: that of the first of --routers)")
    add("--title", default="Three levels on the same queries", help="heading of the report (default: %(default)s)")
    add("--out", required=True, help="folder of report.html, .md, .json, .csv, .tex and the pictures")
    add("--overwrite", action="store_true", help=OVERWRITE)

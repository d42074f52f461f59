"""`fusion-hf demo`: every step on the embedded sample."""

HELP = "every step on the embedded sample"
EXAMPLE = "fusion-hf demo --out demo"


def arguments(add) -> None:
    add("--out", default="demo", help="folder for everything that the demo makes (default: %(default)s)")
    add("--overwrite", action="store_true", help="also a folder of your own: files of the demo's names are replaced")

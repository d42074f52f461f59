"""`fusion-hf static-encoder`: distil a text encoder into a table of token embeddings."""

from ._arguments import OVERWRITE

HELP = "distil a text encoder into a table of token embeddings, which is far faster"
EXAMPLE = "fusion-hf static-encoder offline --out static\n  fusion-hf train-router bench --encoder static --out router"


def arguments(add) -> None:
    add("encoder", help="the teacher: a Hub id or folder, or offline (extra `offline`)")
    add("--size", type=int, default=256, help="length of a vector (default: %(default)s)")
    add("--out", required=True, help="folder of the static encoder; a name for every --encoder")
    add("--overwrite", action="store_true", help=OVERWRITE)

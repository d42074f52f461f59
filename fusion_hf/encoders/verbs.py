"""`fusion_hf.static_encoder`: the functions of the commands that make encoders."""

from dataclasses import dataclass
from os import PathLike

from ..checks import check_count
from ..outputs import check_folder
from ..results import Result
from .encoder import TextEncoder
from .static_table import distil_static, save_static


@dataclass
class StaticEncoder(Result):
    """A table of token embeddings that was written to a folder."""

    out: str
    tokens: int
    size: int  # length of a vector

    def __str__(self) -> str:
        return f"static encoder, {self.tokens} tokens x {self.size}: {self.out}"


def static_encoder(
    encoder: str | TextEncoder, out: str | PathLike[str], size: int = 256, overwrite: bool = False
) -> StaticEncoder:
    """Distil a text encoder into a table of token embeddings, which is far faster.

    Args:
        encoder: The teacher: a Hub id or folder, ``offline`` (extra `offline`), or a loaded one.
        out: Folder of the static encoder; its path is then a name for every ``encoder=``.
        size: Length of a vector; at most the teacher's.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.
    """
    check_folder(out, "encoder", overwrite)
    check_count("size", size)
    table = distil_static(encoder, size, progress=True)
    save_static(table, out, overwrite)
    return StaticEncoder(str(out), len(table.tokenizer), table.size)

"""Which LLMs of a log to learn from: those that are named, and of these the small ones."""

from collections.abc import Collection
from os import PathLike

from ..errors import UserError
from ..logs.log import Log
from ..logs.select import small_llms
from .build import pool_rows
from .pool import Pool


def choose_llms(
    bench: str | PathLike[str],
    llms: Collection[str] | None = None,
    small: bool = False,
    pool: Pool | str | PathLike[str] | None = None,
) -> list[str] | None:
    """Names of the LLMs to learn from; None for all.

    Args:
        llms: Only these.
        small: Only the small ones, by the sizes in `pool`, else by those in the log's config ``llms``.
    """
    names = [llms] if isinstance(llms, str) else None if llms is None else list(llms)
    if not small:
        return names
    rows = Log(bench).about.llms if pool is None else pool_rows(pool)
    if not rows:
        raise UserError("small: expected the size of every LLM, found none: give a pool, the log has no config llms")
    found = small_llms({row["name"]: row["size"] for row in rows})
    return found if names is None else [name for name in names if name in found]

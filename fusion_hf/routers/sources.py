"""What the functions of commands are handed: a router or a log, by path, by Hub id, or as an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..encoders.cache import embed_cached
from ..errors import UserError
from ..logs.arrays import COLUMNS, RoutingData
from ..logs.log import Log, Source
from .base import Router
from .kind import load_router

RouterLike = str | PathLike[str] | Router
LogLike = Source | RoutingData | Mapping[str, RoutingData]


@dataclass(frozen=True)
class Part:
    """One split of a log.

    Attributes:
        data: Its arrays.
        table: Its rows, with responses where they were asked for; None where only arrays were given.
        llms: Rows of the pool that the log carries; None without.
    """

    data: RoutingData
    table: pa.Table | None
    llms: list[dict] | None


def open_router(router: RouterLike, trust_remote_code: bool = False) -> Router:
    """A router from a folder, a Hub id, or as it is."""
    return router if isinstance(router, Router) else load_router(str(router), trust_remote_code)


def splits_of(log: LogLike) -> tuple[str, ...]:
    """The splits of a log; empty for the arrays or rows of one split."""
    if isinstance(log, RoutingData):
        return ()
    return tuple(log) if isinstance(log, Mapping) else Log(log).splits


def open_part(log: LogLike, split: str, responses: bool = False) -> Part:
    """One split of a log; a log without splits is taken as it is.

    Args:
        log: What `Log` opens; or arrays, or a dict of arrays by split.
        split: The split.
        responses: Whether the responses are needed too.
    """
    if isinstance(log, Mapping) and all(isinstance(part, RoutingData) for part in log.values()):
        if split not in log:
            raise UserError(f"the log has no split {split!r}: expected one of {', '.join(map(str, log))}")
        log = log[split]
    if isinstance(log, RoutingData):
        return Part(log, None, None)
    handle = Log(log)
    table = handle.table(split if handle.splits else None, columns=None if responses else COLUMNS)
    return Part(RoutingData.from_table(table), table, handle.about.llms or None)


def held_out_split(log: LogLike) -> str:
    """``partial_test`` or ``test``, whichever the log has."""
    splits = splits_of(log)
    split = next((s for s in ("partial_test", "test") if s in splits), "test")
    if splits and split not in splits:
        raise UserError(
            f"{public_name(log) or 'the log'}: expected a split with queries that the router was not trained on, found "
            f"{', '.join(splits)}"
        )
    return split


def answers_of(part: Part) -> np.ndarray | None:
    """Final answers [n, m] of a part that was opened with responses; None where it holds none."""
    from .cascade.answers import log_answers

    if (
        part.table is None
        or "response" not in part.table.column_names
        or part.table["response"].null_count == len(part.table)
    ):
        return None
    return log_answers(part.table, part.data, progress=True)


def embeddings_of(router: Router, data: RoutingData) -> np.ndarray | None:
    """Embeddings of the queries by a router's encoder, from the cache; None for a router without one."""
    if router.encoder is None:
        return None
    return embed_cached(router.text_encoder, router.bare(data.queries), progress=True)


def public_name(path: object) -> str | None:
    """Name of a log or router that may be published: of a folder the last part, of an object none."""
    if isinstance(path, Log):
        path = path.path
    if not isinstance(path, str | PathLike):
        return None
    return Path(path).resolve().name if Path(path).exists() else str(path)


def hub_id(path: object) -> str | None:
    """The Hub id that a log was given by, if it was."""
    return str(path) if isinstance(path, str | PathLike) and not Path(path).exists() else None

"""The three levels on the same test queries, next to every anchor, with paired intervals."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ..encoders.encoder import TextEncoder
from ..errors import UserError
from ..logs.rewards import unseen_note, unseen_tasks
from .given import Logs, Routers, Source, named_routers, stated_logs
from .logged import AlignedLog, anchor_systems, join, log_systems, single_systems
from .routed import combination, encoder_of, router_systems
from .systems import LEVELS, Splits, System

__all__ = ["LEVELS", "Splits", "System", "gather"]


def gather(
    bench: str | PathLike[str] | Splits,
    routers: Routers | None = None,
    thoughts: Logs | None = None,
    models: Logs | None = None,
    logs: Logs | None = None,
    combine: str | None = None,
    out: str | PathLike[str] | None = None,
    encoder: str | TextEncoder | None = None,
) -> tuple[list[System], Splits, list[str]]:
    """Every system of a comparison, the splits that they were measured on, and notes on what was left out.

    Args:
        bench, routers, thoughts, models, logs, combine, encoder: See `fusion_hf.compare`; `bench` may be splits that
            were read already.
        out: Folder in which the router of `combine` is saved, as ``combined``.
    """
    splits = bench if isinstance(bench, Splits) else Splits.read(bench)
    others = read_logs(stated_logs(thoughts, models, logs), splits)
    systems, notes = gather_systems(splits, routers, others, combine, out, encoder)
    return systems, splits, notes


def gather_systems(
    splits: Splits,
    routers: Routers | None,
    others: Sequence[AlignedLog],
    combine: str | None = None,
    out: str | PathLike[str] | None = None,
    encoder: str | TextEncoder | None = None,
) -> tuple[list[System], list[str]]:
    """The systems and notes of `gather`, from logs that were read already."""
    joined, notes = join(splits, others)
    if unseen := unseen_tasks(splits.test.tasks, splits.train.tasks):
        notes.append(unseen_note(unseen))
    systems = [*anchor_systems(splits), *single_systems(splits)]
    named = named_routers(routers)
    for name, folder in named.items():
        systems += router_systems(name, folder, joined)
    for log in others:
        systems += log_systems(log)
    if combine is not None:
        if out is None:
            raise UserError("combine: expected a folder for the router of all levels, found none: give out")
        encoder = encoder_of(list(named.values())) if encoder is None else encoder
        systems += combination(combine, joined, Path(out) / "combined", encoder)
    twice = sorted({s.name for s in systems if sum(s.name == other.name for other in systems) > 1})
    if twice:
        raise UserError(f"two systems are called {twice[0]!r}: give each router and log a name of its own")
    return systems, notes


def read_logs(sources: Sequence[Source], splits: Splits) -> list[AlignedLog]:
    """Other logs beside the queries of the bench."""
    return [AlignedLog.align(source.name, source.level, source.read(), splits) for source in sources]

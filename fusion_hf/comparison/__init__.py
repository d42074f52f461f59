"""The three levels on the same test queries, next to every anchor, with paired intervals."""

from collections.abc import Sequence
from pathlib import Path

from ..encoders.encoder import TextEncoder
from ..errors import UserError
from ..logs.log import read_log
from .logged import AlignedLog, anchor_systems, join, log_systems, single_systems
from .measure import measure
from .render import write_report
from .report import draw_report
from .routed import combination, encoder_of, router_systems
from .systems import LEVELS, Splits, System

__all__ = ["LEVELS", "Splits", "System", "compare_bench", "gather"]


def gather(
    bench: str | Path | Splits,
    routers: Sequence[str] = (),
    logs: Sequence[str] = (),
    combine: str | None = None,
    out: str | Path | None = None,
    encoder: str | TextEncoder | None = None,
) -> tuple[list[System], Splits, list[str]]:
    """Every system of a comparison, the splits that they were measured on, and notes on what was left out.

    Args:
        bench, routers, logs, combine, encoder: See `compare_bench`; `bench` may be splits that were read already.
        out: Folder in which the router of `combine` is saved, as ``combined``.
    """
    splits = bench if isinstance(bench, Splits) else Splits.read(bench)
    others = read_logs(logs, splits)
    joined, notes = join(splits, others)
    systems = [*anchor_systems(splits), *single_systems(splits)]
    named = [item.split("=", 1) if "=" in item else (Path(item).name, item) for item in routers]
    for name, folder in named:
        systems += router_systems(name, folder, joined)
    for log in others:
        systems += log_systems(log)
    if combine is not None:
        if out is None:
            raise UserError("combine: expected a folder for the router of all levels, found none: give out")
        encoder = encoder_of([folder for _, folder in named]) if encoder is None else encoder
        systems += combination(combine, joined, Path(out) / "combined", encoder)
    twice = sorted({s.name for s in systems if sum(s.name == other.name for other in systems) > 1})
    if twice:
        raise UserError(f"two systems are called {twice[0]!r}: give each router and log a NAME= of its own")
    return systems, splits, notes


def read_logs(logs: Sequence[str], splits: Splits) -> list[AlignedLog]:
    """``NAME=LOG`` of each log, beside the queries of the bench."""
    return [AlignedLog.align(name, read_log(path), splits) for name, path in map(_named_log, logs)]


def _named_log(item: str) -> tuple[str, str]:
    if "=" not in item:
        raise UserError(f"--log {item}: expected NAME=LOG, found no '='")
    name, path = item.split("=", 1)
    return name, path


def compare_bench(
    bench: str | Path,
    routers: Sequence[str],
    logs: Sequence[str],
    out: str | Path,
    title: str = "Three levels on the same queries",
    combine: str | None = None,
    encoder: str | TextEncoder | None = None,
) -> dict:
    """Compare every system on the test split of `bench` and write the report.

    Args:
        bench: FusionBench folder or Hub id with the splits train and test. With partial_test, configurations are
            chosen on it; otherwise no choice among systems is reported.
        routers: ``[NAME=]FOLDER`` of trained routers (query level).
        logs: ``NAME=LOG`` of graded answers to the same queries (thought level when NAME begins with "thought" or the
            mode is thought, model level when it begins with "model" or the LLM is ``<base>+<adapter>``).
        out: Folder of ``report.html``, ``report.md``, ``report.json`` and, with matplotlib, ``report*.png``.
        title: Heading of the report.
        combine: Router kind that is trained over the candidates of the bench and of all logs together; it is saved as
            ``combined`` in `out`.
        encoder: Of that router; default: that of the first router, else all-MiniLM-L6-v2.

    Returns:
        The content of ``report.json``; null is what was not measured:

        - ``title``, ``notes``; ``queries`` of each split; ``in_train_and_test``, query texts that stand in both;
          ``best_single``, the candidate chosen on train; ``oracle_by_luck``, see `systems.luck`; ``domains``, the tasks
          of each.
        - ``systems``: NAME -> FIGURES over all test queries, and ``level``; ``validation`` and
          ``validation_cost_usd``, means over the validation queries; ``spec``, see `System`; ``calls``, share of the
          queries a candidate; ``rewards``, SCENARIO -> ``reward`` and ``ci95``; ``over_tasks``, FIGURES as means over
          tasks; ``by_domain`` and ``by_task``, FIGURES over the queries of each.
        - FIGURES: ``performance`` with ``ci95``, ``cost_usd``, ``tokens`` (in and out), ``judge`` and ``latency_s`` are
          means a query; ``vs_best_single`` (difference, se, low, high) and ``cost_ratio`` (ratio, low, high) compare
          with best single on the queries that both have; ``gap_recovered`` with ``gap_recovered_ci95`` is the share of
          what the per-query oracle has above best single; ``queries`` that have a score.
        - ``best_per_task``: TASK -> ``system``, ``level``, ``validation``, ``validation_queries``, ``test``,
          ``test_ci95``, ``best_single_test``, ``vs_best_single``, ``cost_ratio``; {} without validation.
        - ``pairs``: ``systems`` in order, ``win`` and ``tie``: shares of the queries on which the one of the row beats,
          or ties with, that of the column.
        - ``hulls``: corners of the hull of the ``singles`` and of ``all`` systems but the oracle.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    systems, splits, notes = gather(bench, routers, logs, combine, out, encoder)
    result = measure(systems, splits) | {"title": title, "notes": notes}
    write_report(draw_report(result, out), out)
    return result

"""Every router kind under one protocol: the table that a paper on routers needs."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ... import plugins
from ...encoders.encoder import DEFAULT_ENCODER
from ...errors import UserError
from ...logs.stats import number, paired
from ...outputs import atomic_folder, check_folder, write_text
from ...results import Result
from ..base import Router
from ..kind import get_kind, kind_name
from ..sources import LogLike, answers_of, open_part, public_name
from .anchors import ANCHORS
from .cross_validation import QUERIES, TASKS, HeldOut, held_out, line_of
from .text import cell, latex_table, table

HEAD = ("kind", "reward", "95 %", "gap recovered", "against best single", "p", "against {}", "p", "fit s")


@dataclass
class Leaderboard(Result):
    """Router kinds, the best first, on the same held-out queries.

    Attributes:
        log: Name of the log.
        scenario, folds, held_out, seeds, encoder, queries: The protocol. A query's reward is its mean over the seeds,
            each with folds of its own unless whole tasks are held out.
        reference: The kind that all others are compared with.
        kinds: Kind -> ``reward`` with ``se`` and ``ci95``, ``gap_recovered``, ``best_single`` and ``oracle`` on the
            same ``queries``; ``vs_best_single`` and ``vs_reference``: paired ``difference`` with ``low`` and ``high``
            (95 %), and ``p`` of a two-sided test, corrected over all kinds by Holm's method; ``fit_seconds``.
        anchors: Anchor -> ``reward`` and ``queries``.
        left_out: Kind -> why it could not be trained on this log.
    """

    log: str | None
    scenario: str
    folds: int
    held_out: str
    seeds: list[int]
    encoder: str
    queries: int
    reference: str
    kinds: dict[str, dict[str, Any]]
    anchors: dict[str, dict[str, Any]]
    left_out: dict[str, str]

    def table(self) -> list[dict[str, Any]]:
        """A row a kind, the best first."""
        flat = []
        for name, line in self.kinds.items():
            row = {"kind": name, **{k: v for k, v in line.items() if isinstance(v, int | float)}}
            row |= {f"ci95_{end}": v for end, v in zip(("low", "high"), line["ci95"], strict=True)}
            for other in ("vs_best_single", "vs_reference"):
                row |= {f"{other}_{k}": v for k, v in (line[other] or {}).items()}
            flat.append(row)
        return flat

    def __str__(self) -> str:
        notes = [f"{self.protocol()}."]
        notes += [f"{name} is left out: {why}" for name, why in self.left_out.items()]
        return "\n\n".join([table(self._head(), self._rows()), "\n".join(notes)])

    def protocol(self) -> str:
        """How it was measured, in a sentence."""
        folds = f"{self.folds}-fold cross-validation"
        if self.held_out == TASKS:
            folds = f"each of {self.folds} tasks held out in turn"
        return (
            f"{folds}, {len(self.seeds)} seeds, {self.queries} queries of "
            f"{self.log or 'the log'}, trade-off {self.scenario}, encoder {self.encoder}; 95 % bootstrap intervals "
            "over queries; p by paired two-sided tests with Holm's correction"
        )

    def _head(self) -> list[str]:
        return [name.format(self.reference) for name in HEAD]

    def _rows(self) -> list[list[str]]:
        rows = []
        for name, line in self.kinds.items():
            low, high = line["ci95"]
            row = [name, cell(line["reward"]), f"{cell(low)} to {cell(high)}", cell(line["gap_recovered"], "{:.1%}")]
            for other in ("vs_best_single", "vs_reference"):
                gap = line[other]
                row += ["", ""] if gap is None else [cell(gap["difference"], "{:+.4f}"), cell(gap["p"], "{:.2g}")]
            rows.append([*row, cell(line["fit_seconds"], "{:.2f}")])
        return rows + [[n, cell(a["reward"]), *[""] * (len(HEAD) - 2)] for n, a in self.anchors.items()]

    def markdown(self) -> str:
        """The table with its protocol as Markdown."""
        return f"# Router kinds\n\n{self}\n"

    def latex(self) -> str:
        """The table for a paper (package booktabs)."""
        caption = f"Router kinds: {self.protocol()}."
        return f"% needs \\usepackage{{booktabs}}\n{latex_table(caption, self._head(), self._rows())}\n"

    def to_csv(self) -> str:
        """The rows of `table` as CSV."""
        rows, out = self.table(), io.StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()


def leaderboard(
    log: LogLike,
    *,
    kind: str | type[Router] | Sequence[str | type[Router]] | None = None,
    reference: str = "fusion",
    encoder: str = DEFAULT_ENCODER,
    split: str = "train",
    folds: int | str = 5,
    seeds: int = 3,
    scenario: str = "performance",
    task_labels: bool = True,
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
) -> Leaderboard:
    """Every router kind under one protocol: repeated cross-validation, paired tests, one correction.

    Args:
        log: See `fusion_hf.train_router`.
        kind: A kind or several; None takes every kind and every plug-in kind. One that cannot be trained on this log
            is left out, and the result says why.
        reference: The kind that the others are compared with; it is added to `kind` where it is missing.
        encoder: Text encoder, see `fusion_hf.train_router`; of a language model each fold chooses the layer.
        split: The split that is cut into folds.
        folds: Number of folds; or ``tasks`` to hold out each task in turn, as a task that training never saw.
        seeds: Number of seeds; each has folds of its own, unless tasks are held out.
        scenario: ``performance``, ``balance``, ``cost`` or ``judge``.
        task_labels: Whether the routers may see the log's task names.
        out: Folder of ``leaderboard.md``, ``.csv``, ``.tex`` and ``.json``; None writes nothing.
        overwrite: Also write into a folder that holds something else.

    Raises:
        UserError: No kind can be trained on this log, or it cannot be measured in that scenario.
    """
    if out is not None:
        check_folder(out, "leaderboard", overwrite)
    if seeds < 1:
        raise UserError(f"seeds: expected at least 1, found {seeds}")
    every = [name for name in plugins.names("routers") if name not in ANCHORS]
    kinds = every if kind is None else [kind] if isinstance(kind, str | type) else list(kind)
    kinds += [] if reference in map(kind_name, kinds) else [reference]
    reads_answers = any(get_kind(k).needs_answers for k in kinds)
    part = open_part(log, split, reads_answers)
    runs = [
        held_out(
            part.data, kinds, folds, scenario, encoder, task_labels, seed, True, llms=part.llms, tolerant=True,
            answers=answers_of(part) if reads_answers else None,
        )
        for seed in range(seeds)
    ]  # fmt: skip
    figures = _figures(runs, reference)
    count = runs[0].folds
    held = TASKS if folds == TASKS else QUERIES
    result = Leaderboard(public_name(log), scenario, count, held, list(range(seeds)), encoder, **figures)
    if out is not None:
        _write(result, out, overwrite)
    return result


def _figures(runs: Sequence[HeldOut], reference: str) -> dict[str, Any]:
    failed = {name: why for run in runs for name, why in run.failed.items()}
    names = [name for name in runs[0].fit_seconds if name not in failed]
    if not names:
        raise UserError(f"no kind can be trained on this log: {next(iter(failed.values()))}")
    if reference not in names:
        raise UserError(f"reference: {reference} cannot be trained on this log: {failed[reference]}")
    got = {name: np.mean([run.rewards[name] for run in runs], 0) for name in (*names, *ANCHORS)}
    lines = {}
    for name in names:
        lines[name] = line_of(got[name], got["best-single"], got["oracle"])
        lines[name]["fit_seconds"] = float(np.mean([np.mean(run.fit_seconds[name]) for run in runs]))
        for key, other in (("vs_best_single", "best-single"), ("vs_reference", reference)):
            lines[name][key] = None if other == name else _gap(got[name], got[other])
    for key in ("vs_best_single", "vs_reference"):
        gaps = [line[key] for line in lines.values() if line[key] is not None]
        for gap, p in zip(gaps, holm([g["p"] for g in gaps]), strict=True):
            gap["p"] = p
    order = sorted(names, key=lambda n: (-(lines[n]["reward"] or 0.0), n))
    return {
        "queries": int((~np.isnan(got["oracle"])).sum()),
        "reference": reference,
        "kinds": {name: lines[name] for name in order},
        "anchors": {name: {"reward": number(np.nanmean(got[name])), "queries": int((~np.isnan(got[name])).sum())}
                    for name in ANCHORS},
        "left_out": failed,
    }  # fmt: skip


def _gap(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    """Paired difference with its interval, and p of the two-sided test that there is none (normal approximation)."""
    gap = paired(a, b)
    same = not gap["se"] > 0
    p = 1.0 if same and not gap["difference"] else math.erfc(abs(gap["difference"]) / gap["se"] / math.sqrt(2))
    return {k: number(gap[k]) for k in ("difference", "low", "high")} | {"p": p}


def holm(ps: Sequence[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down method (Scandinavian Journal of Statistics, 1979)."""
    order, corrected, largest = np.argsort(ps, kind="stable"), [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = largest
    return corrected


def _write(result: Leaderboard, out: str | PathLike[str], overwrite: bool) -> None:
    text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n"
    files = {"md": result.markdown(), "csv": result.to_csv(), "tex": result.latex(), "json": text}
    with atomic_folder(out, "leaderboard", overwrite) as folder:
        for suffix, content in files.items():
            write_text(Path(folder, f"leaderboard.{suffix}"), content)

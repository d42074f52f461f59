"""`fusion_hf.compare`, `fusion_hf.autofuse` and `fusion_hf.export`: the functions of these commands."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ..encoders.encoder import TextEncoder
from ..fused import Thoughts
from ..llms.pool import Pool
from ..outputs import atomic_folder, check_file, check_folder, mark_folder
from ..results import Result, jsonable
from . import gather
from .autofuse import fuse
from .export import export_file
from .given import Logs, Routers, named_routers, stated_logs
from .measure import measure
from .render import terminal, write_report
from .report import build_report, draw_report
from .systems import Splits
from .verdicts import format_fusion

_SHOWN = (
    "accuracy", "gain_at_r", "gain_at_b", "gap_at_o", "cost_save", "perf_gain", "arena_score", "optimal_selection",
)  # fmt: skip


@dataclass
class Comparison(Result):
    """Every system on the same test queries.

    Attributes:
        out: Folder of the report.
        report: The content of ``report.json``, which is what `to_dict` gives. Null is what was not measured:

            - ``title``, ``notes``; ``queries`` of each split; ``in_train_and_test``, query texts that stand in both;
              ``best_single``, the candidate chosen on train; ``oracle_by_luck``, see `systems.luck`; ``domains``, the
              tasks of each.
            - ``systems``: NAME -> FIGURES over all test queries, and ``level``; ``validation`` and
              ``validation_cost_usd``, means over the validation queries; ``spec``, see `System`; ``calls``, share of
              the queries a candidate; ``rewards``, SCENARIO -> ``reward`` and ``ci95``; ``over_tasks``, FIGURES as
              means over tasks; ``by_domain`` and ``by_task``, FIGURES over the queries of each.
            - FIGURES: ``performance`` with ``ci95``, ``cost_usd``, ``tokens`` (in and out), ``judge`` and ``latency_s``
              are means a query; ``vs_best_single`` (difference, se, low, high) and ``cost_ratio`` (ratio, low, high)
              compare with best single on the queries that both have; ``gap_recovered`` with ``gap_recovered_ci95`` is
              the share of what the per-query oracle has above best single; ``queries`` that have a score.
            - ``best_per_task``: TASK -> ``system``, ``level``, ``validation``, ``validation_queries``, ``test``,
              ``test_ci95``, ``best_single_test``, ``vs_best_single``, ``cost_ratio``; {} without validation.
            - ``pairs``: ``systems`` in order, ``win`` and ``tie``: shares of the queries on which the one of the row
              beats, or ties with, that of the column.
            - ``hulls``: corners of the hull of the ``singles`` and of ``all`` systems but the oracle.
    """

    out: str
    report: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return jsonable(self.report)

    def table(self) -> list[dict[str, Any]]:
        """A row a system, with its figures over all test queries."""
        names = ("level", "performance", "cost_usd", "tokens", "judge", "latency_s", "gap_recovered", "validation")
        return [{"system": s, **{n: row[n] for n in names}} for s, row in self.report["systems"].items()]

    def __str__(self) -> str:
        return f"{terminal(build_report(self.report))}\n\nAll of it: {Path(self.out, 'report.html')}"


@dataclass
class Fused(Result):
    """What `autofuse` chose, and what that scores on test.

    Attributes:
        out: Folder of the fused system.
        choice: ``{"tasks": {TASK: {"system", "level", "incumbent", "performance", "queries", "gain", "gain_se",
            "gain_seen", "gain_queries", "test": {"performance", "best_single", "difference", "low", "high", "verdict",
            "cost_usd", "best_single_cost_usd", "queries"}}}, "test": {the same over all queries, "over_tasks",
            "best_single_over_tasks", "recognised": {"tasks": SHARE, "performance"}}, "best_single": ID, "better":
            [TASK], "not separated": [TASK], "worse": [TASK], "notes": [TEXT]}``, which is what `to_dict` gives. The
            first fields of a task are those of `winners.Winner`. ``recognised`` is for queries whose task is not
            given: how often it is recognised, and what the system scores.
    """

    out: str
    choice: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The choice, with the figures."""
        return jsonable(self.choice)

    def table(self) -> list[dict[str, Any]]:
        """A row a task: the configuration, and its figures on test."""
        rows = self.choice["tasks"].items()
        return [{"task": t, "system": e["system"], "level": e["level"], **(e["test"] or {})} for t, e in rows]

    def __str__(self) -> str:
        return format_fusion(self.choice)


@dataclass
class Exported(Result):
    """A file in the format of another benchmark.

    Attributes:
        rows: Queries, or with ``systems`` systems.
        systems: LLMRouterBench's figures, see `scores.router_scores`; None in the other formats.
    """

    out: str
    format: str
    rows: int
    systems: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """``format``, ``rows`` and, of LLMRouterBench, ``systems``."""
        more = {} if self.systems is None else {"systems": jsonable(self.systems)}
        return {"format": self.format, "rows": self.rows, **more}

    def __str__(self) -> str:
        lines = []
        for name, scores in (self.systems or {}).items():
            shown = ((key, scores["average"][key]) for key in _SHOWN)
            lines.append(f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in shown if value is not None)}")
        return "\n".join([*lines, f"{self.rows} {'queries' if self.systems is None else 'systems'} -> {self.out}"])


def compare(
    bench: str | PathLike[str] | Splits,
    out: str | PathLike[str],
    routers: Routers | None = None,
    thoughts: Logs | None = None,
    models: Logs | None = None,
    logs: Logs | None = None,
    combine: str | None = None,
    encoder: str | TextEncoder | None = None,
    title: str = "Three levels on the same queries",
    overwrite: bool = False,
) -> Comparison:
    """Compare every system on the test split of `bench` and write the report.

    Args:
        bench: FusionBench folder or Hub id with the splits train and test. With partial_test, configurations are
            chosen on it; otherwise no choice among systems is reported.
        out: Folder of ``report.html``, ``.md``, ``.json``, ``.csv``, ``.tex`` and, with matplotlib, the pictures.
        routers: Trained routers (query level): folders by name, or folders, which are then named by themselves.
        thoughts: Graded answers to the same queries by LLMs with thought templates (thought level): logs by name.
        models: The same by LLMs that were trained on answers (model level).
        logs: The same by any other LLM.
        combine: Router kind that is trained over the candidates of the bench and of all logs together; it is saved as
            ``combined`` in `out`.
        encoder: Of that router; default: that of the first router, else all-MiniLM-L6-v2.
        title: Heading of the report.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.
    """
    folder = check_folder(out, "report", overwrite)
    stated_logs(thoughts, models, logs)  # what is wrong there is told before anything is read
    mark_folder(folder, "report")
    systems, splits, notes = gather(bench, routers, thoughts, models, logs, combine, folder, encoder)
    result = measure(systems, splits) | {"title": title, "notes": notes}
    with atomic_folder(folder, "report") as new:
        write_report(draw_report(result, new), new)
    return Comparison(str(out), result)


def autofuse(
    bench: str | PathLike[str],
    pool: Pool | str | PathLike[str],
    out: str | PathLike[str],
    routers: Routers | None = None,
    thoughts: Logs | None = None,
    models: Logs | None = None,
    logs: Logs | None = None,
    templates: Mapping[str, str | PathLike[str] | Thoughts] | str | PathLike[str] | Thoughts | None = None,
    k: int = 3,
    adapters: Sequence[str | PathLike[str]] = (),
    base: str | None = None,
    combine: str | None = None,
    encoder: str | TextEncoder | None = None,
    overwrite: bool = False,
) -> Fused:
    """For every task the configuration to trust, chosen on train and validation, as one system; then its test scores.

    Args:
        bench: FusionBench folder or Hub id with train, partial_test (validation) and test.
        pool: How the LLMs are reached: a pool file, or a pool. LLMs that it lacks are taken from the pools that the
            collector left beside its logs; configurations that need an LLM which is in none are left out, and the notes
            say so.
        out: Folder of the fused system.
        routers, thoughts, models, logs, combine, encoder: See `compare`.
        templates: Thought templates by LLM, or of every LLM, where the folder of its log does not say how it was asked.
        k: So many templates before a query.
        adapters: Folders that `fusion_hf.distill` wrote.
        base: Name of their base in the pool; None reads it from each folder.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.

    Raises:
        UserError: There is no validation split, or no configuration can be reached.
    """
    check_folder(out, "fused", overwrite)
    given = templates if isinstance(templates, Mapping) else {} if templates is None else {"": templates}
    shown = {llm: t if isinstance(t, Thoughts) else Thoughts(str(t), k) for llm, t in given.items()}
    sources = stated_logs(thoughts, models, logs)
    settings = {
        "routers": named_routers(routers), "thoughts": thoughts, "models": models, "logs": logs,
        "pool": pool if isinstance(pool, (str, PathLike)) else None,
        "templates": {llm: t.templates for llm, t in shown.items()}, "k": k, "adapters": list(map(str, adapters)),
        "base": base, "combine": combine, "encoder": encoder if isinstance(encoder, str) else None,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        gathered = gather(bench, routers, thoughts, models, logs, combine, temporary, encoder)
        choice = fuse(bench, gathered, out, pool, sources, shown, list(map(str, adapters)), base, overwrite, settings)
    return Fused(str(out), choice)


def export(
    format: str,
    bench: str | PathLike[str] | Splits,
    out: str | PathLike[str],
    routers: Routers | None = None,
    thoughts: Logs | None = None,
    models: Logs | None = None,
    logs: Logs | None = None,
    system: str | None = None,
    split: str = "test",
    overwrite: bool = False,
) -> Exported:
    """Write a file in the format of another benchmark.

    Args:
        format: ``routerarena``: RouterArena's prediction file (JSON) of one system; ``routerbench``: RouterBench's wide
            table (CSV) of all candidates; ``llmrouterbench``: LLMRouterBench's figures and RouterArena's score (JSON)
            of all systems.
        bench, routers, thoughts, models, logs: See `compare`.
        out: The file.
        system: Whose choices stand in the prediction file, as the comparison calls it; default: the only router, in
            the scenario performance.
        split: Of the wide table; the other formats are of the test split.
        overwrite: Replace `out` where it exists.
    """
    check_file(out, overwrite)
    sources = stated_logs(thoughts, models, logs)
    return Exported(str(out), format, *export_file(format, bench, Path(out), routers, sources, system, split))

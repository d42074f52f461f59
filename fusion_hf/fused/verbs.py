"""`fusion_hf.ask` and `fusion_hf.collect`: the functions of the commands that ask LLMs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import Any

from ..checks import check_amount, check_choice, check_count, check_seed
from ..errors import UserError
from ..llms.collect import ENGINES, collect_tasks
from ..llms.pool import Pool, load_pool
from ..llms.record import Summary
from ..llms.requests import Plan
from ..logs.store import SPLITS
from ..outputs import check_folder, mark_folder
from ..results import Result, jsonable
from ..routers.chats import Chat, as_texts
from ..tasks import TASKS
from ..tasks.modes import MODES, PLAIN_MODES, RETRIEVED_MODES
from ..terminal import say
from .answer import FusedAnswer
from .asking import Thoughts, remember
from .choice import FusedDecision
from .system import FusedSystem

Place = str | PathLike[str]


@dataclass
class FusedAnswers(Result):
    """Answers of a fused system, or who would answer.

    Attributes:
        queries: The texts that were asked.
        answers: One for each query; [] where only the plan was asked for.
        decisions: Who answers each query, and what the log lets one expect of it.
    """

    queries: list[str]
    answers: list[FusedAnswer]
    decisions: list[FusedDecision] = field(metadata={"json": False})

    def to_dict(self) -> Any:
        """A list with a dict for each query: its answer, or the decision."""
        return [jsonable(item.to_dict()) for item in self.answers or self.decisions]

    def table(self) -> list[dict[str, Any]]:
        """A row a query."""
        rows = [{"query": q, **d.to_dict()} for q, d in zip(self.queries, self.decisions, strict=True)]
        for row, answer in zip(rows, self.answers, strict=False):
            row |= {"text": answer.text, "error": answer.error, "paid": answer.cost}
        return rows

    def __str__(self) -> str:
        if self.answers:
            return "\n".join(f"[{a.decision.candidate}] {a.text if a.error is None else a.error}" for a in self.answers)
        lines = []
        for query, d in zip(self.queries, self.decisions, strict=True):
            cost = "cost not known" if d.cost is None else f"{d.cost:.3g} USD"
            asked = " ".join(query[:80].split())
            lines.append(f"{d.candidate}\t{d.task}, by {d.system}: {d.performance:.3f}, {cost}\t{asked}")
        return "\n".join(lines)


@dataclass
class Collected(Result):
    """What a run of the collector did, or what it would cost.

    Attributes:
        out: Folder of the shards.
        figures: Of a `Summary` or, of a dry run, of a `Plan`. This is what `to_dict` gives.
        dry_run: Whether nothing was asked.
    """

    out: str
    figures: dict[str, Any]
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """The figures."""
        return jsonable(self.figures)


def ask(
    fused: Place | FusedSystem,
    queries: Sequence[str | Chat] | str,
    task: str | None = None,
    plan: bool = False,
    scenario: str | None = None,
    max_cost: float | None = None,
    candidates: Collection[str] | None = None,
    pool: Pool | Place | None = None,
    keys: Collection[str] | None = None,
    max_usd: float | None = None,
) -> FusedAnswers:
    """Answer queries by a fused system: each by the configuration that won on its task.

    Args:
        fused: Folder of `autofuse`, a Hub id, or a `FusedSystem`.
        queries: Texts or chats.
        task: Of the queries; default: it is recognised.
        plan: Only say who would answer.
        scenario: Another trade-off: ``performance``, ``balance`` or ``cost``.
        max_cost: USD that one answer may be expected to cost.
        candidates: Choose among these only.
        pool: A pool of your own, in place of the system's.
        keys: API keys that the system's own pool may have sent, each as ``VARIABLE=HOST``.
        max_usd: Stop before this much is spent.
    """
    check_amount("max_cost", max_cost)
    check_amount("max_usd", max_usd)
    queries = [queries] if isinstance(queries, str) else list(queries)
    if not isinstance(fused, FusedSystem):
        fused = FusedSystem.from_pretrained(fused, pool=pool, keys=keys)
    elif pool is not None:
        fused = FusedSystem(fused.folder, load_pool(pool) if isinstance(pool, (str, PathLike)) else pool)
    how: dict[str, Any] = {"scenario": scenario, "max_cost": max_cost, "candidates": candidates}
    texts = as_texts(queries)
    if plan:
        return FusedAnswers(texts, [], fused.plan(queries, task, **how))
    answers = fused(queries, task, **how, max_usd=max_usd)
    return FusedAnswers(texts, answers, [answer.decision for answer in answers])


def collect(
    pool: Pool | Place,
    tasks: Sequence[str] | str,
    out: Place,
    split: str = "train",
    limit: int | None = None,
    modes: Sequence[str] | None = None,
    templates: Place | None = None,
    k: int = 3,
    max_words: int | None = None,
    asked: str = "direct",
    source: Place | None = None,
    prompt_version: str = "plain",
    seed: int = 0,
    max_usd: float | None = None,
    concurrency: int | None = None,
    engine: str = "asyncio",
    dry_run: bool = False,
    overwrite: bool = False,
) -> Collected:
    """Ask every LLM of a pool the queries of tasks, in every mode; the same call resumes.

    Args:
        pool: LLMs, prices, how to reach them: a pool file, or a pool.
        tasks: Names, or paths of files that define a task; ``all``.
        out: Folder of append-only shards.
        split: ``train``, ``partial_test`` or ``test`` of each task.
        limit: Queries of each task; default: all of them.
        modes: Any of ``direct``, ``think``, ``thought`` and ``fewshot``; default: direct and think, which asks and pays
            twice.
        templates: Thought templates (folder or Hub id): mode ``thought`` puts their plans before each query, and
            mode ``fewshot`` the questions with their right answers.
        k: In these modes, templates before a query.
        max_words: In these modes, drop the least similar templates of a longer prompt.
        asked: In these modes, how the query behind them is asked: ``direct``, or ``think``, which asks for steps. Some
            LLMs that reason of their own answer at once behind templates.
        source: Rows in the columns of the task's source, instead of the Hub: a file, or a folder of files named by
            split; for several tasks a folder with one of these in ``<task>/``.
        prompt_version: ``paper``: the published prompts, whose example of an answer weak LLMs copy; ``plain``: the same
            without it.
        seed: Draws the queries of `limit`.
        max_usd: Stop before this much is spent.
        concurrency: Requests at once for an endpoint; default: what its backend says.
        engine: ``asyncio``, or ``ray``: Ray Data on a cluster (extra ray).
        dry_run: Only say what it costs.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.
    """
    for name, value in (("limit", limit), ("max_words", max_words), ("concurrency", concurrency)):
        check_count(name, value, optional=True)
    check_count("k", k)
    check_seed(seed)
    check_amount("max_usd", max_usd)
    check_choice("split", split, SPLITS)
    check_choice("engine", engine, ENGINES)
    chosen = tuple(modes or PLAIN_MODES)
    retrieved = _retrieved(chosen, templates)
    if asked != "direct" and templates is None:
        raise UserError("asked: only modes thought and fewshot use it, found no templates")
    check_folder(out, "answers", overwrite)
    known = load_pool(pool) if isinstance(pool, (str, PathLike)) else pool
    named = [tasks] if isinstance(tasks, str) else list(tasks)
    thoughts = None if templates is None else Thoughts(str(templates), k, asked, max_words)
    if not dry_run:
        mark_folder(out, "answers")
    if thoughts is not None and not dry_run:
        for llm in known:
            remember(out, llm, thoughts)
    result: Summary | Plan = collect_tasks(
        known, list(TASKS) if named == ["all"] else named, split=split, limit=limit, out=out, modes=chosen,
        source=source, seed=seed, max_usd=max_usd, concurrency=concurrency, dry_run=dry_run, engine=engine,
        prompt_version=prompt_version, announce=_both_modes if modes is None else None,
        prompts={mode: partial(thoughts.prompts, mode=mode) for mode in retrieved if thoughts},
    )  # fmt: skip
    return Collected(str(out), result.to_dict(), dry_run)


def _retrieved(modes: Sequence[str], templates: Place | None) -> list[str]:
    """Those of the modes that retrieve templates, which are given exactly where one does."""
    for mode in modes:
        check_choice("modes", mode, MODES)
    found = [mode for mode in modes if mode in RETRIEVED_MODES]
    if templates is None and found:
        raise UserError(f"modes: {found[0]} needs thought templates, found none: give templates")
    if templates is not None and not found:
        raise UserError(f"templates: only modes thought and fewshot use them, found modes {', '.join(modes)}")
    return found


def _both_modes(plan: Plan) -> None:
    """Say what the default of two modes costs."""
    asked = sum(plan.by_mode.values())
    if asked and plan.usd_most != 0:
        most = "a price that is not known" if plan.usd_most is None else f"at most {plan.usd_most:.4g} USD"
        say(
            f"every query is asked in two modes, direct and think: {asked} requests, {most}; modes=direct asks half of "
            "them"
        )

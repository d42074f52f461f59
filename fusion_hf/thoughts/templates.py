"""Thought templates: a short reusable plan for every query of a log that some LLM solved (arXiv 2507.10540)."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from ..encoders.encoder import DEFAULT_ENCODER
from ..errors import UserError
from ..made import log_record
from ..made import made as how_made
from ..outputs import atomic_folder
from .extract import ExtractiveSummariser
from .rows import COLUMNS
from .select import candidates_of, select_answers
from .solved import Draft, Solved, Summariser
from .summarise import RESPONSE_TOKENS, SAMPLING, LLMSummariser
from .worked import WorkedExamples

if TYPE_CHECKING:
    from datasets import Dataset


WITHOUT_LLM: dict[str, type] = {"extractive": ExtractiveSummariser, "worked": WorkedExamples}


class Templates(NamedTuple):
    """What `make_templates` returns.

    Attributes:
        dataset: `datasets.Dataset` with `COLUMNS`, a row a template.
        counts: ``{"read", "kept", "dropped": {reason: n}, "unchecked", "retried"}`` and `Drafts.usage`; read = kept +
            all dropped. ``unchecked`` templates come from queries without a reference answer: no leak could
            be looked for.
    """

    dataset: Any
    counts: dict[str, Any]


def make_templates(
    table: pa.Table,
    summariser: Summariser | str = "extractive",
    select: str = "perf",
    top_k: int = 3,
    *,
    threshold: float = 0.5,
    llms: Collection[str] | None = None,
    **running: Any,
) -> Templates:
    """Make a thought template from the right answers to every query of a log.

    Pass the train split: a template of a test query would give the test away.

    Args:
        table: A log with responses.
        summariser: ``extractive`` or ``worked`` (see `WorkedExamples`), which need no LLM, or a `Summariser` such as
            `LLMSummariser`.
        select: Which answers: ``perf``, ``judge`` or ``hybrid``; see `select_answers`.
        top_k: How many answers the summariser is shown.
        threshold: An answer counts as right from this performance on (0..1).
        llms: Learn from these LLMs only.
        **running: Options of the collector: ``max_usd``, ``concurrency``, ``progress`` and so on.

    Returns:
        The templates and the counts. Queries that nobody solved get no template.

    Raises:
        UserError: The log cannot give templates, or no query got one.
    """
    if isinstance(summariser, str):
        if summariser not in WITHOUT_LLM:
            known = " or ".join(map(repr, WITHOUT_LLM))
            raise UserError(f"summariser: expected {known} or a Summariser, found {summariser!r}")
        summariser = WITHOUT_LLM[summariser]()
    assert not isinstance(summariser, str)
    solved, unsolved = solved_queries(table, summariser, select, top_k, threshold, llms)
    read = len(solved) + sum(unsolved.values())
    drafts, usage = summariser.drafts(solved, **running)

    dropped = Counter(unsolved)
    seen: set[tuple[str, str]] = set()
    rows: list[dict[str, Any]] = []
    unchecked = 0
    for item, draft in zip(solved, drafts, strict=True):
        of = item.key if getattr(summariser, "repeats", False) else item.task
        same = (of, " ".join(draft.text.split()).casefold()) if draft.text else None
        if same is None or same in seen:
            dropped[str(draft.reason) if same is None else "duplicate in its task"] += 1
            continue
        seen.add(same)
        rows.append(_row(item, draft, summariser))
        unchecked += not any(reference.strip() for reference in item.ground_truth)
    counts = {"read": read, "kept": len(rows), "dropped": dict(dropped), "unchecked": unchecked}
    counts |= {"retried": sum(draft.retried for draft in drafts), **usage}
    if not rows:
        reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common())
        raise UserError(f"no template could be made of {read} queries: {reasons}")
    return Templates(_dataset(rows), counts)


def solved_queries(
    table: pa.Table,
    summariser: Summariser,
    select: str = "perf",
    top_k: int = 3,
    threshold: float = 0.5,
    llms: Collection[str] | None = None,
) -> tuple[list[Solved], dict[str, int]]:
    """What a summariser is shown of a log, and why the other queries have nothing to show (reason -> queries)."""
    selection = select_answers(table, select, None if summariser.sees_all else top_k, threshold, llms)
    rule = select if summariser.sees_all else f"{select}:{top_k}"
    return _solved(table, selection.answers, rule), selection.dropped


def _solved(table: pa.Table, answers: dict[str, list[int]], rule: str) -> list[Solved]:
    first = table.select(["task", "query", "ground_truth", "metric"])
    first = first.take(pa.array([rows[0] for rows in answers.values()], pa.int64())).to_pylist()
    result = []
    for (key, rows), row in zip(answers.items(), first, strict=True):
        texts = table["response"].take(pa.array(rows, pa.int64())).to_pylist()
        result.append(Solved(key, answers=texts, candidates=candidates_of(table, rows), rule=rule, **row))
    return result


def _row(item: Solved, draft: Draft, summariser: Summariser) -> dict[str, Any]:
    used = [item.candidates[draft.answer]] if summariser.sees_all else item.candidates
    return {
        "query_id": item.key,
        "task": item.task,
        "query": item.query,
        "template": draft.text,
        "answer": item.answers[draft.answer],
        "candidates": used,
        "rule": item.rule,
        "summariser": summariser.name,
        "prompt_version": summariser.prompt_version,
    }


def _dataset(rows: list[dict[str, Any]]) -> "Dataset":
    from datasets import Dataset, Features, List, Value

    features = {name: Value("string") for name in COLUMNS} | {
        "query": Value("large_string"),
        "answer": Value("large_string"),
        "candidates": List(Value("string")),
    }
    return Dataset.from_list(rows, features=Features(features))


def build_templates(
    bench: str | Path,
    out: str | Path,
    model: str = "extractive",
    pool: Any = None,
    select: str = "perf",
    top_k: int = 3,
    encoder: str = DEFAULT_ENCODER,
    split: str = "train",
    threshold: float = 0.5,
    llms: Collection[str] | None = None,
    response_tokens: int = RESPONSE_TOKENS,
    dry_run: bool = False,
    overwrite: bool = False,
    **running: Any,
) -> dict[str, Any]:
    """Make the templates of a FusionBench, embed them, and save them with their index to `out`.

    Args:
        model: ``extractive``, ``worked`` (right answers as they are, for few-shot prompts), or an LLM of the pool file
            `pool`, whose replies are kept in ``<out>.replies`` so that the same command resumes after a kill.
        response_tokens: The LLM is shown at most so many tokens of each response.
        dry_run: Only price it; nothing is asked, and nothing is written.
        overwrite: Also where `out` holds something else; see `fusion_hf.outputs`.
        **running: Options of the collector; see `make_templates`, also for the other arguments.

    Returns:
        The counts of `make_templates`; of a dry run ``read``, ``dropped`` and the `Plan` of the collector.
    """
    from ..logs.log import read_log
    from .index import TemplateIndex, check_encoder

    check_encoder(encoder)
    table = read_log(bench, split)
    if model in WITHOUT_LLM:
        summariser: Summariser = WITHOUT_LLM[model]()
    else:
        summariser = _llm_summariser(model, pool, out, response_tokens)
    if dry_run:
        solved, dropped = solved_queries(table, summariser, select, top_k, threshold, llms)
        plan = summariser.plan(solved) if isinstance(summariser, LLMSummariser) else {"usd_input": 0.0, "usd_most": 0.0}
        return {"read": len(solved) + sum(dropped.values()), "dropped": dropped, "plan": plan}
    made = make_templates(table, summariser, select, top_k, threshold=threshold, llms=llms, **running)
    settings = {
        "model": model, "pool": None if model in WITHOUT_LLM else pool, "select": select, "top_k": top_k,
        "threshold": threshold, "llms": llms, "split": split, "response_tokens": response_tokens, "encoder": encoder,
    }  # fmt: skip
    training = how_made(settings, log_record(table), "transformers", "torch", "numpy")
    if isinstance(summariser, LLMSummariser):
        llm = summariser.llm
        training["llm"] = {"model": llm.model_id, "backend": llm.backend}
        training["llm"] |= {name: llm.options[name] for name in SAMPLING if name in llm.options}
    with atomic_folder(out, "templates", overwrite) as new:
        TemplateIndex.build(made.dataset, encoder, training).save_pretrained(new)
    return made.counts


def _llm_summariser(model: str, pool: Any, out: str | Path, response_tokens: int = RESPONSE_TOKENS) -> LLMSummariser:
    from ..llms.pool import Pool, load_pool

    if pool is None:
        raise UserError(f"model {model!r}: expected a pool that names it, found none: give a pool, or use extractive")
    known = pool if isinstance(pool, Pool) else load_pool(pool)
    return LLMSummariser(known.get_llm(model), Path(f"{Path(out)}.replies"), response_tokens)

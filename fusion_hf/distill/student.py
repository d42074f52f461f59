"""What was trained, as one more candidate: asked by the collector, graded by the graders, and added to the log."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..llms.collect import Summary, collect
from ..llms.pool import LLM, Pool
from ..llms.prepare import check_paid
from ..llms.requests import Request, messages_of
from ..logs.card import About
from ..logs.log import Log, read_log
from ..logs.schema import KEY
from ..logs.stats import bootstrap_ci, paired
from ..logs.store import LLMS
from ..tasks.modes import MODES, PLAIN_MODES
from .base_model import read_base
from .merge import merge

QUERY = ("query_id", "task", "source_id", "query", "ground_truth", "metric")
MAX_TOKENS = 1024


def student_llm(
    folder: str | PathLike[str],
    base: str | None = None,
    pool: Pool | None = None,
    backend: str = "transformers",
    merged: str | PathLike[str] | None = None,
) -> LLM:
    """The pool's entry for an adapter or model folder; its name is ``<base>+<folder>``.

    Args:
        folder: What `fusion_hf.distill.sft` or `on_policy` wrote.
        base: Name of the base model in the log; None takes its folder or Hub id's last part.
        pool: Where the base's prices, size and options stand; without an entry there the costs stay unknown.
        backend: ``transformers`` or ``vllm``; vLLM is given the merged model.
        merged: Where to write the merged model if it is needed (default: beside the folder, ``<folder>-merged``).

    Raises:
        UserError: The folder holds neither an adapter nor a model, or `base` is not in the pool.
    """
    folder = Path(folder)
    adapter = folder / "adapter_config.json"
    if not adapter.is_file() and not (folder / "config.json").is_file():
        raise UserError(f"{folder}: expected an adapter or a model that fusion_hf.distill wrote, found neither")
    model, options = str(folder), {}
    if adapter.is_file():
        model = read_base(folder)
        if backend == "vllm":
            merged = Path(merged or f"{folder}-merged")
            model = str(merge(folder, merged)) if not (merged / "config.json").is_file() else str(merged)
        else:
            options = {"adapter": str(folder)}
    base = base or Path(_base_of(folder)).name
    known = pool.get_llm(base) if pool is not None else LLM(base, "small", None, None, backend=backend)
    asked = {"max_tokens": MAX_TOKENS, "temperature": 0.0}
    asked |= {k: v for k, v in known.options.items() if k in ("max_tokens", "temperature", "top_p", "stop")}
    return replace(
        known, name=f"{base}+{folder.resolve().name}", backend=backend, model=model, base_url=None, api_key_env=None,
        description=f"{base}, taught by many LLMs. {known.description}".strip(), options=asked | options,
    )  # fmt: skip


def _base_of(folder: Path) -> str:
    report = folder / "train_report.json"
    if report.is_file():
        return json.loads(report.read_text(encoding="utf-8"))["model"]
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        return read_base(folder)
    raise UserError(f"{folder} does not say what it was trained from: give its name as base")


def ask_student(
    bench: str | PathLike[str],
    llm: LLM,
    out: str | PathLike[str],
    splits: Sequence[str] | None = None,
    modes: Sequence[str] = PLAIN_MODES,
    limit: int | None = None,
    **options,
) -> Summary:
    """Ask `llm` the queries of a FusionBench and keep the answers in `out`; the same call resumes.

    Args:
        bench: FusionBench folder.
        splits: Default: all that it has, so that routers can learn about the student too.
        modes: ``direct``, ``think`` or both.
        limit: At most so many queries of each task and split (those with the first ids, the same every time).
        **options: See `fusion_hf.llms.collect.collect_async`. An LLM that is not free of charge needs ``max_usd``.
    """
    check_paid(llm, options.get("max_usd"))
    rows = _queries(bench, splits or Log(bench).splits, limit)
    return collect(Pool([llm]), list(_requests(rows, llm.name, modes)), out, **options)


def _queries(bench: str | PathLike[str], splits: Sequence[str], limit: int | None) -> list[dict]:
    found: dict[str, dict] = {}
    for split in splits:
        rows = {row["query_id"]: row for row in read_log(bench, split, columns=QUERY).to_pylist()}
        taken: dict[str, int] = {}
        for name in sorted(rows):
            taken[rows[name]["task"]] = taken.get(rows[name]["task"], 0) + 1
            if limit is None or taken[rows[name]["task"]] <= limit:
                found[name] = rows[name]
    return list(found.values())


def _requests(rows: list[dict], llm: str, modes: Sequence[str]) -> Iterator[Request]:
    for mode in modes:
        for row in rows:
            yield Request(**row, llm=llm, mode=mode, messages=messages_of(row["query"], mode))


def add_to_bench(bench: str | PathLike[str], answers: str | PathLike[str], llm: LLM, out: str | PathLike[str]) -> Path:
    """Write the FusionBench again with the student's answers in it; `out` may be `bench` itself.

    Args:
        answers: Folder that `ask_student` filled.
        llm: For the config ``llms``.
    """
    table = read_log(answers)
    table = table.filter(pc.equal(table["llm"], llm.name))

    def with_student(old: pa.Table) -> pa.Table:
        old = old.filter(pc.not_equal(old["llm"], llm.name))
        new = table.filter(pc.is_in(table["query_id"], value_set=pc.unique(old["query_id"])))
        return pa.concat_tables([old, new])

    about = About(llms=[{name: getattr(llm, name, None) for name in LLMS.names}])
    return Log(bench).map(with_student).write(out, replace=True, about=about)


def measure(bench: str | PathLike[str], student: str, base: str, split: str = "test") -> list[dict]:
    """What a student scores on a split, beside its base on the same queries, mode by mode.

    Returns:
        One dict a mode: ``{"split", "mode", "queries", "performance", "base", "difference", "ci95", "by_task": {task:
        {"queries", "performance", "base", "difference", "ci95"}}}``. ``ci95`` is the 95 % bootstrap interval of the
        paired difference, or of the performance where the log does not have the base (then ``base`` and
        ``difference`` are None).
    """
    table = read_log(bench, split, columns=[*KEY, "task", "performance"])
    scores = {
        (llm, mode): dict(zip(part["query_id"].to_pylist(), part["performance"].to_pylist(), strict=True))
        for llm in (student, base)
        for mode in MODES
        for part in [table.filter(pc.and_(pc.equal(table["llm"], llm), pc.equal(table["mode"], mode)))]
    }
    task = dict(zip(table["query_id"].to_pylist(), table["task"].to_pylist(), strict=True))
    results = []
    for mode in MODES:
        queries = sorted(q for q, p in scores[student, mode].items() if p is not None)
        if queries:
            of = {t: [q for q in queries if task[q] == t] for t in sorted({task[q] for q in queries})}
            both = (scores[student, mode], scores[base, mode])
            result = {"split": split, "mode": mode, **_beside(queries, *both)}
            results.append(result | {"by_task": {t: _beside(rows, *both) for t, rows in of.items()}})
    if not results:
        raise UserError(f"{bench} has no graded answer of {student!r} in split {split!r}: ask it first")
    return results


def _beside(queries: list[str], student: dict, base: dict) -> dict:
    ours = np.array([student[q] for q in queries], float)
    theirs = np.array([np.nan if base.get(q) is None else base[q] for q in queries], float)
    row = {"queries": len(queries), "performance": float(ours.mean()), "base": None, "difference": None}
    if np.isnan(theirs).any():
        return row | {"ci95": list(bootstrap_ci(ours)[1:])}
    gap = paired(ours, theirs)
    row |= {"base": float(theirs.mean()), "difference": gap["difference"]}
    return row | {"ci95": [gap["low"], gap["high"]]}

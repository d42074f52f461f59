"""`fusion_hf.sft_data`, `merge` and `eval_student`: the functions of the commands of the model level."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from .. import hub
from ..checks import check_amount, check_choice, check_count
from ..errors import UserError
from ..llms.choose import choose_llms
from ..llms.pool import Pool, load_pool
from ..llms.record import outcome
from ..logs.log import Log, read_log
from ..logs.store import local_path
from ..made import log_record, made
from ..outputs import check_folder, mark_folder, write_text
from ..results import Result, jsonable
from ..tasks.modes import PLAIN_MODES
from . import merge as merging
from .dataset import FORMATS, hold_out, preference_dataset, save, sft_dataset
from .report import REPORT, RESULTS, write_adapter_card
from .select import Choice
from .student import add_to_bench, ask_student, measure, student_llm

Place = str | PathLike[str]


@dataclass
class TrainingData(Result):
    """Training data that was written to a folder.

    Attributes:
        read, kept, dropped: Log rows (of preference data: prompts), and why rows were left out: reason -> number.
        by_task, by_teacher, by_rejected: Rows of each task, of each LLM that teaches, and of each that was rejected.
        validation: Rows of the split validation.
        pushed: URL of the commit on the Hub.
        dataset: What was written, as a `datasets.Dataset` (the split train).
    """

    out: str
    read: int
    kept: int
    dropped: dict[str, int]
    by_task: dict[str, int]
    by_teacher: dict[str, int]
    validation: int
    by_rejected: dict[str, int] | None = None
    pushed: str | None = None
    dataset: Any = field(default=None, repr=False, metadata={"json": False})

    def to_pandas(self) -> Any:
        """The training rows."""
        return self.dataset.to_pandas()


@dataclass
class MergedModel(Result):
    """A model with its adapter merged into the weights."""

    out: str

    def __str__(self) -> str:
        return self.out


@dataclass
class StudentEvaluation(Result):
    """What a trained model scores beside its base.

    Attributes:
        student: Its name in the log.
        results: One dict a mode, see `student.measure`; [] where the run ended before every query was asked.
        run: Figures of the collector.
    """

    student: str
    results: list[dict[str, Any]]
    run: dict[str, Any]

    def table(self) -> list[dict[str, Any]]:
        """A row a mode and task, and one a mode for all tasks."""
        names = ("queries", "performance", "base", "difference", "ci95")
        return [
            {"mode": r["mode"], "task": task, **{n: row[n] for n in names}}
            for r in self.results
            for task, row in [("all", r), *r["by_task"].items()]
        ]

    def __str__(self) -> str:
        lines = []
        for result in self.results:
            lines.append(f"{self.student}, {result['mode']} mode, {result['split']}: {_line(result)}")
            lines += [f"  {task:<16} {_line(row)}" for task, row in result["by_task"].items()]
        return "\n".join(lines) or f"{self.student}: {outcome(self.run)[1]}"


def sft_data(
    bench: Place,
    out: Place,
    select: str = "perf",
    format: str = "sft",
    top_k: int = 5,
    hybrid_keep: int | None = None,
    tie: str = "cost",
    threshold: float = 0.5,
    near: float = 0.8,
    min_agreement: int | None = None,
    small: bool = False,
    llms: Collection[str] | None = None,
    task_cap: int | None = None,
    max_rows: int | None = None,
    weights: Mapping[str, float] | None = None,
    split: str = "train",
    exclude: Sequence[Place | pa.Table] = (),
    holdout: float = 0.0,
    tokenizer: str | None = None,
    pool: Pool | Place | None = None,
    push: str | None = None,
    overwrite: bool = False,
) -> TrainingData:
    """The best answers of a log as training data: SFT, or preference pairs. ``load_dataset`` and TRL read the folder.

    Queries of the log's other splits, and near-duplicates of them, are left out.

    Args:
        bench: FusionBench folder or Hub id, with responses.
        out: Folder of the dataset.
        select: Rule: ``perf``, ``judge``, ``hybrid``, or ``baseline`` (reference answers).
        format: ``sft``, or ``preference`` (best against worst, for DPO).
        top_k: Answers of one query.
        hybrid_keep: Answers that ``hybrid`` keeps of the top k; default: three fifths of them.
        tie: Of equal scores, the cheaper (``cost``) or the shorter (``length``) answer.
        threshold: Answers below this score are wrong.
        near: Similarity of near-duplicates, 0 to 1; 1 means equal.
        min_agreement: A letter or True/False needs so many candidates that gave it.
        small, llms: Only the small LLMs of the pool, or only these, teach.
        task_cap: At most so many rows of each task.
        max_rows: At most so many rows, shared among tasks by `weights`.
        weights: Weight of tasks or domains.
        split: What to learn from.
        exclude: Further logs whose queries are left out.
        holdout: Share of the queries for a split ``validation``.
        tokenizer: Count tokens with this tokenizer; default: what the log says.
        pool: Where the sizes stand, for `small`; default: the config llms of the log.
        push: Also push the folder to this dataset repository of the Hub.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.

    Raises:
        UserError: An option that is out of its bounds, or no answer is left.
    """
    check_folder(out, "training data", overwrite)
    check_choice("format", format, FORMATS)
    choice = Choice(
        select=select, top_k=top_k, hybrid_keep=hybrid_keep, tie=tie, threshold=threshold, min_agreement=min_agreement,
        llms=choose_llms(bench, llms, small, pool), near=near, task_cap=task_cap, max_rows=max_rows,
        weights=dict(weights or {}),
    )  # fmt: skip
    count_tokens = _counter(tokenizer)
    table, others = read_log(bench, split), queries_to_exclude(bench, split, exclude)
    if format == "preference":
        dataset, counts = preference_dataset(table, choice, others)
    else:
        dataset, counts = sft_dataset(table, choice, others, count_tokens)
    dataset, validation = hold_out(dataset, holdout)
    counts["validation"] = 0 if validation is None else len(validation)
    names = [log if isinstance(log, (str, PathLike)) else None for log in _each(exclude)]
    settings = {**vars(choice), "format": format, "split": split, "exclude": names, "holdout": holdout}
    training = made({**settings, "tokenizer": tokenizer}, log_record(table), "datasets", "numpy")
    save(dataset, counts, out, validation, tokenizer, overwrite, training)
    if push is not None:
        counts["pushed"] = hub.push(out, push)
    return TrainingData(out=str(out), dataset=dataset, **counts)


def queries_to_exclude(bench: Place, split: str, more: Sequence[Place | pa.Table] = ()) -> pa.Table | None:
    """Queries of a log's other splits and of further logs, which training data must not hold: query_id and query."""
    columns, log = ["query_id", "query"], Log(bench)
    tables = [log.table(other, columns=columns) for other in log.splits if other != split]
    tables += [read_log(log, columns=columns) for log in _each(more)]
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _each(logs: Sequence[Place | pa.Table] | Place | pa.Table) -> Sequence[Place | pa.Table]:
    return [logs] if isinstance(logs, (str, PathLike, pa.Table)) else logs


def _counter(tokenizer: str | None) -> Any:
    if tokenizer is None:
        return None
    from transformers import AutoTokenizer

    try:
        encode = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"tokenizer: {tokenizer} cannot be loaded: {str(error).splitlines()[0]}") from error
    return lambda texts: [len(ids) for ids in encode(texts, add_special_tokens=False)["input_ids"]]


def merge(
    adapter: Place, out: Place, base: Place | None = None, dtype: str = "auto", overwrite: bool = False
) -> MergedModel:
    """Merge a LoRA adapter into its base: one plain model folder that any server loads.

    Args:
        adapter: Folder that `fusion_hf.distill.sft` wrote with ``--use_peft``.
        out: Folder of the model.
        base: Folder or Hub id of the base; default: what the adapter says.
        dtype: Of the weights; ``auto`` keeps the base's.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.
    """
    return MergedModel(str(merging.merge(adapter, out, None if base is None else str(base), dtype, overwrite)))


def eval_student(
    bench: Place,
    student: Place,
    logs: Place,
    out: Place,
    base: str | None = None,
    pool: Pool | Place | None = None,
    backend: str = "transformers",
    splits: Sequence[str] | None = None,
    modes: Sequence[str] = PLAIN_MODES,
    limit: int | None = None,
    max_usd: float | None = None,
    split: str = "test",
    overwrite: bool = False,
) -> StudentEvaluation:
    """Ask a trained model the queries of the log, and add it there as ``<base>+<adapter>``.

    Args:
        bench: FusionBench folder or Hub id.
        student: Folder of the adapter or model that `fusion_hf.distill` wrote; the figures go onto its card.
        logs: Folder of its answers; the same call resumes.
        out: FusionBench folder to write; may be the one that was read.
        base: Name of the base model in the log and the pool; default: the base's folder or Hub id.
        pool: The base's prices and options; without it costs are unknown.
        backend: Who serves it: ``transformers`` or ``vllm``.
        splits: Which splits are asked; default: all, so that routers can learn about it.
        modes: ``direct``, ``think`` or both.
        limit: At most so many queries of each task and split.
        max_usd: Stop before the answers cost this much.
        split: Of the figures.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.
    """
    check_count("limit", limit, optional=True)
    check_amount("max_usd", max_usd)
    check_choice("backend", backend, ("transformers", "vllm"))
    for mode in modes:
        check_choice("modes", mode, PLAIN_MODES)
    folder, student = local_path(bench), Path(student)
    if Path(out).resolve() != folder.resolve():
        check_folder(out, "log", overwrite)
    pool = load_pool(pool) if isinstance(pool, (str, PathLike)) else pool
    llm = student_llm(student, base, pool, backend)
    run = ask_student(folder, llm, logs, splits, modes, limit, max_usd=max_usd).to_dict()
    if outcome(run)[0]:
        return StudentEvaluation(llm.name, [], run)
    mark_folder(out, "log")
    add_to_bench(folder, logs, llm, out)
    results = measure(out, llm.name, llm.name.partition("+")[0], split)
    write_text(student / RESULTS, json.dumps(jsonable(results), indent=1) + "\n")
    if (student / REPORT).is_file():
        write_adapter_card(student)
    return StudentEvaluation(llm.name, results, run)


def _line(row: dict[str, Any]) -> str:
    text = f"{row['performance']:.3f} on {row['queries']} queries"
    low, high = row["ci95"]
    if row["difference"] is None:
        return f"{text} [{low:.3f}, {high:.3f}]"
    return f"{text}, base {row['base']:.3f}, difference {row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"

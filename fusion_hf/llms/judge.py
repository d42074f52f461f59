"""An LLM judges the answers of a log: asked like any LLM of a pool, resumable, within a budget."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..logs.collected import JUDGE
from ..logs.judgements import add_judgements, judgement_id, judgement_ids, read_judgements, reasons, write_unscored
from ..logs.log import Log, Source
from ..logs.schema import candidate_id
from ..tasks import rubric
from .collect import collect, plan
from .pool import LLM, Pool, load_pool
from .requests import Request, with_defaults

COLUMNS = ("query_id", "task", "query", "ground_truth", "llm", "mode", "response")


def judge_log(
    log: Source,
    model: str,
    pool: Pool,
    out: str | Path | None = None,
    dry_run: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Let `model` score every response of a log in 0..1 (see `fusion_hf.tasks.rubric`).

    The judgements are rows of the collector in a folder of their own: ``LOGS/judge`` for a folder of the collector,
    which then counts as judged wherever it is read, else ``<out>.judge``. There the same command resumes, and
    ``unscored.jsonl`` says of each row that has no score why.

    Args:
        log: Anything that `Log` opens.
        model: Name of the judge in `pool`. Its options count; those of `rubric.SAMPLING` where it has none.
        pool: Where the judge is, and its prices.
        out: Where the judged log goes: a folder for a FusionBench folder, else a file. Only a folder of the collector
            needs none.
        dry_run: Only price it.
        **options: See `fusion_hf.llms.collect.collect_async`.

    Returns:
        ``read == kept + sum(dropped.values())`` rows of the log: with a score, or without by reason (``no_response``,
        ``no_answer_tag``, ``not_a_number``, a kind of error, ``not_asked``); ``clamped``, ``judge`` (mean score) and
        ``by_candidate``; and what the run did (see `Summary`) in ``run``. A dry run returns the `Plan`.

    Raises:
        UserError: An unknown judge, nothing to judge, no place for the result, or judgements of another judge there.
    """
    log = Log(log)
    _check_out(log, out)
    rows = pa.concat_tables(list(log.as_collected().parts(COLUMNS).values()))
    if rows["response"].null_count == rows.num_rows:
        raise UserError(f"{log.path}: expected responses to judge, found none")
    judge = judge_llm(pool.get_llm(model))
    folder = log.path / JUDGE if log.collected else Path(f"{out}.{JUDGE}")
    _check_folder(folder, judge)
    if dry_run:
        return plan(Pool([judge]), judge_requests(rows, judge), folder).to_dict()
    total = rows.num_rows - rows["response"].null_count
    summary = collect(Pool([judge]), judge_requests(rows, judge), folder, total=total, **options)
    judgements, ids = read_judgements(folder), judgement_ids(rows)
    write_unscored(rows, ids, judgements, folder)
    if out is not None:
        log.map(lambda table: add_judgements(table, judgements)).write(out, replace=True)
    return {"judge_model": judge.name, **_figures(rows, ids, judgements), "run": summary.to_dict()}


def judge_requests(table: pa.Table, judge: LLM) -> Iterator[Request]:
    """A request for each response of a log table. `source_id` says which row: query_id, LLM and mode."""
    for batch in table.select(COLUMNS).to_batches(1000):
        for row in batch.to_pylist():
            if row["response"] is not None:
                of = f"{row['query_id']}/{row['llm']}/{row['mode']}"
                chat = rubric.judge_messages(row["query"], row["ground_truth"], row["response"])
                yield Request(
                    judgement_id(row), row["task"], of, row["query"], row["ground_truth"], rubric.NAME, judge.name,
                    "direct", chat,
                )  # fmt: skip


def judge_llm(llm: LLM) -> LLM:
    """The LLM with the options that a judge is asked with."""
    return with_defaults(llm, rubric.SAMPLING)


def _check_out(log: Log, out: str | Path | None) -> None:
    if out is not None:
        log.check_out(out, other=True)
    elif not log.collected:
        raise UserError(f"{log.path}: expected out for the judged log, found none (only shards do without)")


def _check_folder(folder: Path, judge: LLM) -> None:
    """One judge a folder: two would overwrite each other in the log."""
    if (folder / "pool.yaml").exists():
        names = list(load_pool(folder / "pool.yaml"))
        if names != [judge.name]:
            raise UserError(
                f"{folder} holds judgements by {names[0]}, expected {judge.name}: remove the folder to judge anew"
            )


def _figures(rows: pa.Table, ids: pa.Array, judgements: pa.Table) -> dict[str, Any]:
    scored, why = reasons(ids, judgements)
    place = pc.index_in(ids, value_set=judgements["id"].combine_chunks())
    score = judgements["score"].combine_chunks().take(place)
    table = pa.table({"llm": rows["llm"], "mode": rows["mode"], "judge": score})
    means = table.group_by(["llm", "mode"]).aggregate([("judge", "mean"), ("judge", "count")])
    return {
        "read": rows.num_rows,
        "kept": int(scored.sum()),
        "dropped": dict(Counter(why.filter(pa.array(~scored)).to_pylist())),
        "clamped": pc.sum(pc.and_(pa.array(scored), pc.fill_null(pc.equal(why, "clamped"), False))).as_py() or 0,
        "judge": pc.mean(score).as_py(),
        "by_candidate": {
            candidate_id(r["llm"], r["mode"]): {"judge": r["judge_mean"], "judged": r["judge_count"]}
            for r in means.sort_by([("llm", "ascending"), ("mode", "ascending")]).to_pylist()
        },
    }

"""The three levels on the same queries: configurations are chosen on one half of them and measured on the other."""

import contextlib
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import fusion_hf
from examples.real_llms.packages import LLMS
from fusion_hf.comparison.verbs import Comparison
from fusion_hf.fused import Thoughts
from fusion_hf.llms.pool import Pool
from fusion_hf.llms.recosting import recost
from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.schema import candidate_id

LIVE = 5  # test queries of each task that the fused system is asked


def compare(log: Path, work: Path, tasks: list[str]) -> Comparison:
    """`fusion_hf.compare` over the queries of `tasks` that every LLM answered, as ``comparison`` in `work`.

    Args:
        log: The folder ``log`` of the run.
        work: Where the bench, the router and the report are written.
    """
    return fusion_hf.compare(out=work / "comparison", title="Three levels on real LLMs", **_gather(log, work, tasks))


def fuse(log: Path, work: Path, tasks: list[str], pool: Pool, templates: dict[str, Thoughts]) -> str:
    """`fusion_hf.autofuse` over the same, then the system's own answers to some test queries; also as ``fused.md``.

    Args:
        log, work, tasks: See `compare`.
        pool: LLMs that can be asked now, those of the thought level by names of their own.
        templates: What stands before the queries of those.
    """
    given = _gather(log, work, tasks)
    out = work / "fused"
    made = fusion_hf.autofuse(pool=pool, out=out, templates=templates, overwrite=True, **given)
    parts = ["# The fused system on real LLMs", str(made), *_asked(given, out, pool, work / "fused-answers")]
    text = "\n\n".join(parts) + "\n"
    (work / "fused.md").write_text(text, encoding="utf-8")
    return text


def _asked(given: dict[str, Any], fused: Path, pool: Pool, kept: Path) -> list[str]:
    """What the system answers when it is asked, beside what the logs have for the LLM that it chose."""
    table = fusion_hf.read_log(given["bench"], "test")
    logged = [row for log in (table, *given["thoughts"].values(), *given["models"].values()) for row in log.to_pylist()]
    lines = ["| task | asked | right | in the log |", "|---|---|---|---|"]
    seen = {(row["query_id"], candidate_id(row["llm"], row["mode"])): row["performance"] for row in logged}
    with contextlib.closing(fusion_hf.FusedSystem.from_pretrained(fused, pool=pool)) as system:
        for task in table["task"].unique().to_pylist():
            rows = {row["query_id"]: row for row in table.filter(pc.equal(table["task"], task)).to_pylist()}
            rows = list(rows.values())[:LIVE]
            answers = system([row["query"] for row in rows], task, folder=kept)
            failed = [a.error for a in answers if a.error is not None]
            if failed:
                raise SystemExit(f"the fused system did not answer {len(failed)} queries of {task}: {failed[0]}")
            mine = [row | {"response": a.text} for row, a in zip(rows, answers, strict=True)]
            right = grade_table(pa.Table.from_pylist(mine, table.schema))["performance"].to_pylist()
            known = [seen[row["query_id"], a.decision.candidate] for row, a in zip(rows, answers, strict=True)]
            asked = ", ".join(sorted({a.decision.candidate for a in answers}))
            lines.append(f"| {task} | {asked} | {sum(right):g} of {len(rows)} | {sum(known):g} of {len(rows)} |")
    return ["The first test queries of each task, asked through the system while the servers ran:", "\n".join(lines)]


def _gather(log: Path, work: Path, tasks: list[str]) -> dict[str, Any]:
    """Arguments of `compare` and `autofuse`: a bench, a router, and the answers of the two other levels.

    Settings and students that did not answer all queries are left out, and named. Of the test queries one half by
    their hash becomes the validation split. A router is trained on the answers to train queries. Students of several
    groups of tasks that learned from the same kind of answer are one candidate, and each setting is an LLM of its own.
    """
    train, test = (_all(log / split) for split in ("train", "test"))
    thoughts = {p.name: _as(_answers(p), f"+{p.name}") for p in _folders(log / "thoughts")}
    models = _students(log / "students")
    known = set(_candidates(train)) & set(_candidates(test))
    if not known:
        raise SystemExit("expected answers of an LLM to train and to test queries in one mode, found none")
    train, test = (t.filter(pa.array([c in known for c in _candidates(t)])) for t in (train, test))
    alone = [test.filter(pa.array([c == name for c in _candidates(test)])) for name in sorted(known)]
    shared = _shared([table.filter(pc.is_in(table["task"], pa.array(tasks))) for table in alone])
    if not shared:
        raise SystemExit(f"expected queries of {', '.join(tasks)} that every LLM answered, found none")
    for logs in (thoughts, models):
        for name in [name for name, table in logs.items() if shared - _shared([table])]:
            print(f"left out, for not every query was answered: {name}", flush=True)
            del logs[name]
    test = _of(test, shared)
    first = pa.array([int(q, 16) % 2 == 0 for q in test["query_id"].to_pylist()])
    train = train.filter(pc.is_in(train["task"], test["task"].unique()))
    splits = {"train": train, "partial_test": test.filter(first), "test": test.filter(pc.invert(first))}
    bench = fusion_hf.write_bench(splits, work / "comparison-bench", replace=True)
    router = work / "comparison-router"
    shutil.rmtree(router, ignore_errors=True)
    fusion_hf.train_router(bench, "fusion", out=router, encoder="none")
    return {
        "bench": bench,
        "routers": {"router": router},
        "thoughts": {name: _of(t, shared) for name, t in thoughts.items()},
        "models": {name: _of(t, shared) for name, t in models.items()},
    }


def _folders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.glob("*")) if list(p.glob("shard-*"))]


def _answers(folder: Path) -> pa.Table:
    """What was answered in a folder, with prices set by size."""
    table = fusion_hf.read_log(folder)
    table = table.filter(pc.is_null(table["error"]))
    names = table["llm"].unique().to_pylist()
    return recost(table, Pool([LLMS[name.split("+")[0]].llm(name, backend="transformers") for name in names]))


def _as(table: pa.Table, ending: str) -> pa.Table:
    """The answers under another name of their LLM."""
    names = pa.array([name + ending for name in table["llm"].to_pylist()])
    return table.set_column(table.column_names.index("llm"), "llm", names)


def _all(folder: Path) -> pa.Table:
    found = [_answers(p) for p in _folders(folder)]
    if not found:
        raise SystemExit(f"{folder}: expected answers, found none: run the step collect with --train-limit")
    return pa.concat_tables(found)


def _candidates(table: pa.Table) -> list[str]:
    return [candidate_id(*pair) for pair in zip(table["llm"].to_pylist(), table["mode"].to_pylist(), strict=True)]


def _students(folder: Path) -> dict[str, pa.Table]:
    """Answers of students by what they learned from; a folder is called GROUP-WHAT."""
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for path in _folders(folder):
        what = path.name.split("-", 1)[1]
        table = _answers(path)
        names = pa.array([f"student ({what})"] * len(table))
        parts[what].append(table.set_column(table.column_names.index("llm"), "llm", names))
    return {f"student ({what})": pa.concat_tables(found) for what, found in parts.items()}


def _shared(tables: list[pa.Table]) -> set[str]:
    return set.intersection(*(set(table["query_id"].to_pylist()) for table in tables))


def _of(table: pa.Table, queries: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table["query_id"], pa.array(sorted(queries))))

"""The three levels on the same queries: configurations are chosen on one half of them and measured on the other."""

import shutil
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import fusion_hf
from fusion_hf.comparison.verbs import Comparison
from fusion_hf.logs.schema import candidate_id


def compare(log: Path, work: Path, tasks: list[str]) -> Comparison:
    """`fusion_hf.compare` over the queries of `tasks` that every LLM answered, as ``comparison`` in `work`.

    Settings and students that did not answer all of them are left out, and named. Of the test queries one half by
    their hash becomes the validation split. A router is trained on the answers to train queries. Students of several
    groups of tasks that learned from the same kind of answer are one candidate.

    Args:
        log: The folder ``log`` of the run.
        work: Where the bench, the router and the report are written.
    """
    train, test = (_all(log / split) for split in ("train", "test"))
    thoughts = {p.name: _answers(p) for p in _folders(log / "thoughts")}
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
    return fusion_hf.compare(
        bench, work / "comparison", routers={"router": router}, title="Three levels on real LLMs",
        thoughts={name: _of(t, shared) for name, t in thoughts.items()},
        models={name: _of(t, shared) for name, t in models.items()},
    )  # fmt: skip


def _folders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.glob("*")) if list(p.glob("shard-*"))]


def _answers(folder: Path) -> pa.Table:
    table = fusion_hf.read_log(folder)
    return table.filter(pc.is_null(table["error"]))


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

"""A comparison in the formats of other benchmarks: RouterArena, RouterBench, LLMRouterBench."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.log import read_log
from ..logs.rewards import pick
from ..logs.schema import candidate_id
from ..outputs import atomic_file, write_text
from . import gather_systems, read_logs
from .given import Routers, Source
from .logged import AlignedLog, join
from .scores import router_scores
from .systems import Splits, System

FORMATS = ("routerarena", "routerbench", "llmrouterbench")
NOBODY = "no_model_correct"  # as RouterBench says it
_ANSWERS = ("query_id", "source_id", "llm", "mode", "response", "input_tokens", "output_tokens")


def export_file(
    form: str,
    bench: str | PathLike[str] | Splits,
    out: Path,
    routers: Routers | None,
    sources: Sequence[Source],
    system: str | None,
    split: str,
) -> tuple[int, dict | None]:
    """See `fusion_hf.export`; returns the number of rows and, of LLMRouterBench, the figures of each system."""
    if form not in FORMATS:
        raise UserError(f"unknown format {form!r}: expected one of {', '.join(FORMATS)}")
    splits = bench if isinstance(bench, Splits) else Splits.read(bench)
    others = read_logs(sources, splits)
    if form == "routerbench":
        return write_routerbench(splits, sources, others, out, split), None
    systems = gather_systems(splits, routers, others)[0]
    if form == "routerarena":
        return write_routerarena(_chosen(systems, system), splits, sources, out), None
    joined, _ = join(splits, others, learn=False)
    scores = router_scores(systems, splits, joined)
    result = {"format": form, "rows": len(scores), "systems": scores}
    write_text(out, json.dumps(result, indent=1) + "\n")
    return len(scores), scores


def _chosen(systems: Sequence[System], name: str | None) -> System:
    able = {s.name: s for s in systems if s.picked is not None}
    if name is None:
        routed = [n for n in able if n.endswith("(performance)") and able[n].level == "query"]
        if len(routed) != 1:
            raise UserError(f"system: expected the name of one system, found none: one of {', '.join(able)}")
        name = routed[0]
    if name not in able:
        raise UserError(f"system: {name!r}: expected a system that asks one candidate a query: {', '.join(able)}")
    return able[name]


def write_routerarena(system: System, splits: Splits, sources: Sequence[Source], out: Path) -> int:
    """The prediction file of a system, and beside it ``<name>.config.json``, which names the models; entries written.

    The global index is the query's id in its source, with the task before it where two tasks share one. What the log
    does not hold is null.
    """
    answers = _answers(splits, sources, "test")
    names = [answers.source[q] for q in splits.test.query_ids]
    if len(set(names)) < len(names):
        names = [f"{task}_{source}" for task, source in zip(splits.test.tasks, names, strict=True)]
    rows, picked = [], system.picked
    assert picked is not None  # `_chosen` sees to it
    for i, query_id in enumerate(splits.test.query_ids):
        score, cost = system.performance[i], system.cost[i]
        rows.append(
            {
                "global index": names[i],
                "prompt": splits.test.queries[i],
                "prediction": picked[i],
                "generated_result": _generated(answers.rows.get((query_id, picked[i]))),
                "cost": None if np.isnan(cost) else float(cost),
                "accuracy": None if np.isnan(score) else float(score),
            }
        )
    write_text(out, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    models = sorted(set(picked.tolist()))
    config = {"pipeline_params": {"router_name": out.stem, "models": models}}
    write_text(out.with_suffix(".config.json"), json.dumps(config, indent=2) + "\n")
    return len(rows)


def _generated(row: dict | None) -> dict | None:
    if row is None or row["response"] is None:
        return None
    given, made = row["input_tokens"], row["output_tokens"]
    return {
        "generated_answer": row["response"],
        "success": bool(row["response"].strip()),
        "token_usage": {
            "input_tokens": given,
            "output_tokens": made,
            "total_tokens": None if None in (given, made) else given + made,
        },
    }


class _Answers:
    """Responses by (query id, candidate), and the id of each query in its source."""

    def __init__(self, tables: Sequence[pa.Table]):
        self.source: dict[str, str] = {}
        self.rows: dict[tuple[str, str], dict] = {}
        for table in tables:
            for row in table.to_pylist():
                self.source.setdefault(row["query_id"], row["source_id"])
                self.rows.setdefault((row["query_id"], candidate_id(row["llm"], row["mode"])), row)


def _answers(splits: Splits, sources: Sequence[Source], split: str) -> _Answers:
    """Of the queries of a split, from the bench and from other logs."""
    assert splits.source is not None  # they were read from there
    tables = [read_log(splits.source, split, columns=_ANSWERS)]
    known = pc.unique(tables[0]["query_id"])
    for source in sources:
        table = source.read().select(list(_ANSWERS))
        tables.append(table.filter(pc.is_in(table["query_id"], value_set=known)))
    return _Answers(tables)


def write_routerbench(
    splits: Splits, sources: Sequence[Source], others: Sequence[AlignedLog], out: Path, split: str = "test"
) -> int:
    """RouterBench's wide table of a split with the candidates of the bench and of other logs; rows written.

    Prompts and responses are lists of one text, as there. ``fusion-hf import routerbench`` reads it back; a file with
    one task only is read as the task of the file's name.
    """
    joined, _ = join(splits, others, learn=False)
    data = {"train": joined.train, "partial_test": joined.validation, "test": joined.test}.get(split)
    if data is None:
        raise UserError(f"{splits.source} has no split {split!r}: expected one of {', '.join(splits.sizes())}")
    answers = _answers(splits, sources, split)
    columns: dict[str, list | np.ndarray] = {
        "sample_id": [answers.source[q] for q in data.query_ids],
        "prompt": [repr([query]) for query in data.queries],
        "eval_name": data.tasks,
    }
    columns |= {name: data.performance[:, j] for j, name in enumerate(data.candidates)}
    for name in data.candidates:
        texts = [(answers.rows.get((q, name)) or {}).get("response") for q in data.query_ids]
        columns[f"{name}|model_response"] = [None if text is None else repr([text]) for text in texts]
    columns |= {f"{name}|total_cost": data.cost[:, j] for j, name in enumerate(data.candidates)}
    columns["oracle_model_to_route_to"] = _oracle(data)
    with atomic_file(out) as new:
        pd.DataFrame(columns).to_csv(new, index=False)
    return len(data)


def _oracle(data: RoutingData) -> list[str]:
    best = pick(data.performance, data.cost, data.candidates)
    able = np.nan_to_num(data.performance).max(1) > 0
    return [data.candidates[j] if good else NOBODY for j, good in zip(best, able, strict=True)]

"""What a judge said, beside the log: identity of a judgement, reading the folder, and its scores in the log."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..tasks import rubric
from .schema import KEY, LOG_SCHEMA
from .shards import latest_chunks

COLUMNS = (*KEY, "response")
UNSCORED = "unscored.jsonl"


def judgement_id(row: Mapping[str, Any]) -> str:
    """Identity of a row's judgement: 16 hexadecimal digits over its key, its response and the rubric.

    A response that was collected anew is another one, so it is judged anew.
    """
    text = "\x1f".join([rubric.NAME, *(row[name] for name in COLUMNS)])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def judgement_ids(table: pa.Table) -> pa.Array:
    """`judgement_id` of every row; null where there is no response."""
    ids: list[str | None] = []
    for batch in table.select(COLUMNS).to_batches(10_000):
        ids += [None if row["response"] is None else judgement_id(row) for row in batch.to_pylist()]
    return pa.array(ids, pa.string())


def read_judgements(folder: str | Path) -> pa.Table:
    """One row a judgement of a collector's folder: id, model, score (float32), reason, error, said.

    `reason` is that of `Judgement`, or the kind of `error` where the judge gave no answer.
    """
    schema = pa.schema(
        [
            (n, pa.float32() if n == "score" else pa.string())
            for n in ("id", "model", "score", "reason", "error", "said")
        ]
    )
    chunks = [pa.Table.from_pylist([_judgement(row) for row in rows], schema) for rows in latest_chunks(folder)]
    return pa.concat_tables([schema.empty_table(), *chunks]).combine_chunks()


def _judgement(row: dict[str, Any]) -> dict[str, Any]:
    entry = {"id": row["query_id"], "model": row["llm"], "error": row.get("error"), "said": row["response"]}
    if entry["error"] is not None:
        return entry | {"score": None, "reason": entry["error"].split(":")[0]}
    return entry | rubric.parse_score(row["response"])._asdict()


def add_judgements(table: pa.Table, judgements: pa.Table, ids: pa.Array | None = None) -> pa.Table:
    """The log with `judge` and `judge_model` from `judgements` (see `read_judgements`).

    An answer that could not be read makes both null. A row that was not judged keeps what it has.
    """
    place = pc.index_in(judgement_ids(table) if ids is None else ids, value_set=judgements["id"].combine_chunks())
    found = judgements.take(place)
    judged = pc.and_(pc.is_valid(place), pc.is_null(found["error"]))
    scored = pc.if_else(pc.is_valid(found["score"]), found["model"], None)
    for name, new in (("judge", found["score"]), ("judge_model", scored)):
        column = pc.if_else(judged, new, table[name])
        table = table.set_column(table.column_names.index(name), LOG_SCHEMA.field(name), column)
    return table


def reasons(ids: pa.Array, judgements: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """(bool [rows] whether a row has a score, [rows] why: a reason, ``no_response``, or ``not_asked``)."""
    place = pc.index_in(ids, value_set=judgements["id"].combine_chunks())
    scored = pc.is_valid(judgements["score"].combine_chunks().take(place))
    why = pc.if_else(pc.is_null(place), "not_asked", judgements["reason"].combine_chunks().take(place))
    return scored.to_numpy(zero_copy_only=False), pc.if_else(pc.is_null(ids), "no_response", why)


def write_unscored(table: pa.Table, ids: pa.Array, judgements: pa.Table, folder: str | Path) -> Path:
    """Write ``unscored.jsonl``: key, reason, and what the judge said, of each row that was asked and got no score."""
    path = Path(folder) / UNSCORED
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8") as lines:
        for row in _unscored(table, ids, judgements):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.replace(path)
    return path


def _unscored(table: pa.Table, ids: pa.Array, judgements: pa.Table) -> Iterator[dict[str, Any]]:
    bad = judgements.filter(pc.is_null(judgements["score"]))
    place = pc.index_in(ids, value_set=bad["id"].combine_chunks())
    rows = pc.indices_nonzero(pc.is_valid(place))
    keys = table.select(KEY).take(rows).to_pylist()
    for key, said in zip(keys, bad.take(place.take(rows)).to_pylist(), strict=True):
        yield key | {name: said[name] for name in ("reason", "error", "said") if said[name] is not None}

"""Your own log as JSON lines: one answer a line, with the log row's names, the usual short ones, or a mapping."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ...errors import UserError
from ...tasks import TASKS
from ..schema import LOG_SCHEMA, SchemaError, encode, rows_to_table, split_candidate
from ._files import files_of, json_objects, line_blocks, split_of
from ._result import ImportResult, check_score, log_table

DESCRIPTION = "JSON lines, one answer a line: query, llm, response or performance; other names with --map"
SOURCE = None
ALIASES = {
    "query": ("prompt", "question", "input"),
    "llm": ("model", "model_name"),
    "response": ("output", "answer", "completion", "prediction"),
    "performance": ("score", "correct", "is_correct"),
    "ground_truth": ("gold", "reference", "target"),
    "task": ("task_name", "dataset", "dataset_name"),
    "source_id": ("id", "index", "sample_id"),
}
BLOCK = 1 << 25  # bytes that are parsed at once
_SURROGATE = re.compile("[\ud800-\udfff]")
_COLUMNS = [field for field in LOG_SCHEMA if field.name != "query_id"]  # the identity is always computed


def read(path: str | Path, task: str | None = None, mapping: Mapping[str, str] | None = None) -> ImportResult:
    """Rows with a query, an LLM and a response or a score; a second row of one (query, LLM, mode) is dropped.

    Args:
        path: A ``.jsonl`` or ``.ndjson`` file, or a folder of them, gzip or not.
        task: Task of every row, in place of what the rows say.
        mapping: Column of the log row -> key that holds it, in place of the log row's own name and its `ALIASES`.
    """
    names = _names(mapping or {})
    result = ImportResult(tables={})
    parts: dict[str, list[pa.Table]] = {}
    missing = dict(mapping or {})
    for file in files_of(path, (".jsonl", ".ndjson")):
        _, split = split_of(file)
        for first, block in line_blocks(file, BLOCK):
            table = _fast(block, names) or _slow(file, first, block, names)
            result.read += table.num_rows
            missing = {to: key for to, key in missing.items() if table[to].null_count == table.num_rows}
            empty = pc.and_(pc.is_null(table["response"]), pc.is_null(table["performance"]))
            result.add(result.dropped, "neither a response nor a score", pc.sum(empty).as_py() or 0)
            # One chunk a block: what follows copies rows by place, which is slow over hundreds of chunks.
            parts.setdefault(split, []).append(_finish(table.filter(pc.invert(empty)), task).combine_chunks())
    for to, key in missing.items() if result.read else ():
        raise UserError(f"{path}: expected a key {key!r} with a value (--map {to}={key}), found it in no row")
    return result.keep(parts)


def _names(mapping: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Column -> keys that may hold it, the first that is not null counts."""
    known = [field.name for field in _COLUMNS]
    for to in mapping:
        if to not in known:
            raise UserError(f"--map: unknown column {to!r}: expected one of {', '.join(known)}")
    return {to: (mapping[to],) if to in mapping else (to, *ALIASES.get(to, ())) for to in known}


def _fast(block: bytes, names: dict[str, tuple[str, ...]]) -> pa.Table | None:
    """The block by Arrow's parser; None where a line is not plain enough for it (`_slow` then says or mends why)."""
    try:
        start = json.loads(block.lstrip().split(b"\n", 1)[0])
        types = {key: _kind(field, start.get(key)) for field in _COLUMNS for key in names[field.name]}
        found = pa.json.read_json(
            io.BytesIO(block),
            pa.json.ReadOptions(block_size=1 << 22),
            pa.json.ParseOptions(explicit_schema=pa.schema(types.items()), unexpected_field_behavior="ignore"),
        )
        block.decode("utf-8")  # Arrow does not look
        table = pa.table({f.name: _first_of(found, names[f.name], f) for f in _COLUMNS})
    except (pa.ArrowNotImplementedError, AttributeError, ValueError):
        return None
    texts = pc.all(pc.fill_null(pc.greater(pc.binary_length(table["query"]), 0), False)).as_py()
    return table if texts and table["llm"].null_count == 0 and _scores_fit(table["performance"]) else None


def _kind(field: pa.Field, value: Any) -> pa.DataType:
    """How a key is parsed, judging by its value in the first row."""
    if pa.types.is_list(field.type):
        return field.type if isinstance(value, list) else pa.string()
    if field.name == "performance" and isinstance(value, bool):
        return pa.bool_()
    if field.name == "source_id" and isinstance(value, int) and not isinstance(value, bool):
        return pa.int64()
    return pa.float64() if pa.types.is_floating(field.type) else field.type


def _first_of(found: pa.Table, keys: tuple[str, ...], field: pa.Field) -> pa.ChunkedArray:
    """The first of the columns `keys` that is not null, in the type of the log row."""
    columns = [found[key] for key in keys if found[key].null_count < found.num_rows]
    if not columns:
        return pa.chunked_array([pa.nulls(found.num_rows, field.type)])
    if pa.types.is_list(field.type):
        columns = [c if c.type == field.type else _each_in_a_list(c) for c in columns]
    columns = [c.cast(field.type) for c in columns]
    return pc.coalesce(*columns) if len(columns) > 1 else columns[0]


def _each_in_a_list(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = column.combine_chunks()
    lengths = pc.cast(pc.is_valid(column), pa.int32()).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, column.drop_null())])


def _scores_fit(column: pa.ChunkedArray) -> bool:
    """Every score is null or in 0..1 (a NaN is mended by `_slow`)."""
    good = pc.and_(pc.greater_equal(column, 0.0), pc.less_equal(column, 1.0))
    return pc.all(pc.fill_null(good, True), min_count=0).as_py()


def _slow(file: Path, first: int, block: bytes, names: dict[str, tuple[str, ...]]) -> pa.Table:
    """The block line by line; errors name the line."""
    numbers, rows = [], []
    for number, source in json_objects(file, first, block):
        numbers.append(number)
        rows.append(_row(source, names, f"{file}, line {number}"))
    try:
        return rows_to_table(rows).drop_columns(["query_id"])
    except SchemaError as error:
        found = re.match(r"row (\d+), ", str(error))
        where = f"{file}, line {numbers[int(found.group(1))]}, " if found else f"{file}: "
        raise UserError(where + str(error)[found.end() if found else 0 :]) from None


def _row(source: dict, names: dict[str, tuple[str, ...]], where: str) -> dict:
    """The columns of one row; a lone surrogate (half of a character that was cut) becomes U+FFFD."""
    row = {}
    for to, keys in names.items():
        value = next((source[key] for key in keys if source.get(key) is not None), None)
        row[to] = _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
    for name in ("query", "llm"):
        if not isinstance(row[name], str) or not row[name]:
            found = ", ".join(sorted(source))
            raise UserError(f"{where}: expected a text {names[name][0]!r}, found keys {found} (see --map {name}=KEY)")
    score = check_score(row["performance"], f"{where}, 'performance'")
    row["performance"] = None if score != score else score
    gold = row["ground_truth"]
    if gold is not None:
        row["ground_truth"] = [str(g) for g in gold] if isinstance(gold, list) else [str(gold)]
    if row["source_id"] is not None:
        row["source_id"] = str(row["source_id"])
    return row


def _finish(table: pa.Table, task: str | None) -> pa.Table:
    """Fill in what the rows do not say: task, source id, metric, gold answers, and the mode of `<llm>_think`."""
    data = {name: table[name] for name in table.column_names}
    rows = table.num_rows
    data["task"] = pa.array([task] * rows, pa.string()) if task else pc.fill_null(data["task"], "unknown")
    data["source_id"] = pc.fill_null(data["source_id"], "")
    data["ground_truth"] = pc.fill_null(data["ground_truth"], pa.scalar([], data["ground_truth"].type))
    data["metric"] = pc.coalesce(data["metric"], _metrics(pa.chunked_array([data["task"]]) if task else data["task"]))
    names, code = encode(data["llm"])
    both = [split_candidate(str(name)) for name in names]
    told = pc.is_valid(data["mode"])
    for place, column in enumerate(("llm", "mode")):
        split = pa.array([pair[place] for pair in both], pa.string()).take(pa.array(code))
        data[column] = pc.if_else(told, data[column], split)
    return log_table(data)


def _metrics(task: pa.ChunkedArray) -> pa.Array:
    """The metric of a task of ours; "publisher" for others, whose answers we cannot grade."""
    names, code = encode(task)
    metrics = [TASKS[name].metric if name in TASKS else "publisher" for name in names]
    return pa.array(metrics, pa.string()).take(pa.array(code))

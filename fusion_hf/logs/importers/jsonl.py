"""Your own log as JSON lines: one answer a line, with the log row's names, the usual other ones, or a mapping."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ...errors import UserError
from ..schema import encode
from ._files import files_of, json_objects, line_blocks, split_of, unpacked_name
from ._own import ALIASES, NESTED, add_part, note_unknown, read_objects
from ._result import ImportResult
from ._rows import COLUMNS, RowReader, keys_of, moment, read_scale

DESCRIPTION = "JSON lines, one answer a line: query, llm, response or performance; other names with --map"
SOURCE = None
BLOCK = 1 << 25  # bytes that are parsed at once


def read(
    path: str | Path,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    scale: str | None = None,
    on_duplicate: str = "first",
) -> ImportResult:
    """Rows with a query, an LLM and a response or a score.

    Args:
        path: A ``.jsonl`` or ``.ndjson`` file, or a folder of them, packed or not; or one file with a JSON list.
        task: Task of every row, in place of what the rows say.
        mapping: Column of the log row -> key that holds it (``a.b`` for the key b inside a), in place of the log row's
            own name and its `ALIASES`.
        scale: Worst and best rating, such as ``1-5``, which become the scores 0 and 1.
        on_duplicate: Which of several rows of one (query, LLM, mode) stays; see `ImportResult.keep`.
    """
    names = keys_of(ALIASES, mapping or {})
    reader = RowReader(names, read_scale(scale))
    plain = {to: tuple(key for key in keys if "." not in key) for to, keys in names.items()}
    files = files_of(path, (".jsonl", ".ndjson"))
    if unpacked_name(files[0]).lower().endswith((".json", ".csv", ".tsv")):
        return read_objects([(file, split_of(file)[1]) for file in files], reader, task, on_duplicate)
    result = ImportResult(tables={})
    parts: dict[str, list[pa.Table]] = {}
    missing = dict(mapping or {})
    for file in files:
        _, split = split_of(file)
        for first, block in line_blocks(file, BLOCK):
            table = None if scale or any("." in key for key in missing.values()) else _fast(block, plain, reader)
            if table is None:
                rows = json_objects(file, first, block)
                table = reader.table((f"{file}, line {number}", row) for number, row in rows)
            missing = {to: key for to, key in missing.items() if table[to].null_count == table.num_rows}
            add_part(parts, split, table, task, result)
    for to, key in missing.items() if result.read else ():
        raise UserError(f"{path}: expected a key {key!r} with a value (map {to}={key}), found it in no row")
    note_unknown(reader, result)
    return result.keep(parts, on_duplicate)


def _fast(block: bytes, names: dict[str, tuple[str, ...]], reader: RowReader) -> pa.Table | None:
    """The block by Arrow's parser; None where a line is not plain enough for it (`RowReader` then mends it)."""
    if NESTED.search(block):
        return None
    try:
        start = json.loads(block.lstrip().split(b"\n", 1)[0])
        if any(map(reader.other_name, start)):
            return None
        types = {key: _kind(field, start.get(key)) for field in COLUMNS for key in names[field.name]}
        found = pa.json.read_json(
            io.BytesIO(block),
            pa.json.ReadOptions(block_size=1 << 22),
            pa.json.ParseOptions(explicit_schema=pa.schema(types.items()), unexpected_field_behavior="ignore"),
        )
        block.decode("utf-8")  # Arrow does not look
        table = pa.table({f.name: _first_of(found, names[f.name], f) for f in COLUMNS})
        table = table.set_column(table.column_names.index("served_at"), "served_at", _moments(table["served_at"]))
    except (pa.ArrowNotImplementedError, AttributeError, ValueError, RecursionError):
        return None
    texts = pc.all(pc.fill_null(pc.greater(pc.binary_length(table["query"]), 0), False)).as_py()
    if not texts or table["llm"].null_count or not _scores_fit(table["performance"]):
        return None
    reader.unknown |= dict.fromkeys(key for key in start if key not in reader.known)
    return table


def _kind(field: pa.Field, value: Any) -> pa.DataType:
    """How a key is parsed, judging by its value in the first row."""
    if pa.types.is_list(field.type):
        return field.type if isinstance(value, list) else pa.string()
    if field.name == "performance" and isinstance(value, bool):
        return pa.bool_()
    if field.name in ("source_id", "served_at") and isinstance(value, int | float) and not isinstance(value, bool):
        return pa.int64() if isinstance(value, int) else pa.float64()
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
    if pc.any(pc.starts_with(column, "[")).as_py():
        raise ValueError("a list as text")  # `RowReader` reads it
    lengths = pc.cast(pc.is_valid(column), pa.int32()).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, column.drop_null())])


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Times as `moment` writes them; each distinct one is converted once."""
    if column.null_count == len(column):
        return column
    values, code = encode(pc.fill_null(column, ""))
    made = [moment(str(value), "served_at") if value else None for value in values]
    return pa.array(made, pa.string()).take(pa.array(code))


def _scores_fit(column: pa.ChunkedArray) -> bool:
    """Every score is null or in 0..1 (a NaN is mended by `RowReader`)."""
    good = pc.and_(pc.greater_equal(column, 0.0), pc.less_equal(column, 1.0))
    return pc.all(pc.fill_null(good, True), min_count=0).as_py()

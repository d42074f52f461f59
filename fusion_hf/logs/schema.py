"""The log row: one candidate's answer to one query. One definition, shared by every stage."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..tasks.modes import MODES, candidate_id, split_candidate

if TYPE_CHECKING:
    from datasets import Features

LOG_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("query", pa.large_string(), nullable=False),
        pa.field("ground_truth", pa.list_(pa.string()), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("llm", pa.string(), nullable=False),
        pa.field("mode", pa.string(), nullable=False),
        # Everything below may be null, and null means "not measured", never zero.
        # How the query was put: "plain@1", "paper@1" (see `fusion_hf.tasks.PROMPT_VERSIONS`).
        pa.field("prompt_version", pa.string()),
        pa.field("response", pa.large_string()),
        # Reasoning that the server gave beside the response; what stands inside the response stays there.
        pa.field("reasoning", pa.large_string()),
        pa.field("finish_reason", pa.string()),
        pa.field("error", pa.string()),
        pa.field("input_tokens", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("reasoning_tokens", pa.int32()),
        # The part of input_tokens that the server had cached.
        pa.field("cached_tokens", pa.int32()),
        # Who counted the tokens: "server", or "estimated/<how>".
        pa.field("usage_source", pa.string()),
        pa.field("cost", pa.float64()),
        # USD by the server's own account, beside our cost from tokens and prices.
        pa.field("reported_cost", pa.float64()),
        # The model that the server says has answered; another one than was asked is a redirect.
        pa.field("served_model", pa.string()),
        pa.field("latency_s", pa.float32()),
        # Mean log-probability of the answer's tokens, in nats.
        pa.field("mean_logprob", pa.float32()),
        pa.field("performance", pa.float32()),
        pa.field("extracted", pa.string()),
        pa.field("grader", pa.string()),
        pa.field("judge", pa.float32()),
        pa.field("judge_model", pa.string()),
        # Of served traffic: whose request it was and when (UTC), which of its calls this is (from 1), the probability
        # with which the candidate was chosen, and whether it was drawn at random.
        pa.field("request_id", pa.string()),
        pa.field("session", pa.string()),
        pa.field("client", pa.string()),
        pa.field("served_at", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("propensity", pa.float64()),
        pa.field("explored", pa.bool_()),
    ]
)
KEY = ("query_id", "llm", "mode")
NUMBERS = (
    "cost", "reported_cost", "latency_s", "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens",
)  # fmt: skip


__all__ = [
    "KEY", "LOG_SCHEMA", "MODES", "SchemaError", "candidate_id", "conform", "encode", "key_codes", "log_features",
    "query_id", "rows_to_table", "split_candidate", "validate",
]  # fmt: skip


class SchemaError(UserError):
    """A log that breaks the row schema; the message names the row and the column."""


def log_features() -> "Features":
    """The log row as `datasets.Features`."""
    from datasets import Features

    return Features.from_arrow_schema(LOG_SCHEMA)


def query_id(task: str, source_id: str, query: str) -> str:
    """Identity of a query: 16 hexadecimal digits of a hash over task, source id and query."""
    digest = hashlib.sha256("\x1f".join((task, source_id, query)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def rows_to_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A log table from dicts; missing keys become null. Unknown keys and wrong types raise `SchemaError`."""
    rows = list(rows)
    for i, row in enumerate(rows):
        unknown = set(row) - set(LOG_SCHEMA.names)
        if unknown:
            raise SchemaError(
                f"row {i}: unknown column {sorted(unknown)[0]!r}; expected columns are {', '.join(LOG_SCHEMA.names)}"
            )
    columns = []
    for field in LOG_SCHEMA:
        values = [row.get(field.name) for row in rows]
        try:
            # Arrow would take a bare string for a list of its characters.
            if pa.types.is_list(field.type) and any(isinstance(v, str) for v in values):
                raise pa.ArrowTypeError("a string where a list belongs")
            columns.append(pa.array(values, type=field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns.append(_explain(values, field))
    return pa.Table.from_arrays(columns, schema=pa.schema([f.with_nullable(True) for f in LOG_SCHEMA]))


def _explain(values: list, field: pa.Field) -> pa.Array:
    """Find the value that does not fit `field` and raise about it."""
    for i, value in enumerate(values):
        try:
            fits = not (pa.types.is_list(field.type) and isinstance(value, str))
            pa.array([value], type=field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            fits = False
        if not fits:
            raise SchemaError(
                f"row {i}, column {field.name!r}: expected {field.type}, found {type(value).__name__} {value!r:.80}"
            )
    raise SchemaError(f"column {field.name!r}: expected {field.type}")


def validate(table: pa.Table, where: str = "log") -> pa.Table:
    """Check a table against the log row and return it in the schema's column order and types.

    Missing nullable columns are added as nulls. Raises `SchemaError` for an unknown column, a wrong type, a null where
    none is allowed, an unknown mode, a performance or judge score that is NaN or outside 0..1, a negative cost or
    token count, a log-probability above 0, and a duplicate key (query_id, llm, mode). `where` begins the message (a
    file name, say).
    """
    unknown = [name for name in table.column_names if name not in LOG_SCHEMA.names]
    if unknown:
        raise SchemaError(f"{where}: unknown column {unknown[0]!r}; expected columns are {', '.join(LOG_SCHEMA.names)}")
    table = conform(table, where)
    _check_keys(table, where)
    return table


def as_table(source: Any, where: str) -> pa.Table:
    """A log table of a pyarrow table or a `datasets.Dataset`."""
    if not isinstance(source, pa.Table):
        try:
            source = source.with_format("arrow")[:]
        except AttributeError:
            raise UserError(
                f"{where}: expected a path, a Hub id, a table or a dict of tables by split, found "
                f"{type(source).__name__}"
            ) from None
    return conform(source, where)


def conform(table: pa.Table, where: str = "log", columns: Sequence[str] | None = None) -> pa.Table:
    """`validate` of what was read: only these columns, further ones left out, and one key may stand in several rows."""
    fields = [LOG_SCHEMA.field(name) for name in (LOG_SCHEMA.names if columns is None else columns)]
    table = pa.Table.from_arrays([_column(table, field, where) for field in fields], schema=pa.schema(fields))
    _check_values(table, where)
    return table


def _column(table: pa.Table, field: pa.Field, where: str) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        if not field.nullable:
            raise SchemaError(f"{where}: column {field.name!r} is missing; expected {field.type}")
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    column = table[field.name]
    if pa.types.is_dictionary(column.type):  # a pandas category
        column = column.cast(column.type.value_type)
    if column.type != field.type:
        numeric = {pa.types.is_integer, pa.types.is_floating}
        same_kind = (
            pa.types.is_null(column.type)
            or any(kind(column.type) and kind(field.type) for kind in numeric)
            or (pa.types.is_integer(column.type) and pa.types.is_floating(field.type))
            or (_is_text(column.type) and _is_text(field.type))
            or (_is_text_list(column.type) and _is_text_list(field.type))
        )
        if not same_kind:
            raise SchemaError(
                f"{where}: row 0, column {field.name!r}: expected {field.type}, found {column.type} "
                f"{column[0].as_py() if len(column) else ''!r:.60}"
            )
        try:
            column = column.cast(field.type)
        except pa.ArrowInvalid as error:
            raise SchemaError(f"{where}: column {field.name!r}: expected {field.type}: {error}") from None
    if not field.nullable and column.null_count:
        row = _first(pc.is_null(column))
        raise SchemaError(f"{where}: row {row}, column {field.name!r}: expected {field.type}, found null")
    return column


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_text_list(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (
        _is_text(kind.value_type) or pa.types.is_null(kind.value_type)
    )


def _first(mask: pa.ChunkedArray) -> int:
    return pc.index(mask, pa.scalar(True)).as_py()


def _check_values(table: pa.Table, where: str) -> None:
    present = table.column_names
    if "mode" in present:
        bad = pc.invert(pc.is_in(table["mode"], value_set=pa.array(MODES)))
        _refuse(bad, table["mode"], "mode", f"one of {', '.join(MODES)}", where)
    for name in [n for n in ("performance", "judge") if n in present]:
        values = table[name]
        # NaN compares as false, so a good value is asked for and the rest refused.
        good = pc.and_(pc.greater_equal(values, 0.0), pc.less_equal(values, 1.0))
        _refuse(pc.invert(pc.fill_null(good, True)), values, name, "a score in 0..1 or null", where)
    for name in [n for n in NUMBERS if n in present]:
        values = table[name]
        good = pc.greater_equal(values, 0)
        if pa.types.is_floating(values.type):
            good = pc.and_(good, pc.is_finite(values))
        _refuse(pc.invert(pc.fill_null(good, True)), values, name, "a number of at least 0 or null", where)
    if "mean_logprob" in present:
        values = table["mean_logprob"]
        good = pc.and_(pc.less_equal(values, 0), pc.is_finite(values))
        _refuse(pc.invert(pc.fill_null(good, True)), values, "mean_logprob", "at most 0 or null", where)


def _refuse(bad: pa.ChunkedArray, values: pa.ChunkedArray, name: str, expected: str, where: str) -> None:
    if pc.any(bad).as_py():
        row = _first(bad)
        raise SchemaError(f"{where}: row {row}, column {name!r}: expected {expected}, found {values[row]}")


def encode(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(distinct values, int64 [rows] place of each row's value among them) of a text column without nulls."""
    if column.num_chunks != 1 and column.nbytes < 1 << 30:
        # One chunk (its offsets have 31 bits) is encoded many times as fast as the thousands of a cached dataset.
        column = pa.chunked_array([column.combine_chunks()])
    encoded = pc.dictionary_encode(column).unify_dictionaries()
    if not encoded.num_chunks:
        return np.zeros(0, object), np.zeros(0, np.int64)
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks])
    values = encoded.chunk(0).dictionary
    return values.to_numpy(zero_copy_only=False), codes.astype(np.int64)


def key_codes(table: pa.Table) -> np.ndarray:
    """One int64 a row that is equal exactly where the key (query_id, llm, mode) is equal."""
    code = np.zeros(table.num_rows, np.int64)
    for name in KEY:
        values, codes = encode(table[name])
        code = code * (len(values) + 1) + codes
    return code


def _check_keys(table: pa.Table, where: str) -> None:
    code = key_codes(table)
    ordered = np.sort(code)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    values, counts = np.unique(code, return_counts=True)
    first, second = np.flatnonzero(code == values[counts > 1][0])[:2]
    key = ", ".join(f"{name} {table[name][int(second)]}" for name in KEY)
    raise SchemaError(
        f"{where}: row {second}, column 'query_id': duplicate key ({key}); the same key stands in row {first}"
    )

"""What the formats of one's own logs share: the usual names of keys, and what rows do not say."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ...tasks import TASKS
from ..schema import encode, split_candidate
from ._result import ImportResult, log_table
from ._rows import Keys, RowReader, objects

_BODIES = ("", "response.", "response.body.", "body.")


def _below(*keys: str) -> tuple[str, ...]:
    return tuple(body + key for key in keys for body in _BODIES)


ALIASES: Keys = {
    "query": (
        "prompt", "question", "input", "messages", "request.messages", "request.body.messages", "request.input",
        "request.prompt",
    ),
    "llm": ("model", "model_name", "request.model", "request.body.model", "response.model", "response.body.model"),
    "response": (
        "output", "answer", "completion", "prediction", "choices.0.message.content", "response.body.choices",
        "response.choices", "choices",
    ),
    "reasoning": _below("choices.0.message.reasoning_content", "choices.0.message.reasoning"),
    "finish_reason": _below("choices.0.finish_reason"),
    "served_model": ("response.model", "response.body.model"),
    "performance": ("score", "correct", "is_correct", "metadata.user_feedback", "metadata.score", "user_feedback"),
    "ground_truth": ("gold", "reference", "target", "expected"),
    "task": ("task_name", "dataset", "dataset_name", "metadata.task"),
    "source_id": ("id", "index", "sample_id"),
    "input_tokens": _below("usage.prompt_tokens", "usage.input_tokens", "prompt_tokens"),
    "output_tokens": _below("usage.completion_tokens", "usage.output_tokens", "completion_tokens"),
    "reasoning_tokens": _below(
        "usage.completion_tokens_details.reasoning_tokens", "usage.output_tokens_details.reasoning_tokens"
    ),
    "cached_tokens": _below("usage.prompt_tokens_details.cached_tokens", "usage.input_tokens_details.cached_tokens"),
    "cost": ("cost_usd", "usd"),
    "reported_cost": _below("usage.cost"),
    "mean_logprob": ("avg_logprob", "avg_logprobs", *_below("choices.0.logprobs", "logprobs")),
    "error": ("error.message", "response.error.message", "response.body.error.message"),
    "served_at": ("created_at", "timestamp", "created", "response.created", "response.body.created", "start_time"),
    "request_id": ("response.id", "response.body.id"),
    "session": ("session_id", "metadata.session_id"),
}  # fmt: skip
"""Column -> other names of the key that holds it; ``a.b`` is the key b inside a."""
_ROOTS = sorted({key.split(".")[0] for keys in ALIASES.values() for key in keys if "." in key})
NESTED = re.compile(rf'"(?:{"|".join(_ROOTS)})"\s*:\s*[\[{{]'.encode())
"""Whether JSON lines have one of these keys with something inside."""


def read_objects(files: list[tuple[Path, str]], reader: RowReader, task: str | None, on_duplicate: str) -> ImportResult:
    """The rows of (file, split) pairs, by `objects`."""
    result = ImportResult(tables={})
    parts: dict[str, list[pa.Table]] = {}
    for file, split in files:
        add_part(parts, split, reader.table(objects(file)), task, result)
    note_unknown(reader, result)
    return result.keep(parts, on_duplicate)


def add_part(
    parts: dict[str, list[pa.Table]], split: str, table: pa.Table, task: str | None, result: ImportResult
) -> None:
    """Count the rows of a table, and keep those with a response or a score."""
    result.read += table.num_rows
    empty = pc.and_(pc.is_null(table["response"]), pc.is_null(table["performance"]))
    result.add(result.dropped, "neither a response nor a score", pc.sum(empty).as_py() or 0)
    # One chunk a block: what follows copies rows by place, which is slow over hundreds of chunks.
    parts.setdefault(split, []).append(finish(table.filter(pc.invert(empty)), task).combine_chunks())


def note_unknown(reader: RowReader, result: ImportResult) -> None:
    """Name the keys that no column is read from."""
    if reader.unknown:
        named = ", ".join(list(reader.unknown)[:20]) + (", …" if len(reader.unknown) > 20 else "")
        result.notes[f"keys that no column is read from (see map): {named}"] = len(reader.unknown)


def finish(table: pa.Table, task: str | None) -> pa.Table:
    """Fill in what the rows do not say: task, source id, metric, reference answers, and the mode of `<llm>_think`."""
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

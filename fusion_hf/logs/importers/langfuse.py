"""Exports of Langfuse: generations with their scores, from the API, the web page or blob storage."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ._exchange import Given, as_log, first, number, query_text, records, reply_fields, seconds, served_at, usage_fields
from ._result import ImportResult

DESCRIPTION = "Langfuse exports: observations (generations) and scores, as JSON, JSON lines or CSV"
SOURCE = ("langfuse/langfuse", "mit")


def read(
    path: str | Path,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    scale: str | None = None,
    on_duplicate: str = "first",
) -> ImportResult:
    """Observations of the type GENERATION; in a folder, scores beside them are joined by observation, else by trace.

    Keys may be spelled as the API does (``traceId``) or as the blob export does (``trace_id``). A score counts where it
    is a number in 0..1 or a boolean; several scores of one answer are averaged.
    `mapping` (keys of the observation), `scale` and `on_duplicate` are those of `fusion_hf.logs.importers.jsonl.read`.

    Raises:
        UserError: A score that is not on the scale, or no generation.
    """
    given = Given(mapping, scale, on_duplicate)
    observations, scores = [], defaultdict(list)
    for where, record in records(path):
        if _is_score(record):
            value = given.score(_value(record), f"{where}, 'value'")
            if value is not None:
                scores[first(record, "observation_id", "observationId") or first(record, "trace_id", "traceId")] += [
                    value
                ]
        else:
            observations.append((where, record))
    if not observations:
        raise UserError(f"{path}: expected observations, found only scores: give the folder that holds both")
    traces = defaultdict(int)
    for _, record in observations:
        traces[first(record, "trace_id", "traceId")] += _is_generation(record)
    rows = ((where, given.over(_row(record, scores, traces), record, where)) for where, record in observations)
    return as_log(rows, task, given, path)


def _is_score(record: dict[str, Any]) -> bool:
    return "value" in record and first(record, "name") is not None and "input" not in record


def _value(record: dict[str, Any]) -> Any:
    """The value of a numeric or boolean score; None for categories."""
    kind = str(first(record, "data_type", "dataType") or "NUMERIC").upper()
    return None if kind == "CATEGORICAL" else record["value"]


def _is_generation(record: dict[str, Any]) -> bool:
    return str(record.get("type") or "GENERATION").upper() == "GENERATION"


def _row(record: dict[str, Any], scores: dict[str, list[float]], traces: dict[str, int]) -> dict[str, Any]:
    if not _is_generation(record):
        return {"drop": "no generation"}
    trace = first(record, "trace_id", "traceId")
    # A score of a whole trace says something of an answer only where the trace has one.
    found = scores.get(record.get("id"), []) or (scores.get(trace, []) if traces[trace] == 1 else [])
    latency = number(first(record, "latency"))
    start, end = first(record, "start_time", "startTime"), first(record, "end_time", "endTime")
    row = {
        "query": query_text(record.get("input")),
        "llm": first(record, "provided_model_name", "providedModelName", "model"),
        "task": first(record, "metadata.task", "trace_name", "traceName"),
        "latency_s": seconds(start, end) if start and end else latency,
        "cost": number(first(record, "total_cost", "totalCost", "calculatedTotalCost", "costDetails.total")),
        "served_at": served_at(start),
        "performance": sum(found) / len(found) if found else None,
        **usage_fields(first(record, "usage_details", "usageDetails", "usage")),
        **reply_fields(record.get("output")),
    }
    if str(record.get("level") or "").upper() == "ERROR":
        row |= {"error": str(first(record, "status_message", "statusMessage") or "error")[:1000], "response": None}
    return row

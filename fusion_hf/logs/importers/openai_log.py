"""Requests with their responses as OpenAI clients, gateways and batch files keep them: JSON lines, a pair a line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._exchange import (
    Given,
    as_log,
    first,
    number,
    parsed,
    query_text,
    records,
    reply_fields,
    seconds,
    served_at,
    usage_fields,
)
from ._result import ImportResult

DESCRIPTION = "request and response of OpenAI-compatible endpoints, a pair a line (gateways' logs, stored completions)"
SOURCE = None
REQUEST = ("request.body", "request", "body", "input")
TIMES = (
    "served_at", "created_at", "timestamp", "start_time", "startTime", "created", "response.created",
    "response.body.created",
)  # fmt: skip
REPLY = ("response.body", "response", "output", "completion")


def read(
    path: str | Path,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    scale: str | None = None,
    on_duplicate: str = "first",
) -> ImportResult:
    """Pairs of request and response; see `_exchange` for the forms of chats, replies and usage.

    The request is ``request`` (or ``request.body``, ``body``), or the line itself with ``messages``; the reply is
    ``response`` (or ``response.body``, as in results of the Batch API). A score is ``performance``, ``score`` or
    ``feedback``, also in ``metadata``; the task may stand in ``metadata.task``. `mapping`,
    `scale` and `on_duplicate` are those of `fusion_hf.logs.importers.jsonl.read`.
    """
    given = Given(mapping, scale, on_duplicate)
    rows = ((where, given.over(_row(record, where, given), record, where)) for where, record in records(path))
    return as_log(rows, task, given, path)


def _row(record: dict[str, Any], where: str, given: Given) -> dict[str, Any]:
    request = parsed(first(record, *REQUEST)) if first(record, "messages") is None else record
    request = request if isinstance(request, dict) else {"messages": request}
    reply = parsed(first(record, *REPLY, "choices") if "choices" not in record else record)
    usage = first(record, "usage", "response.usage", "response.body.usage", "output.usage")
    if usage is None and isinstance(reply, dict):
        usage = reply.get("usage")
    latency = first(record, "latency_s", "latency", "duration_s")
    took = number(latency) if latency is not None else seconds(
        first(record, "start_time", "startTime", "created_at"), first(record, "end_time", "endTime", "completed_at")
    )  # fmt: skip
    row = {
        "query": query_text(request),
        "llm": first(record, "llm", "request.model", "request.body.model", "body.model", "model", "response.model"),
        "task": first(record, "task", "metadata.task", "request.metadata.task"),
        "latency_s": took,
        "cost": number(first(record, "cost", "cost_usd", "metadata.cost")),
        "served_at": served_at(*(first(record, name) for name in TIMES)),
        "performance": given.score(
            first(record, "performance", "score", "feedback", "metadata.score", "metadata.user_feedback"), where
        ),
    }
    found = reply_fields(reply) | usage_fields(usage)
    if row["llm"] is None:
        row["llm"] = found.get("served_model")
    return row | found

"""Spend logs of a LiteLLM proxy: rows of its table LiteLLM_SpendLogs, as JSON, JSON lines or CSV."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._exchange import Given, as_log, count, first, number, query_text, records, reply_fields, seconds, served_at
from ._result import ImportResult

DESCRIPTION = "LiteLLM spend logs (with store_prompts_in_spend_logs, which keeps messages and responses)"
SOURCE = ("BerriAI/litellm", "mit")
SKIPPED = ("embedding", "image", "audio", "speech", "transcription", "rerank", "moderation")


def read(
    path: str | Path,
    task: str | None = None,
    mapping: Mapping[str, str] | None = None,
    scale: str | None = None,
    on_duplicate: str = "first",
) -> ImportResult:
    """Rows with ``messages`` (or ``proxy_server_request``), ``response``, ``model``, ``spend``, tokens and times.

    Calls that are no chats are dropped. Rows without messages, as LiteLLM writes them unless it is told to store
    prompts, are dropped too, and counted. A score is ``metadata.score`` or ``metadata.user_feedback``.
    `mapping`, `scale` and `on_duplicate` are those of `fusion_hf.logs.importers.jsonl.read`.
    """
    given = Given(mapping, scale, on_duplicate)
    rows = ((where, given.over(_row(record, where, given), record, where)) for where, record in records(path))
    return as_log(rows, task, given, path)


def _row(record: dict[str, Any], where: str, given: Given) -> dict[str, Any]:
    kind = str(record.get("call_type") or "")
    if any(word in kind for word in SKIPPED):
        return {"drop": "no chat"}
    found = reply_fields(record.get("response"))
    status = first(record, "status", "metadata.status")
    if status == "failure":
        told = first(record, "metadata.error_information.error_message", "metadata.error_information")
        found |= {"error": str(told or "failure")[:1000], "response": None}
    return {
        "query": query_text(first(record, "messages", "proxy_server_request.messages", "proxy_server_request")),
        "llm": first(record, "model_group", "model"),
        "task": first(record, "metadata.task", "metadata.requester_metadata.task"),
        "input_tokens": count(record.get("prompt_tokens")),
        "output_tokens": count(record.get("completion_tokens")),
        "usage_source": "server" if count(record.get("completion_tokens")) is not None else None,
        "cost": number(record.get("spend")),
        "latency_s": seconds(first(record, "startTime", "start_time"), first(record, "endTime", "end_time")),
        "served_at": served_at(first(record, "startTime", "start_time")),
        "performance": given.score(first(record, "metadata.score", "metadata.user_feedback"), where),
        **found,
        "served_model": first(record, "model") or found.get("served_model"),
    }

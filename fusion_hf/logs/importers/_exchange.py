"""Requests and replies as gateways keep them: chats, usage, costs, times in OpenAI's forms -> columns of log rows."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...messages import message_text
from ..logprobs import mean_logprob, token_logprobs
from ._files import files_of, read_csv, read_json, read_json_lines, unpacked_name
from ._result import ImportResult, log_table
from ._rows import RowReader, keys_of, moment, read_scale, sound

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
LARGEST = 2**31 - 1


def records(path: str | Path) -> Iterator[tuple[str, dict]]:
    """(where it stands, object) of every record of a file or folder: JSON lines, a JSON list, or CSV; gzip or not."""
    for file in files_of(path, SUFFIXES, deep=True):
        name = unpacked_name(file)
        if name.endswith(".csv"):
            rows = read_csv(file, dtype=str, keep_default_na=False).to_dict("records")
            yield from ((f"{file}, row {i}", row) for i, row in enumerate(rows, 1))
        elif name.endswith(".json"):
            found = read_json(file)
            found = found.get("data", [found]) if isinstance(found, dict) else found
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise UserError(f"{file}: expected a list of objects, found something else")
            yield from ((f"{file}, entry {i}", row) for i, row in enumerate(found, 1))
        else:
            yield from ((f"{file}, line {number}", row) for number, row in read_json_lines(file))


def parsed(value: Any) -> Any:
    """What a text that holds JSON says; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def first(record: Mapping[str, Any], *names: str) -> Any:
    """The first of these keys that has a value; a dot leads into an object."""
    for name in names:
        value: Any = record
        for part in name.split("."):
            value = parsed(value)
            value = value.get(part) if isinstance(value, Mapping) else None
        if value not in (None, "", [], {}):
            return value
    return None


def query_text(request: Any) -> str:
    """The text of a request as routers read it: a text, a chat, or an object that holds one; empty without any."""
    request = parsed(request)
    if isinstance(request, Mapping):
        request = parsed(first(request, "messages", "input", "prompt", "content"))
    if isinstance(request, str):
        return request
    texts = []
    for message in request if isinstance(request, list) else []:
        if isinstance(message, str):
            texts.append(message)
        elif isinstance(message, Mapping):
            texts.append(message_text(dict(message))[0])
    return "\n\n".join(text for text in texts if text)


def reply_fields(reply: Any) -> dict[str, Any]:
    """``response``, ``reasoning``, ``finish_reason``, ``error`` and ``served_model`` of a reply of an OpenAI endpoint.

    A reply is a text, a message, or the object of a chat completion, a text completion or the Responses API.
    """
    reply = parsed(reply)
    if isinstance(reply, str):
        return {"response": reply}
    if not isinstance(reply, Mapping):
        return {}
    fields = {"served_model": reply.get("model") if isinstance(reply.get("model"), str) else None}
    choice = next((c for c in reply.get("choices") or [] if isinstance(c, Mapping)), None)
    error = reply.get("error") or (choice or {}).get("error")
    if error:
        return fields | {"error": str(error.get("message", error) if isinstance(error, Mapping) else error)[:1000]}
    if choice is not None:
        message = choice.get("message")
        finish = choice.get("finish_reason")
        text = choice.get("text") if not isinstance(message, Mapping) else message_text(dict(message))[0]
        reasoning = first(message or {}, "reasoning_content", "reasoning")
        return fields | {
            "response": text if isinstance(text, str) else None,
            "reasoning": reasoning if isinstance(reasoning, str) else None,
            "finish_reason": finish if isinstance(finish, str) else None,
            "mean_logprob": mean_logprob(token_logprobs(choice.get("logprobs"))),
        }
    output = reply.get("output")
    if isinstance(output, list):  # the Responses API
        said = [m for m in output if isinstance(m, Mapping) and m.get("type") == "message"]
        return fields | {"response": "\n".join(message_text(dict(m))[0] for m in said)}
    if "content" in reply or "refusal" in reply:
        return {"response": message_text(dict(reply))[0]}
    return fields


def usage_fields(usage: Any) -> dict[str, Any]:
    """Token counts and the provider's own cost, by any of the names that servers give them."""
    usage = parsed(usage)
    if not isinstance(usage, Mapping):
        return {}
    details = ("completion_tokens_details", "output_tokens_details", "completionTokensDetails")
    prompt = ("prompt_tokens_details", "input_tokens_details", "promptTokensDetails")
    fields = {
        "input_tokens": count(first(usage, "prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "input")),
        "output_tokens": count(
            first(usage, "completion_tokens", "output_tokens", "completionTokens", "outputTokens", "output")
        ),
        "reasoning_tokens": count(first(usage, *(f"{d}.reasoning_tokens" for d in details), "reasoning_tokens")),
        "cached_tokens": count(first(usage, *(f"{p}.cached_tokens" for p in prompt), "cached_tokens")),
        "reported_cost": number(first(usage, "cost")),
    }
    found = {name: value for name, value in fields.items() if value is not None}
    return found | ({"usage_source": "server"} if "output_tokens" in found else {})


def number(value: Any) -> float | None:
    """A finite number of at least 0, also where it stands as a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) and result >= 0 else None


def count(value: Any) -> int | None:
    """A whole number of tokens that a log row can hold; None for anything else."""
    result = number(value)
    return int(result) if result is not None and result == int(result) and result <= LARGEST else None


def seconds(start: Any, end: Any) -> float | None:
    """Seconds between two times, each an ISO 8601 text or seconds since 1970; None where one cannot be read."""
    times = [_time(value) for value in (start, end)]
    if None in times or times[1] < times[0]:
        return None
    return times[1] - times[0]


def _time(value: Any) -> float | None:
    if (plain := number(value)) is not None:
        return plain
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    except (AttributeError, ValueError):
        return None


def served_at(*values: Any) -> str | None:
    """The first of these times that can be read, as log rows have it."""
    for value in values:
        try:
            return moment(value, "served_at")
        except UserError:
            continue
    return None


class Given:
    """What the user says of a gateway's records.

    Args:
        mapping: Column of the log row -> key of the record that holds it (``a.b`` for b inside a), in place of where
            the importer looks.
        scale: Worst and best rating, such as ``1-5``; None expects scores in 0..1.
        on_duplicate: Which of several rows of one (query, LLM, mode) stays; see `ImportResult.keep`.
    """

    def __init__(self, mapping: Mapping[str, str] | None, scale: str | None, on_duplicate: str):
        self.mapping, self.on_duplicate = dict(mapping or {}), on_duplicate
        self._reader = RowReader(keys_of({}, self.mapping), read_scale(scale))
        self._missing = set(self.mapping)

    def score(self, value: Any, where: str) -> float | None:
        """A score in 0..1; thumbs (true and false, up and down) count as 1 and 0, and a number may stand as a text."""
        return None if value is None else self._reader.score(value, where)

    def over(self, row: dict[str, Any], record: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The row with the columns that the user has named."""
        for column in self.mapping if "drop" not in row else ():
            value = self._reader.column(record, column, where)
            row[column] = value
            if value is not None:
                self._missing.discard(column)
        return row

    def check(self, path: Any) -> None:
        """Raise `UserError` for a key that no record had."""
        for column in sorted(self._missing):
            key = self.mapping[column]
            raise UserError(f"{path}: expected a key {key!r} with a value (map {column}={key}), found it in no record")


def as_log(rows: Iterable[tuple[str, dict[str, Any]]], task: str | None, given: Given, path: Any) -> ImportResult:
    """Rows (where it stands, columns) as a log of the split train; those without a query, LLM or answer are dropped.

    A row with the key ``drop`` is left out for the reason that stands there.
    """
    result, kept = ImportResult(tables={}), []
    for _, row in rows:
        result.read += 1
        reason = row.pop("drop", None)
        said = row.get("response") is not None or row.get("performance") is not None or row.get("error") is not None
        reason = reason or next(
            (f"no {name}" for name in ("query", "llm") if not (isinstance(row.get(name), str) and row[name])), None
        )
        reason = reason or (None if said else "neither a response, an error nor a score")
        if reason:
            result.add(result.dropped, reason, 1)
            continue
        kept.append(row | {"task": task or str(row.get("task") or "unknown")})
    if result.read:
        given.check(path)
    columns = {name for row in kept for name in row} | {"query", "llm", "task"}
    data = {name: [row.get(name) for row in kept] for name in columns}
    data |= {"source_id": [""] * len(kept), "ground_truth": [row.get("ground_truth") or [] for row in kept]}
    data["metric"] = [row.get("metric") or "publisher" for row in kept]
    # The same text that several LLMs were asked is one query, whatever the ids of its requests.
    table = log_table({n: [sound(v) if isinstance(v, str) else v for v in values] for n, values in data.items()})
    return result.keep({"train": [table]}, given.on_duplicate)

"""What clients of a server said of its answers: scores for request ids, joined to the rows when a log is read."""

import json
from pathlib import Path

import pyarrow as pa

from .schema import LOG_SCHEMA

GRADER = "feedback@1"


def read_feedback(folder: str | Path) -> dict[str, float]:
    """The last score of each request in a folder of served rows."""
    found: dict[str, tuple[str, float]] = {}
    for path in Path(folder).glob("feedback-*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:  # a torn last line has no end
            entry = json.loads(line)
            found[entry["request_id"]] = max(found.get(entry["request_id"], ("", 0.0)), (entry["at"], entry["score"]))
    return {request_id: score for request_id, (_, score) in found.items()}


def add_feedback(table: pa.Table, scores: dict[str, float]) -> pa.Table:
    """The rows with feedback as performance. It judges the answer that the client got: the last of its request."""
    if not scores or not table.num_rows:
        return table
    ids, attempts = table["request_id"].to_pylist(), table["attempt"].to_pylist()
    errors, performance = table["error"].to_pylist(), table["performance"].to_pylist()
    grader = table["grader"].to_pylist()
    last: dict[str, int] = {}
    for row, (name, attempt) in enumerate(zip(ids, attempts, strict=True)):
        if name in scores and errors[row] is None and (name not in last or attempt > attempts[last[name]]):
            last[name] = row
    for name, row in last.items():
        performance[row], grader[row] = scores[name], GRADER
    for name, values in (("performance", performance), ("grader", grader)):
        field = LOG_SCHEMA.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table

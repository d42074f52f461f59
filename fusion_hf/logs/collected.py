"""What the collector leaves in a folder: shards of answers, judgements, feedback and the pool, as a log table."""

from pathlib import Path

import pyarrow as pa

from ..errors import UserError
from ..yaml_file import read_yaml
from .feedback import add_feedback, read_feedback
from .judgements import add_judgements, read_judgements
from .schema import rows_to_table, validate
from .shards import latest_chunks
from .store import LLMS

JUDGE = "judge"  # folder of judgements in a folder of the collector


def read_collected(path: Path, grader: str | None) -> pa.Table:
    """One row a key of the shards, graded with this version of the graders (None: not) and judged."""
    chunks = [rows_to_table(rows) for rows in latest_chunks(path)]
    if not chunks:
        raise UserError(f"{path}: expected rows of the collector (shard-*.jsonl), found none")
    table = validate(pa.concat_tables(chunks), where=str(path))
    if grader is not None:
        from .grade_table import grade_table

        table = validate(grade_table(table, grader), where=str(path))
        table = add_feedback(table, read_feedback(path))  # of a server's clients
    judged = path / JUDGE
    return add_judgements(table, read_judgements(judged)) if judged.is_dir() else table


def pool_rows(pool: Path) -> list[dict]:
    """The LLMs of the pool file that the collector leaves beside its shards."""
    content = read_yaml(pool) if pool.is_file() else {}
    entries = content.get("llms") if isinstance(content, dict) else None
    rows = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    rows = [{"model": row.get("name"), **{k: v for k, v in row.items() if v is not None}} for row in rows]
    texts = [field.name for field in LLMS if pa.types.is_string(field.type)]
    return [{n: str(row[n]) if n in texts else row[n] for n in LLMS.names if n in row} for row in rows]

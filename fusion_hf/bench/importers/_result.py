"""What an importer returns, and what importers share: opening files with clear errors, and building the log table."""

import gzip
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import UserError
from ..schema import LOG_SCHEMA, query_id

SPLIT_WORDS = {"train": "train", "test": "test", "partial_test": "partial_test", "validation": "test", "dev": "test"}


@dataclass
class ImportResult:
    """What was read.

    Attributes:
        tables: Log table of each split.
        llms: Rows of the ``llms`` config; empty where the format names no prices.
        read: Cells (query x LLM) that the source holds.
        kept: Rows of the tables; `read` = `kept` + the sum of `dropped`.
        dropped: Cells left out, by reason.
        notes: Other counts worth knowing, by description (cells without a score, queries with every score).
    """

    tables: dict[str, pa.Table]
    llms: list[dict] = field(default_factory=list)
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def table(self) -> pa.Table:
        """All splits together."""
        return pa.concat_tables(self.tables.values())

    def add(self, counts: dict[str, int], reason: str, n: int) -> None:
        """Raise a count of `dropped` or `notes`, if n is not zero."""
        if n:
            counts[reason] = counts.get(reason, 0) + n


@dataclass
class Query:
    """One query of a log in the making; see the log row for the fields."""

    task: str
    source_id: str
    text: str
    gold: list[str]
    metric: str


def open_text(path: Path) -> str:
    """The text of a file, gzip or not (by its first bytes, not by its name)."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif path.suffix == ".gz":
            raise UserError(f"{path}: expected a gzip file, found other bytes: rename it or pack it again")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: expected a file, found none there") from None
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected text in UTF-8, found byte {data[error.start]:#x}") from None


def read_json(path: Path) -> Any:
    """A JSON file, gzip or not."""
    text = open_text(path)
    if not text.strip():
        raise UserError(f"{path}: the log is empty: expected JSON, found nothing")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected JSON, found something else ({error})") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a JSON lines file, gzip or not; blank lines are passed over."""
    for number, line in enumerate(io.StringIO(open_text(path)), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: expected a JSON object, found something else ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def files_of(path: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """The file itself, or the files of a folder whose names end in one of `suffixes` (with or without .gz)."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: expected a file or folder, found nothing there")
    if path.is_file():
        return [path]
    names = tuple(suffixes) + tuple(s + ".gz" for s in suffixes)
    files = sorted(f for f in path.iterdir() if f.is_file() and f.name.endswith(names))
    if not files:
        found = ", ".join(sorted(f.name for f in path.iterdir())[:5]) or "nothing"
        raise UserError(f"{path}: expected files that end in {' or '.join(suffixes)}, found {found}")
    return files


def split_of(path: Path) -> tuple[str, str]:
    """(task, split) of a file name: ``arc_challenge_test.csv.gz`` is ("arc_challenge", "test"); train by default."""
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    for word, split in sorted(SPLIT_WORDS.items(), key=lambda pair: -len(pair[0])):
        for mark in ("_", "-"):
            if stem.lower().endswith(mark + word):
                return stem[: -len(word) - 1], split
        if stem.lower() == word:
            return "", split
    return stem, "train"


def check_score(value: Any, where: str) -> float:
    """A score as a float, NaN where there is none (null, NaN); refuses other types and numbers outside 0..1."""
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        value = float(value)
        if math.isnan(value) or 0.0 <= value <= 1.0:
            return value
    raise UserError(f"{where}: expected a score in 0..1, found {value!r:.60}")


def build_table(
    queries: Sequence[Query],
    llms: Sequence[str],
    scores: np.ndarray,
    grader: str,
    costs: np.ndarray | None = None,
    responses: Sequence[Sequence[str | None]] | None = None,
    present: np.ndarray | None = None,
) -> pa.Table:
    """Log rows of a grid.

    Args:
        queries: n queries.
        llms: m names.
        scores: float [n, m]; NaN becomes null.
        grader: Whose scores these are.
        costs: float [n, m] in USD; NaN becomes null.
        responses: m columns of n responses.
        present: bool [n, m]; cells that are in the source at all (all by default).
    """
    n, m = len(queries), len(llms)
    present = np.ones((n, m), bool) if present is None else present
    row, column = np.nonzero(present)
    take, name = pa.array(row), pa.array(column)
    ids = [query_id(q.task, q.source_id, q.text) for q in queries]
    texts = {
        "query_id": ids,
        "task": [q.task for q in queries],
        "source_id": [q.source_id for q in queries],
        "query": [q.text for q in queries],
        "ground_truth": [q.gold for q in queries],
        "metric": [q.metric for q in queries],
    }
    data = {k: pa.array(v, LOG_SCHEMA.field(k).type).take(take) for k, v in texts.items()}
    data["llm"] = pa.array(list(llms), pa.string()).take(name)
    score = scores[row, column]
    data["mode"] = pa.array(["direct"], pa.string()).take(pa.array(np.zeros(len(row), np.int64)))
    data["performance"] = pa.array(score.astype(np.float32), from_pandas=True)
    data["grader"] = pa.array(np.where(np.isnan(score), None, grader), pa.string())
    if costs is not None:
        data["cost"] = pa.array(costs[row, column], from_pandas=True)
    if responses is not None:
        data["response"] = pa.array([responses[c][r] for r, c in zip(row, column, strict=True)], pa.large_string())
    columns = [data[f.name] if f.name in data else pa.nulls(len(row), f.type) for f in LOG_SCHEMA]
    return pa.Table.from_arrays(columns, schema=LOG_SCHEMA)

"""What a check of the audit returns, and what several checks share."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ..schema import candidate_id, encode

SEVERITIES = ("error", "warning", "info")
EXAMPLES = 5


@dataclass
class Finding:
    """One thing that is wrong, or looks wrong.

    Attributes:
        kind: Short name of the check, such as ``unparsed answers``.
        severity: ``error`` (scores are wrong, or a split leaks), ``warning`` (look at it), ``info``.
        message: What was found, with its figures.
        advice: What to do about it.
        count: Rows, queries or cells that it concerns.
        task: The task that it concerns, or None.
        candidate: The candidate that it concerns, or None.
        examples: A few query ids.
        figures: The figures of the message as numbers.
    """

    kind: str
    severity: str
    message: str
    advice: str
    count: int
    task: str | None = None
    candidate: str | None = None
    examples: list[str] = field(default_factory=list)
    figures: dict = field(default_factory=dict)


def candidates(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """(candidate ids, int64 [rows] place of each row's candidate)."""
    llms, llm = encode(table["llm"])
    modes, mode = encode(table["mode"])
    pairs, column = np.unique(llm * len(modes) + mode, return_inverse=True)
    return [candidate_id(str(llms[p // len(modes)]), str(modes[p % len(modes)])) for p in pairs], column


def examples(table: pa.Table, rows) -> list[str]:
    """A few query ids of these rows, each once."""
    found = table["query_id"].take(pa.array(np.asarray(rows)[: 20 * EXAMPLES], pa.int64())).to_pylist()
    return list(dict.fromkeys(found))[:EXAMPLES]

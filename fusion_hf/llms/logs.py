"""Logs wherever they are: the collector's shards, or anything that `read_log` reads."""

from pathlib import Path

import pyarrow as pa

from ..bench.store import read_log
from .collect import finish


def load_log(path: str | Path) -> pa.Table:
    """A log table. A folder of the collector is read with one row a key, priced and graded (see `finish`)."""
    if any(Path(path).glob("shard-*.jsonl")):
        return finish(path)
    return read_log(path)

"""How a thing was made: its settings, the log that it came from, and versions; saved with it, and shown on its card."""

import hashlib
import json
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

FILE = "made.json"
"""Where it stands in a folder that has no configuration of its own."""


def made(settings: Mapping[str, Any], log: Mapping[str, Any], *packages: str) -> dict[str, Any]:
    """The record of how a thing was made, as plain JSON.

    Args:
        settings: Arguments of the function that made it: with them it makes the same again. Paths stand as they were
            given, and what has no name (a table, an open pool) is null.
        log: What it came from; see `log_record`.
        packages: Whose versions matter beside ours.
    """
    return {"settings": _plain(settings), "log": dict(log), "versions": versions(*packages)}


def with_change(
    training: Mapping[str, Any] | None, command: str, settings: Mapping[str, Any], fingerprint: str | None = None
) -> dict[str, Any]:
    """The record of a thing that a later command changed, such as ``add-llm``, and of the log that it read."""
    known = dict(training or {})
    change = {"command": command, "settings": _plain(settings), "log": {"fingerprint": fingerprint}}
    return known | {"changes": [*known.get("changes", []), change]}


def versions(*packages: str) -> dict[str, str]:
    """Package -> version, ours first and Python's last."""
    import fusion_hf

    found = {"fusion_hf": fusion_hf.__version__} | {name: version(name) for name in packages}
    return found | {"python": platform.python_version()}


def read_made(folder: str | PathLike[str]) -> Any:
    """The record in a folder's `FILE`; None where there is none, or nothing that can be read."""
    try:
        return json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def log_record(table: pa.Table) -> dict[str, Any]:
    """``{"fingerprint", "rows"}`` of a log or any other table; the order of its rows does not matter."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(_texts(table).to_pandas(), index=False).to_numpy()
    return {"fingerprint": hashlib.blake2b(np.sort(rows).tobytes(), digest_size=16).hexdigest(), "rows": table.num_rows}


def _texts(table: pa.Table) -> pa.Table:
    """Without dictionaries, and with what is nested as JSON: both can be written in more than one way."""
    for place, field in enumerate(table.schema):
        column = table[field.name]
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, column.cast(field.type.value_type))
        elif pa.types.is_nested(field.type):
            table = table.set_column(place, field.name, pa.array(map(json.dumps, column.to_pylist()), pa.string()))
    return table


def shown(training: Any, command: str) -> dict[str, Any] | None:
    """What a card shows of a record: it, with the command that makes the same again; None where there is no record.

    Args:
        training: What a folder says of itself; anybody may have written it.
        command: The command with ``{}`` for its options.
    """
    parts = ("settings", "log", "versions")
    if not isinstance(training, dict) or not all(isinstance(training.get(part), dict) for part in parts):
        return None
    commands = [command.format(as_options(training["settings"]))]
    changes = training.get("changes")
    for change in changes if isinstance(changes, list) else []:
        if isinstance(change, dict) and isinstance(change.get("settings"), dict):
            commands.append(f"fusion-hf {change.get('command')} ROUTER {as_options(change['settings'])}")
    return training | {"command": "\n".join(commands)}


def as_options(settings: Mapping[str, Any]) -> str:
    """Settings as a command's options, for a card; of a local path only its name, which tells nothing of a machine."""
    words: list[str] = []
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}"
        if isinstance(value, bool):
            words += [flag] if value else []
        elif isinstance(value, Mapping):
            words += [
                word
                for key, v in value.items()
                if v is not None
                for word in (flag, f"{key}={_word(v)}" if key else _word(v))
            ]
        elif isinstance(value, list):
            words += [flag, ",".join(map(_word, value))] if value else []
        elif value is not None:
            words += [flag, _word(value)]
    return shlex.join(words)


def local_name(name: str) -> str:
    """The last part of a local path; anything else as it stands."""
    return Path(name).name if Path(name).exists() or name.startswith((".", "/", "~")) else name


def _word(value: Any) -> str:
    return local_name(value) if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, PathLike):
        return str(value)
    return value if isinstance(value, (str, int, float, bool)) else None

"""What a comparison is given: routers by name, and other logs of the same queries by name and level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import UserError
from ..logs.log import Log, read_log

Place = str | PathLike[str]
Routers = Mapping[str, Place] | Sequence[Place] | Place
Logs = Mapping[str, Place | pa.Table | Log]


@dataclass(frozen=True)
class Source:
    """A log of answers to the same queries, and the level that whoever passed it says it is of."""

    name: str
    level: str
    log: Any

    @property
    def folder(self) -> Path | None:
        """Where it lies; None where it was passed as a table."""
        place = self.log.path if isinstance(self.log, Log) else self.log
        return Path(place) if isinstance(place, (str, PathLike)) else None

    def read(self) -> pa.Table:
        """Its rows."""
        return read_log(self.log)


def named_routers(routers: Routers | None) -> dict[str, str]:
    """Routers by name: as they are given, else named by their folders."""
    if routers is None:
        return {}
    if isinstance(routers, Mapping):
        return {str(name): str(place) for name, place in routers.items()}
    places = [routers] if isinstance(routers, (str, PathLike)) else list(routers)
    named = {Path(place).name or str(place): str(place) for place in places}
    if len(named) < len(places):
        raise UserError("routers: two of them lie in folders of one name: give each a name, {name: folder}")
    return named


def stated_logs(thoughts: Logs | None = None, models: Logs | None = None, logs: Logs | None = None) -> list[Source]:
    """Logs with their levels, which nothing but the parameter says.

    Args:
        thoughts: Name -> log of an LLM that was asked with thought templates (thought level).
        models: Name -> log of an LLM that was trained on the answers of others (model level).
        logs: Name -> log of any other LLM.
    """
    sources = []
    for word, level, given in (
        ("thoughts", "thought", thoughts),
        ("models", "model", models),
        ("logs", "single", logs),
    ):
        if given is not None and not isinstance(given, Mapping):
            raise UserError(f"{word}: expected a name for each log, as {{name: log}}, found {type(given).__name__}")
        sources += [Source(str(name), level, log) for name, log in (given or {}).items()]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two logs are called {twice[0]!r}: give each a name of its own")
    return sources

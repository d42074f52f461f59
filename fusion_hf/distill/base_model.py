"""The base model that an adapter was trained on: a Hub id, or a folder or file of this machine."""

import json
import os
from pathlib import Path

from ..errors import UserError
from ..outputs import absolute, write_text

CONFIG = "adapter_config.json"
FIELD = "base_model_name_or_path"
REPORT = "train_report.json"
RELATIVE = "base_relative"
"""Key of the report: the base relative to the adapter, so that both can move together."""


def read_base(adapter: str | Path) -> str:
    """Folder or Hub id of an adapter's base. A folder that is gone is an error, never looked for on the Hub.

    Whoever registers a Hub id that looks like the folder, such as ``models/base``, would be loaded in its place.
    """
    adapter = Path(adapter)
    name = json.loads((adapter / CONFIG).read_text(encoding="utf-8")).get(FIELD) or ""
    report = _report(adapter)
    relative = report.get(RELATIVE)
    local = not name or name.startswith((".", "/", "~")) or "model" in report.get("local", [])
    if not local and not Path(name).exists():
        return name
    # Where it moved together with the adapter, where it was, and, for adapters of other tools, as it is written.
    places = [adapter / relative] if isinstance(relative, str) and relative else []
    for place in (*places, adapter / name, Path(name).expanduser()):
        if name and place.exists():
            return str(absolute(place))
    raise UserError(f"{adapter}: its base model {name!r} is a folder that is not there: name the base (base)")


def name_base(adapter: str | Path) -> str | None:
    """Name a base that is a folder of this machine by its whole path; returns the path relative to the adapter.

    The whole path is what peft and transformers read from wherever they are called; a relative one would be looked for
    in the current folder, and on the Hub after that. None where the base is no folder.
    """
    file = Path(adapter) / CONFIG
    if not file.is_file():
        return None
    config = json.loads(file.read_text(encoding="utf-8"))
    name = config.get(FIELD)
    if not name or not Path(name).exists():
        return None
    place = absolute(name)
    config[FIELD] = str(place)
    write_text(file, json.dumps(config, indent=2) + "\n")
    return Path(os.path.relpath(place, file.parent.resolve())).as_posix()


def _report(adapter: Path) -> dict:
    file = adapter / REPORT
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

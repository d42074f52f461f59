"""The base model that an adapter was trained on: a Hub id, or a folder or file, named relative to the adapter."""

import json
import os
from pathlib import Path

from ..errors import UserError

CONFIG = "adapter_config.json"
FIELD = "base_model_name_or_path"


def read_base(adapter: str | Path) -> str:
    """Folder or Hub id of an adapter's base. A folder that is gone is an error, never looked for on the Hub.

    Whoever registers a Hub id that looks like the folder, such as ``models/base``, would be loaded in its place.
    """
    adapter = Path(adapter)
    name = json.loads((adapter / CONFIG).read_text(encoding="utf-8")).get(FIELD) or ""
    local = not name or name.startswith((".", "/", "~")) or _trained_on_folder(adapter)
    if not local and not Path(name).exists():
        return name
    for place in (adapter / name, Path(name).expanduser()):  # the second for adapters of other tools
        if name and place.exists():
            return str(place.resolve())
    raise UserError(f"{adapter}: its base model {name!r} is a folder that is not there: name the base (base, --base)")


def name_base(adapter: str | Path) -> None:
    """Name a base that is a folder of this machine relative to the adapter."""
    file = Path(adapter) / CONFIG
    if not file.is_file():
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    name = config.get(FIELD)
    if name and Path(name).exists():
        config[FIELD] = Path(os.path.relpath(Path(name).resolve(), file.parent.resolve())).as_posix()
        if not config[FIELD].startswith("."):
            config[FIELD] = f"./{config[FIELD]}"
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _trained_on_folder(adapter: Path) -> bool:
    """Whether its report says that the base was a folder; from elsewhere a relative one looks like a Hub id."""
    report = adapter / "train_report.json"
    return report.is_file() and "model" in json.loads(report.read_text(encoding="utf-8")).get("local", [])

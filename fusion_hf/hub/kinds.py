"""Which kind of thing lies in a folder."""

import json
from os import PathLike
from pathlib import Path

from ..errors import UserError

# What tells the kind of a folder, the first that fits: (file in it, kind, repository type on the Hub).
MARKS = (
    ("fused_config.json", "fused", "model"),
    ("adapter_config.json", "adapter", "model"),
    ("data", "dataset", "dataset"),
    ("config.json", "model", "model"),
    # Last, because a model may be saved together with its index.
    ("thought_templates/index_config.json", "templates", "dataset"),
)
KNOWN = "a FusionBench, training data, router, templates, adapter, trained model, fused system or metric"


def kind_of(path: str | PathLike[str]) -> tuple[str, str]:
    """(kind, Hub repository type) of a folder that fusion_hf wrote, or of a metric."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: expected a folder with {KNOWN}, found nothing there")
    if (path / f"{path.resolve().name}.py").is_file() and (path / "app.py").is_file():
        return "metric", "space"
    for mark, kind, repo_type in MARKS:
        if (path / mark).exists():
            return (_model_kind(path) if kind == "model" else kind), repo_type
    found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "an empty folder"
    raise UserError(f"{path}: expected {KNOWN}, found {found}")


def _model_kind(path: Path) -> str:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path / 'config.json'}: expected JSON, found something else: {error}") from None
    if "candidates" in config:
        return "router"
    return "pipeline" if (path / "thought_templates" / "index_config.json").exists() else "model"

"""Which files of a folder are pushed, and how they are laid out for it, with their card and without secrets."""

import json
import os
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..cards import PLACE, check_metadata, sign, untouched
from ..errors import UserError
from ..made import FILE as MADE
from .cards import card_writer
from .secrets import refuse_secrets

# Never pushed, wherever they stand: what is hidden, half-written, cached, pickled, or of a training that may go on.
IGNORED = (
    ".*", "__pycache__", "*.pyc", "*.tmp", "*.part", "*.lock", "*.new", "*.swp", "*~",
    "*.pkl", "*.pickle", "training_args.bin", "checkpoint-*",
)  # fmt: skip


def files_of(folder: Path) -> tuple[list[str], list[str]]:
    """(files to push, links that are left out), as paths inside the folder with ``/``; what `IGNORED` names is neither.

    A link may lead to anything on this machine, so none is followed.
    """
    files, links = [], []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _ignored(name))
        for name in [*folders, *sorted(names)]:
            path = Path(here, name)
            if path.is_symlink():
                links.append(path.relative_to(folder).as_posix())
            elif name in names and path.is_file() and not _ignored(name):
                files.append(path.relative_to(folder).as_posix())
        folders[:] = [name for name in folders if not Path(here, name).is_symlink()]
    return sorted(files), links


def _ignored(name: str) -> bool:
    return name != ".gitattributes" and any(fnmatchcase(name, pattern) for pattern in IGNORED)


def stage(
    folder: Path,
    out: Path,
    kind: str,
    repo_type: str,
    repo_id: str,
    base_model: str | None = None,
    token: str | None = None,
    allow_token_like: bool = False,
) -> None:
    """Lay out in `out` what is pushed of `folder`: links to its files, and a card that names the repository.

    The folder itself stays as it is. A card that nobody changed is written anew from what was measured since.

    Raises:
        UserError: Nothing to push; a file that seems to hold an access token (see `refuse_secrets`); a card whose
            metadata the Hub cannot read, or that promises files that are not there; an adapter whose base model is a
            folder of this machine, without `base_model`; templates whose encoder is one and not saved with them.
    """
    names, links = files_of(folder)
    if not names:
        left = f"only links, which are not followed: {', '.join(links[:3])}" if links else "none"
        raise UserError(f"{folder}: expected files to push, found {left}")
    refuse_secrets([folder / name for name in names], token, lookalikes=not allow_token_like)
    for name in names:
        _link(folder / name, out / name)
    _without_local_records(out)
    if kind in ("adapter", "model", "fused"):
        _without_local_names(folder, out, base_model)
    _without_local_encoder(folder, out / "thought_templates" / "index_config.json")
    card = out / "README.md"
    writer = card_writer(kind)
    if writer is not None and (not card.exists() or untouched(card.read_text(encoding="utf-8"))):
        card.unlink(missing_ok=True)
        writer(out, repo_id)
    if card.exists():
        _name_place(card, repo_id)
        data = check_metadata(card.read_text(encoding="utf-8"), repo_type)
        _check_configs(data.get("configs") or [], out)


def _name_place(card: Path, repo_id: str) -> None:
    """Put the repository's id where a card says where it lies."""
    text = card.read_text(encoding="utf-8")
    named = text.replace(PLACE, repo_id)
    _write(card, sign(named) if untouched(text) else named)


def _check_configs(configs: list[dict], out: Path) -> None:
    """That `load_dataset` will find files for every config and split of a card."""
    for config in configs:
        parts = config.get("data_files") or []
        for part in parts if isinstance(parts, list) else []:
            paths = part.get("path") if isinstance(part, dict) else part
            for pattern in [paths] if isinstance(paths, str) else paths or []:
                if not pattern.startswith(("/", "hf:", "http")) and not any(out.glob(pattern)):
                    raise UserError(
                        f"README.md: config {config.get('config_name')!r} reads {pattern}, and no file fits: write the "
                        "card anew (fusion-hf build), or take the config out"
                    )


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a file system, or a Windows, without links
        shutil.copy2(source, target)


def _write(path: Path, text: str) -> None:
    """Write a file of the layout, never through a link into the user's folder."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def _without_local_records(out: Path) -> None:
    """Paths of this machine in what is told of how things were made become plain names."""
    for name in ("config.json", "index_config.json", "fused_config.json", MADE):
        for file in out.rglob(name):
            try:
                data = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                continue  # no record of ours
            part = data if name == MADE else data.get("training") if isinstance(data, dict) else None
            if part and part != _plain(part):
                data = _plain(data) if name == MADE else data | {"training": _plain(part)}
                _write(file, json.dumps(data, indent=2) + "\n")


def _without_local_names(folder: Path, out: Path, base_model: str | None) -> None:
    """Folders of this machine, which name a base model or data, become the base's Hub id and plain names."""
    for report in out.rglob("train_report.json"):
        data = json.loads(report.read_text(encoding="utf-8"))
        if report.parent == out and base_model is not None:
            data |= {"model": base_model, "local": [key for key in data.get("local", []) if key != "model"]}
        _write(report, json.dumps(_plain(data), indent=1) + "\n")
    config = out / "adapter_config.json"
    if config.exists():
        data = json.loads(config.read_text(encoding="utf-8"))
        base = data.get("base_model_name_or_path")
        if base_model is None and (not base or _is_local(base) or _was_local(out)):
            raise UserError(
                f"{folder}: its base model {base!r} is a folder of this machine, and an adapter loads with its base "
                "only: push the base, and name it as base_model, such as user/base"
            )
        _write(config, json.dumps(data | {"base_model_name_or_path": base_model or base}, indent=2) + "\n")


def _without_local_encoder(folder: Path, index: Path) -> None:
    """A template index whose encoder is a folder of this machine: its plain name, if the weights lie beside it."""
    data = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    if not _is_local(data.get("encoder", "offline")):
        return
    if not data.get("has_encoder"):
        raise UserError(
            f"{folder}: the encoder of its templates is a folder of this machine, and nobody else could search them: "
            "make them with the encoder offline, or one of the Hub"
        )
    _write(index, json.dumps(data | {"encoder": Path(data["encoder"]).name}, indent=2) + "\n")


def _was_local(out: Path) -> bool:
    """Whether an adapter was trained on a folder, by its report; from elsewhere a relative one looks like a Hub id."""
    report = out / "train_report.json"
    return report.exists() and "model" in json.loads(report.read_text(encoding="utf-8")).get("local", [])


def _is_local(name: str) -> bool:
    return Path(name).exists() or name.startswith((".", "/", "~"))


def _plain(value: Any) -> Any:
    """The last part of a path on this machine, also inside dicts and lists; anything else as it is."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return Path(value).name if isinstance(value, str) and "/" in value and _is_local(value) else value

"""The files of a FusionBench folder: which Parquet file holds which task and split, as its README says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from ..errors import UserError, hub_reason
from .files import read_parquet

SPLITS = ("train", "partial_test", "test")
TEMPLATES = "thought_templates"
EXTRAS = ("llms", "tasks", TEMPLATES)
"""Configs beside the tasks: a folder of this name with ``train-*.parquet``."""
LLMS = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "size")),
        *((name, pa.float64()) for name in ("input_price", "output_price")),  # USD per million tokens
        *((name, pa.string()) for name in ("price_date", "price_source", "description", "model")),
        *((name, pa.float64()) for name in ("cached_input_price", "reasoning_price")),
    ]
)
"""Columns of the config ``llms``; all but the name may be null."""
_GLOB = re.compile(r"[*?\[]")


_LONGEST_NAME = 100  # bytes: a file system allows 255, and paths get longer in caches
_TAKEN = (".", "..", "all", "default", *EXTRAS)


def check_task_name(task: str) -> None:
    """Refuse a name that a dataset repository cannot have as a config and a folder.

    ``default`` is the name of the config that ``datasets`` loads where none is named; brackets are patterns of file
    names to it; blanks around a name and characters that cannot be printed are lost on the way.

    Raises:
        UserError: The name is empty, taken, too long, or has such characters.
    """
    odd = sorted({c for c in task if c in '/\\:*?"<>|[]{}$' or not c.isprintable()})
    long = len(task.encode("utf-8", "replace")) > _LONGEST_NAME
    if task and not odd and not long and task == task.strip() and task not in _TAKEN:
        return
    why = "it is empty" if not task.strip() else "blanks stand around it"
    if task in _TAKEN:
        why = "the repository uses it for something else"
    elif odd:
        why = f"it has {', '.join(map(repr, odd[:5]))}"
    elif long:
        why = f"it is longer than {_LONGEST_NAME} bytes"
    shown = task if len(task) <= 60 else task[:60] + "…"
    raise UserError(f"task name {shown!r} cannot be a dataset config ({why}): use letters, digits, '-', '_' and '.'")


@dataclass(frozen=True)
class Folder:
    """What a FusionBench folder holds, by the configs of its README.

    The README is what counts: a writer puts new files beside the old ones and then replaces the README, so that a
    reader sees the old state or the new one, and nothing in between. Only a folder whose README names no files is read
    by the names of its files.

    Attributes:
        path: The folder.
        files: (task, split) -> its Parquet files.
        extras: Config beside the tasks -> its Parquet files.
        header: The YAML of the README; empty where there is none.
    """

    path: Path
    files: Mapping[tuple[str, str], Sequence[Path]]
    extras: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> "Folder":
        """The state of a folder; without any file where it holds no log."""
        path = Path(path)
        header = read_header(path / "README.md")
        files: dict[tuple[str, str], Sequence[Path]] = {}
        extras: dict[str, Sequence[Path]] = {}
        for name, split, patterns in _configs(header):
            found = _matches(path, patterns)
            if name in EXTRAS:
                extras[name] = found
            elif name != "all" and split in SPLITS and found:
                files[name, split] = found
        files = files or _by_name(path)
        for name in EXTRAS:
            extras.setdefault(name, sorted((path / name).glob("train-*.parquet")))
        return cls(path, files, {name: found for name, found in extras.items() if found}, header)

    @property
    def splits(self) -> tuple[str, ...]:
        """In the order train, partial_test, test."""
        present = {split for _, split in self.files}
        return tuple(split for split in SPLITS if split in present)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Sorted names."""
        return tuple(sorted({task for task, _ in self.files}))

    def select(self, split: str | None = None, task: str | None = None) -> list[Path]:
        """The Parquet files of a split and a task (None: of all); `UserError` where there is none."""
        for what, wanted, known in (("split", split, self.splits), ("task", task, self.tasks)):
            if wanted is not None and wanted not in known:
                raise UserError(f"{self.path} has no {what} {wanted!r}: expected one of {', '.join(known)}")
        found = [f for t, s in sorted(self.files) if task in (None, t) and split in (None, s) for f in self.files[t, s]]
        if not found:
            raise UserError(f"{self.path} has no rows of split {split!r} for task {task!r}")
        return found

    def read(self, split: str | None = None, task: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Log rows of a split and a task (None: of all); see `files.read_parquet`."""
        return pa.concat_tables([read_parquet(path, columns) for path in self.select(split, task)])

    def extra(self, name: str) -> pa.Table | None:
        """One of the configs beside the tasks; None where the folder has none of that name."""
        found = self.extras.get(name)
        return pa.concat_tables([pq.read_table(f, partitioning=None) for f in found]) if found else None


def read_header(readme: Path) -> dict[str, Any]:
    """The YAML at the top of a README; empty where there is none that can be read."""
    try:
        parts = readme.read_text(encoding="utf-8").split("---\n", 2)
        found = yaml.load(parts[1], Loader=_LOADER) if len(parts) == 3 and not parts[0].strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _configs(header: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(config, split, patterns of its files) of a README's YAML; what has another form is passed over."""
    configs = header.get("configs")
    for config in configs if isinstance(configs, list) else []:
        name = config.get("config_name") if isinstance(config, dict) else None
        entries = config.get("data_files") if isinstance(config, dict) else None
        if not isinstance(name, str):
            continue
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("split"), str):
                paths = entry.get("path")
                paths = [paths] if isinstance(paths, str) else paths
                if isinstance(paths, list) and all(isinstance(p, str) for p in paths):
                    yield name, entry["split"], paths


def config_files(path: str | PathLike[str], config: str | None = None, split: str = "train") -> list[Path]:
    """The Parquet files of a split of a local dataset folder: of a config of its README (None: the default one).

    Raises `UserError` where it has none.
    """
    path = Path(path)
    header = read_header(path / "README.md")
    configs = header.get("configs")
    default = [c["config_name"] for c in configs if isinstance(c, dict) and c.get("default")] if configs else []
    names = [name for name, _, _ in _configs(header)]
    wanted = config or (default or ["default" if "default" in names else names[0] if names else ""])[0]
    found = [
        f for name, s, patterns in _configs(header) if (name, s) == (wanted, split) for f in _matches(path, patterns)
    ]
    if not names and config is None:
        found = sorted([*path.glob(f"{split}-*.parquet"), *path.glob(f"data/{split}-*.parquet")])
    if not found:
        raise UserError(f"{path}: expected Parquet files of the split {split!r}, found none")
    return found


def _matches(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The files that `patterns` name; a folder that somebody else wrote names none outside itself."""
    found: list[Path] = []
    for pattern in patterns:
        pure = PurePosixPath(pattern)
        if pure.is_absolute() or ".." in pure.parts or pure.suffix != ".parquet":
            raise UserError(f"{root}: its README names {pattern!r}: expected a Parquet file inside the folder")
        if _GLOB.search(pattern):
            found += sorted(root.glob(pattern))
        elif (root / pattern).is_file():
            found.append(root / pattern)
        else:
            raise UserError(f"{root}: its README names {pattern}, and no such file is there: fetch the folder again")
    return found


def _by_name(path: Path) -> dict[tuple[str, str], Sequence[Path]]:
    files: dict[tuple[str, str], Sequence[Path]] = {}
    for file in sorted(path.glob("data/*/*.parquet")):
        split = next((s for s in SPLITS if file.name.startswith(f"{s}-")), None)
        if split:
            files.setdefault((file.parent.name, split), []).append(file)  # type: ignore[attr-defined]
    return files


def local_path(path: str | PathLike[str]) -> Path:
    """`path` if it exists, else the snapshot of the Hub dataset of that name."""
    local = Path(path)
    if local.exists():
        return local
    name = str(path)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: expected a FusionBench folder, a log file or a Hub dataset id, found nothing there")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset"))
    except (RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        found = f"{name}: no such folder here, and the Hub did not give a dataset of that name"
        raise UserError(f"{found}: {hub_reason(error)}") from error


def query_overlap(a: pa.Table, b: pa.Table) -> int:
    """Number of distinct query texts that stand in both tables (a query in two splits leaks)."""
    left, right = (pc.unique(t["query"]) for t in (a, b))
    return pc.sum(pc.is_in(left, value_set=right)).as_py() or 0

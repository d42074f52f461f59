"""Writing a FusionBench: a Hub dataset repository with one config a task. A crash leaves what was there, whole."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ..errors import UserError
from ..outputs import MARKER, atomic_file, check_folder, mark_folder, write_text
from .card import PLOT, About, Figures, card_text, llm_table
from .files import ZSTD_LEVEL, named_by_content
from .merge import Merged, merge_tables
from .plots import heat_map
from .schema import LOG_SCHEMA, encode, validate
from .store import SPLITS, TEMPLATES, Folder, check_task_name, read_header

try:
    import fcntl
except ImportError:  # Windows: two writers at once are not kept apart
    fcntl = None

# A row group is what a stream decodes at once; with 300-character responses this many rows are about 20 MB.
ROW_GROUP = 50_000
KIND = "log"  # of the folder, for `outputs.check_folder`
MANY = 500_000  # rows from which writing shows a bar
_SPLIT = "|".join(SPLITS)
_OURS = re.compile(rf"(?:{_SPLIT})-(?:[0-9a-f]{{16}}|00000)\.parquet|\.(?:{_SPLIT})\.[0-9a-f]{{8}}\.part")


def write_folder(
    splits: Mapping[str, pa.Table],
    out: str | Path,
    about: About | None = None,
    replace: bool = False,
    newer: bool = False,
    strict: bool = False,
    overwrite: bool = False,
) -> Merged:
    """Write log tables into a dataset repository: ``data/<task>/<split>-<content>.parquet`` and a README.

    New files are written beside the old ones, and the README, which names all files that count, is replaced last: who
    reads meanwhile, or after a crash, sees the old state. Rows are sorted and copied a row group at a time, so the peak
    is the given tables and one row group.

    Args:
        splits: Log table of each split; each is validated.
        out: The folder. Splits and tasks that are not given stay.
        about: For the card and the configs beside the tasks; what the folder says already stays where it says nothing.
        replace: A split that is given takes the place of the split that is there. Otherwise its rows are added.
        newer: See `merge_tables`.
        strict: Refuse rows that differ from those of the same key, unless `newer`.
        overwrite: Write into a folder that holds other things.

    Raises:
        UserError: An unknown split or a name that no dataset config can have, rows that break the schema, a folder
            that is not ours, or (with `strict`) rows that differ.
    """
    if not Path(out).is_dir():
        check_ours(out, overwrite)
    out = Path(out)
    with _alone(out):
        check_ours(out, overwrite)  # here, because another writer may just have made it
        rows = {split: _checked(split, table) for split, table in splits.items()}
        if not any(out.iterdir()):
            mark_folder(out, KIND, [])  # a second writer, who waits, sees whose folder it is
        old = Folder.open(out)
        merged, files = Merged(), dict(old.files)
        if replace:
            files = {key: found for key, found in files.items() if key[1] not in splits}
        with _removed_on_error(out) as new:
            for split, table in rows.items():
                for task, part, order, report in _merged(old, files, split, table, newer):
                    merged += report
                    if report.older and strict:
                        raise UserError(_refusal(out, report))
                    if report.changed:
                        files[task, split] = _write_task(part, order, out / "data" / task, split)
                        new += files[task, split]
            for (task, split), paths in files.items():
                if any(_is_older(path) for path in paths if path not in new):
                    # One config may not have files of two shapes: `load_dataset` takes the columns of the first.
                    table = validate(old.read(split, task), where=str(out))
                    files[task, split] = _write_task(table, np.arange(table.num_rows), out / "data" / task, split)
                    new += files[task, split]
            _commit(changed(old, files=files), About.of(old) | (about or About()), new)
        _sweep(Folder.open(out), old)
    return merged


def _merged(
    old: Folder, files: Mapping[tuple[str, str], Sequence[Path]], split: str, table: pa.Table, newer: bool
) -> Iterator[tuple[str, pa.Table, np.ndarray, Merged]]:
    """Of each task of a split: name, a table, where its rows stand there, and what merging did with the new ones."""
    tasks = _rows_by_task(table)
    shown = tqdm(tasks.items(), desc=f"writing {split}", unit="task", disable=table.num_rows < MANY or None)
    for task, order in shown:
        if (task, split) not in files:
            yield task, table, order, Merged(added=len(order))
        else:
            part, report = merge_tables(old.read(split, task), table.take(pa.array(order)), newer)
            yield task, part, _rows_by_task(part)[task], report


def _refusal(out: Path, report: Merged) -> str:
    told = f"{out}: {report.conflict_text()}: expected equal rows, or newer=True to take the new ones, or replace=True"
    return f"{told} for the whole split"


def check_ours(out: str | Path, overwrite: bool = False) -> Path:
    """`out` as a path; refuses a folder that holds something else than a FusionBench, made here or by the Hub."""
    tags = read_header(Path(out) / "README.md").get("tags") if str(out).strip() else None
    return check_folder(out, KIND, overwrite or (isinstance(tags, list) and "llm-logs" in tags))


def _checked(split: str, table: pa.Table) -> pa.Table:
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    if table.num_rows == 0:
        raise UserError(f"split {split!r} is empty: expected at least one log row")
    table = validate(table, where=split)
    for task in encode(table["task"])[0]:
        check_task_name(str(task))
    return table


def _rows_by_task(table: pa.Table) -> dict[str, np.ndarray]:
    """Row numbers of each task, ordered by query, LLM and mode (equal texts side by side compress best)."""
    code = np.zeros(table.num_rows, np.int64)
    for name in ("task", "query_id", "llm", "mode"):
        values, codes = encode(table[name])
        rank = np.empty(len(values), np.int64)
        rank[np.argsort(values)] = np.arange(len(values))
        code = code * len(values) + rank[codes]
    order = np.argsort(code, kind="stable")
    tasks, codes = encode(table["task"])
    places = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return {str(tasks[codes[part[0]]]): part for part in np.split(order, places[1:])}


def _write_task(table: pa.Table, order: np.ndarray, folder: Path, split: str) -> list[Path]:
    how = {"compression": "zstd", "compression_level": ZSTD_LEVEL}
    with named_by_content(folder, split) as (path, written), pq.ParquetWriter(path, table.schema, **how) as writer:
        for start in range(0, len(order), ROW_GROUP):
            writer.write_table(table.take(pa.array(order[start : start + ROW_GROUP])), ROW_GROUP)
    return written


def _is_older(path: Path) -> bool:
    """Whether a file was written before the log row had all its columns."""
    return pq.read_schema(path).names != LOG_SCHEMA.names


def _write_extra(out: Path, name: str, table: pa.Table) -> list[Path]:
    with named_by_content(out / name, "train") as (path, written):
        pq.write_table(table, path, compression="zstd", compression_level=ZSTD_LEVEL)
    return written


def _copy_templates(source: Path, target: Path) -> list[Path]:
    """The table of a template index, with what reads it beside it."""
    if source.resolve() != target.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md", ".*"))
    return sorted(target.glob("train-*.parquet"))


def _commit(folder: Folder, about: About, new: list[Path]) -> None:
    """Write what the card tells, then the card: from then on the new state counts."""
    out, extras = folder.path, dict(folder.extras)
    if about.llms:
        extras["llms"] = _write_extra(out, "llms", llm_table(about.llms))
        new += extras["llms"]
    if about.templates is not None:
        extras[TEMPLATES] = _copy_templates(about.templates, out / TEMPLATES)
    figures = Figures.of(folder, about)
    extras["tasks"] = _write_extra(out, "tasks", figures.catalogue(folder.splits))
    new += extras["tasks"]
    folder = changed(folder, extras=extras)
    with atomic_file(out / PLOT) as picture:
        plot = heat_map(figures.means, picture)
        names = sorted(path.relative_to(out).as_posix() for path in _named(folder))
        text = card_text(folder, about, figures, plot)
        mark_folder(out, KIND, [*names, "README.md", *([PLOT] if plot else [])])
        write_text(out / "README.md", text)
    if not plot:
        (out / PLOT).unlink(missing_ok=True)


def _sweep(folder: Folder, old: Folder) -> None:
    """Remove the files that the card no longer names: the older state, and what a killed writer left."""
    named = _named(folder)
    left = _named(old)
    for place in [*(folder.path / "data").glob("*"), *(folder.path / name for name in ("llms", "tasks"))]:
        left |= {path for path in place.glob("*") if _OURS.fullmatch(path.name)}
    for path in left - named:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # its folder is not empty
            path.parent.rmdir()


def _named(folder: Folder) -> set[Path]:
    return {path for found in [*folder.files.values(), *folder.extras.values()] for path in found}


@contextlib.contextmanager
def _removed_on_error(out: Path) -> Iterator[list[Path]]:
    """A list for the files that are written; on an error those go again that the card does not name."""
    new: list[Path] = []
    try:
        yield new
    except BaseException:
        state = Folder.open(out)
        for path in {*new, *([] if state.files else [out / MARKER])} - _named(state):
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()
        raise


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One writer at a time: two that add rows would each drop what the other added."""
    out.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    place = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)
        with contextlib.suppress(OSError):  # not empty
            out.rmdir()

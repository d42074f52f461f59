"""`Log`: one handle on a log of answers, wherever it lies: open, look, map, merge, write."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..outputs import check_file
from .arrays import COLUMNS, RoutingData
from .card import About
from .collected import pool_rows, read_collected
from .files import SUFFIXES, is_log, read_file, write_file
from .merge import Merged, merge_tables
from .schema import as_table, conform, encode, validate
from .shards import shard_files
from .stats import summary
from .store import SPLITS, Folder, local_path
from .write import check_ours, write_folder

if TYPE_CHECKING:
    import datasets

Tables = Mapping[str, Union[pa.Table, "datasets.Dataset"]]
Source = Union["Log", str, Path, pa.Table, "datasets.Dataset", Tables]


class Log:
    """A log of answers: its splits, tasks, LLMs and rows. What it names is read when it is asked for.

    Args:
        source: A FusionBench folder or Hub dataset id; a folder of the collector's shards; a ``.parquet`` or ``.jsonl``
            file, or a folder of ``.jsonl``; a table (pyarrow, or `datasets.Dataset`) or a dict of tables by split;
            or another `Log`.
        grader: Shards are graded when they are read, with this version of the graders (``strict`` or ``paper``); None
            leaves them as they were collected, without scores. Other logs are never graded unasked.
        about: What stands beside the rows: title, text, LLMs and sources; None takes what the source says.

    Raises:
        UserError: Nothing is there, or no log.

    Example:
        >>> log = fusion_hf.Log("bench")
        >>> log.splits, log.tasks, log.llms
        >>> log.table("train", task="gsm8k", columns=["llm", "performance"])
        >>> log.map(lambda table: table.filter(pc.equal(table["mode"], "direct"))).write("direct")
    """

    def __init__(self, source: Source, grader: str | None = "strict", about: About | None = None):
        self.path: Path | None = None
        self.grader = grader
        self._folder: Folder | None = None
        self._tables: dict[str, pa.Table] | None = None
        self._about = about
        if isinstance(source, Log):
            self.__dict__ |= source.__dict__ | ({} if about is None else {"_about": about})
        elif isinstance(source, str | Path):
            self._open(local_path(source))
        elif isinstance(source, Mapping):
            unknown = [split for split in source if split not in SPLITS]
            if unknown:
                raise UserError(f"unknown split {unknown[0]!r}: expected one of {', '.join(SPLITS)}")
            self._tables = {s: as_table(source[s], s) for s in SPLITS if s in source}
        else:
            self._tables = {"": as_table(source, "log")}

    def _open(self, path: Path) -> None:
        self.path = path
        if path.is_file():
            if path.suffix not in SUFFIXES:
                raise UserError(f"{path}: expected a .parquet or .jsonl file, found {path.suffix or 'no suffix'}")
            return
        folder = Folder.open(path)
        if folder.files:
            self._folder = folder
        elif not any(path.glob("*.jsonl")):
            raise UserError(f"{path} holds no log: expected data/<task>/<split>-*.parquet or *.jsonl, found neither")

    @property
    def collected(self) -> bool:
        """Whether it is a folder of the collector's shards, which its answers may still be added to."""
        return self.path is not None and self._folder is None and self.path.is_dir() and bool(shard_files(self.path))

    @property
    def splits(self) -> tuple[str, ...]:
        """Its splits, in the order train, partial_test, test; empty for a log that has none."""
        if self._folder is not None:
            return self._folder.splits
        return tuple(split for split in self._tables or () if split)

    @cached_property
    def tasks(self) -> list[str]:
        """Names of its tasks, sorted."""
        return list(self._folder.tasks) if self._folder is not None else self._distinct("task")

    @cached_property
    def llms(self) -> list[str]:
        """Names of its LLMs, sorted."""
        return self._distinct("llm")

    def _distinct(self, column: str) -> list[str]:
        return sorted({str(name) for table in self.parts([column]).values() for name in encode(table[column])[0]})

    def __len__(self) -> int:
        return sum(table.num_rows for table in self.parts(["query_id"]).values())

    def __repr__(self) -> str:
        where = "a log in memory" if self.path is None else repr(str(self.path))
        return f"Log({where}, splits: {', '.join(self.splits) or 'none'})"

    def table(
        self, split: str | None = None, task: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Its rows, with their values checked: of a split and a task (None: of all), and of these columns.

        Raises:
            UserError: A split or task that it does not have, or a value that no log row can have (with file and row).
        """
        if self._folder is not None:
            return self._folder.read(split, task, columns)
        if split is not None and split not in self.splits:
            known = f"expected one of {', '.join(self.splits)}" if self.splits else "it has none"
            raise UserError(f"{self.path or 'the log'} has no split {split!r}: {known}")
        wanted = None if columns is None else list(dict.fromkeys([*columns, "task"]))
        table = pa.concat_tables([t for name, t in self._read(wanted).items() if split in (None, name)])
        if task is not None:
            table = table.filter(pc.equal(table["task"], task))
            if not table.num_rows:
                raise UserError(
                    f"{self.path or 'the log'} has no task {task!r}: expected one of {', '.join(self.tasks)}"
                )
        return table if columns is None else table.select(list(columns))

    def _read(self, columns: Sequence[str] | None) -> dict[str, pa.Table]:
        if self._tables is not None:
            return {s: t if columns is None else t.select(columns) for s, t in self._tables.items()}
        assert self.path is not None
        if self.path.is_file():
            return {"": read_file(self.path, columns)}
        if self.collected:
            self._tables = {"": read_collected(self.path, self.grader)}  # graded once
            return self._read(columns)
        return {"": pa.concat_tables([read_file(f, columns) for f in sorted(self.path.glob("*.jsonl"))])}

    def parts(self, columns: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """The table of each split; of a log without splits one table, by the name ``""``."""
        return {split: self.table(split or None, columns=columns) for split in self.splits or ("",)}

    def data(self, split: str | None = None) -> RoutingData:
        """The log pivoted to arrays [queries x candidates], from which routers learn."""
        return RoutingData.from_table(self.table(split, columns=COLUMNS))

    def summary(self) -> list[dict[str, Any]]:
        """A dict a split: rows, queries, tasks, candidates, missing cells, and the USD of all answers (or None)."""
        columns = ["query_id", "task", "llm", "mode", "performance", "judge", "cost"]
        return [summary(table, split) for split, table in self.parts(columns).items()]

    @property
    def about(self) -> About:
        """Title and text of its card, the LLMs with their prices, and the sources of its tasks."""
        if self._about is None:
            llms = pool_rows(self.path / "pool.yaml") if self.collected and self.path else []
            self._about = About.of(self._folder) if self._folder is not None else About(llms=llms)
        return self._about

    def extra(self, name: str) -> pa.Table | None:
        """A config beside the tasks (``llms``, ``tasks``, ``thought_templates``); None where there is none."""
        return None if self._folder is None else self._folder.extra(name)

    def _like(self, tables: Mapping[str, pa.Table]) -> "Log":
        new = Log(self)
        new.__dict__.pop("tasks", None), new.__dict__.pop("llms", None)
        new._about, new._tables, new._folder = self.about, dict(tables), None
        return new

    def map(self, function: Callable[[pa.Table], pa.Table]) -> "Log":
        """The log with `function` of each split's table in place of the table."""
        return self._like({split: conform(function(table), split or "log") for split, table in self.parts().items()})

    def with_split(self, split: str) -> "Log":
        """All rows in one split; rows that stood in several count once."""
        tables = list(self.parts().values())
        whole = tables[0]
        for table in tables[1:]:
            whole, _ = merge_tables(whole, table)
        return Log({split: whole}, about=self.about)

    def merge(self, other: Source, newer: bool = False) -> tuple["Log", Merged]:
        """This log and another in one, by key (query_id, llm, mode); both have splits, or neither.

        Args:
            other: Anything that can be opened.
            newer: Where rows of one key differ, those of `other` count; else those of this log, and the report says so.

        Returns:
            (the log, what became of the rows of `other`).
        """
        other = Log(other, self.grader)
        if bool(self.splits) != bool(other.splits):
            raise UserError("one log has splits and the other has none: expected with_split(…) of that one first")
        tables, report = self.parts(), Merged()
        for split, table in other.parts().items():
            if split in tables:
                tables[split], told = merge_tables(
                    validate(tables[split], split or "log"), validate(table, split or "other log"), newer
                )
            else:
                tables[split], told = table, Merged(added=table.num_rows)
            report += told
        merged = self._like({split: tables[split] for split in SPLITS if split in tables} or tables)
        merged._about = self.about | other.about
        return merged, report

    def as_collected(self) -> "Log":
        """The log without the scores that grading its shards gives; any other log as it is."""
        return Log(self.path, grader=None, about=self._about) if self.collected else self

    def check_out(self, out: str | Path, overwrite: bool = False, other: bool = False) -> None:
        """Refuse a place that `write` would refuse: before what is written has cost time or money.

        `other` also refuses the log's own place.
        """
        if other and self.path is not None and Path(out).exists() and self.path.samefile(out):
            raise UserError(f"{out}: expected another place than the log's own")
        if _is_file(out):
            check_file(out, overwrite, is_log)
        elif not self.splits:
            raise UserError(f"{out}: expected a file that ends in {' or '.join(SUFFIXES)} for a log without splits")
        else:
            check_ours(out, overwrite)

    def write(
        self,
        out: str | Path,
        replace: bool = False,
        newer: bool = False,
        about: About | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write it: with splits as a FusionBench folder, without as a ``.parquet`` or ``.jsonl`` file.

        A crash leaves what was there before. A folder that is there keeps its other splits and tasks, and its rows:
        those of the log are added by key.

        Args:
            out: The folder or file.
            replace: A split takes the place of the split that is there.
            newer: Rows that differ from those of the same key take their place; else they are refused.
            about: What to say otherwise than the log does.
            overwrite: Write into a folder that holds other things.

        Returns:
            `out`. ``load_dataset(out, "<task>", split="train")`` reads a folder.
        """
        self.check_out(out, overwrite)
        if _is_file(out):
            write_file(pa.concat_tables(list(self.parts().values())), Path(out))
        else:
            self._write_folder(out, replace, newer, about, overwrite, strict=True)
        return Path(out)

    def add_to(self, out: str | Path, newer: bool = False, replace: bool = False, overwrite: bool = False) -> Merged:
        """`write` into a FusionBench folder that says what became of the rows: where they differ, the old ones stay."""
        return self._write_folder(out, replace, newer, None, overwrite, strict=False)

    def _write_folder(
        self, out: str | Path, replace: bool, newer: bool, about: About | None, overwrite: bool, strict: bool
    ):
        told = self.about if about is None else self.about | about
        return write_folder(self.parts(), out, told, replace, newer, strict, overwrite)


def _is_file(out: str | Path) -> bool:
    return Path(out).suffix in SUFFIXES and not Path(out).is_dir()


def read_log(
    path: Source, split: str | None = None, task: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a log as a table: ``Log(path).table(split, task, columns)``."""
    return Log(path).table(split, task, columns)


def write_bench(
    splits: Tables,
    out: str | Path,
    llms: Sequence[Mapping] = (),
    replace: bool = False,
    newer: bool = False,
    **about: Any,
) -> Path:
    """Write log tables by split as a FusionBench folder: ``Log(splits).write(out)``; `about`: fields of `About`."""
    return Log(splits, about=About(llms=llms, **about)).write(out, replace, newer)

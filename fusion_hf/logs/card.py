"""The card of a FusionBench folder: its configs, and the statistics of what lies in it. Nothing is typed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..cards import PLACE, render_card
from ..tasks import TASKS
from .arrays import RoutingData
from .schema import encode
from .stats import summary
from .store import EXTRAS, LLMS, SPLITS, TEMPLATES, Folder

PLOT = "performance.png"
_COLUMNS = ["query_id", "task", "metric", "llm", "mode", "performance", "cost", "input_tokens", "output_tokens"]
_GENERATED = "## What it holds"


CATALOGUE = pa.schema([(name, pa.string()) for name in ("name", "domain", "metric", "source", "licence")])


@dataclass(frozen=True)
class About:
    """What a log carries beside its rows.

    Attributes:
        title: Heading of the card; None stands for that of the folder, or FusionBench.
        text: Paragraphs under it (Markdown) that say what this log is.
        llms: Rows of the config ``llms`` (see `LLMS`), one a name.
        sources: (source, licence) of a task, where its queries do not come from the source that the task names in
            `fusion_hf.tasks`.
        templates: Folder of thought templates, which goes along into another folder.
    """

    title: str | None = None
    text: str = ""
    llms: Sequence[Mapping] = ()
    sources: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    templates: Path | None = None

    @classmethod
    def of(cls, folder: Folder) -> "About":
        """What a FusionBench folder says."""
        llms, tasks = folder.extra("llms"), folder.extra("tasks")
        rows = [] if tasks is None else tasks.to_pylist()
        told = {row["name"]: (row.get("source"), row.get("licence")) for row in rows}
        title = folder.header.get("pretty_name")
        return cls(
            title if isinstance(title, str) else None, _kept_text(folder.path / "README.md"),
            [] if llms is None else llms.to_pylist(),
            {name: pair for name, pair in told.items() if _own(name)[0] != pair[0]},
            folder.path / TEMPLATES if TEMPLATES in folder.extras else None,
        )  # fmt: skip

    def __or__(self, other: "About") -> "About":
        """Both; what `other` says counts where they differ."""
        llms = {row["name"]: row for row in [*self.llms, *other.llms]}
        return About(
            other.title or self.title, other.text.strip() or self.text, list(llms.values()),
            {**self.sources, **other.sources}, other.templates or self.templates,
        )  # fmt: skip


def llm_table(rows: Sequence[Mapping]) -> pa.Table:
    """The config ``llms``."""
    return pa.Table.from_pylist([{name: row.get(name) for name in LLMS.names} for row in rows], schema=LLMS)


@dataclass(frozen=True)
class Figures:
    """What the card shows of a folder's rows.

    Attributes:
        tasks: A row a task.
        shown: The split whose scores are shown.
        means: Task -> candidate -> mean performance on that split.
    """

    tasks: list[dict]
    shown: str
    means: dict[str, dict[str, float]]

    @classmethod
    def of(cls, folder: Folder, about: About) -> "Figures":
        """Measured from the Parquet files."""
        shown = _shown(folder.splits)
        rows, means = [], {}
        for task in folder.tasks:
            row, means[task] = _task(folder, task, shown, about.sources)
            rows.append(row)
        return cls(rows, shown, means)

    def catalogue(self, splits: Sequence[str]) -> pa.Table:
        """The config ``tasks``."""
        sizes = pa.schema([*CATALOGUE, *((split, pa.int64()) for split in splits)])
        rows = [{name: row.get(name, 0) for name in sizes.names} for row in self.tasks]
        return pa.Table.from_pylist(rows, schema=sizes)


def card_text(folder: Folder, about: About, figures: Figures, plot: bool) -> str:
    """The README of a folder, which names every file that counts; `plot` says whether there is a picture."""
    from huggingface_hub import DatasetCardData

    licences = sorted({row["licence"] for row in figures.tasks} - {None, "unknown"})
    title = about.title or "FusionBench"
    header = DatasetCardData(
        pretty_name=title, license=licences or None, tags=["fusion_hf", "llm-routing", "llm-logs"],
        task_categories=["text-generation", "question-answering"], configs=_configs(folder),
    )  # fmt: skip
    return render_card(
        "dataset", header, repo_id=PLACE, title=title, text=about.text.strip(), splits=_splits(folder),
        tasks=figures.tasks, shown=figures.shown, candidates=_candidates(folder, figures.shown), plot=plot,
        plot_file=PLOT,
    )  # fmt: skip


def _shown(splits: Sequence[str]) -> str:
    """The split whose scores the card shows: the test split where there is one."""
    return "test" if "test" in splits else splits[0]


def _own(task: str) -> tuple[str | None, str | None]:
    known = TASKS.get(task)
    return (known.source, known.licence) if known else (None, None)


def _task(folder: Folder, task: str, shown: str, sources: Mapping) -> tuple[dict, dict[str, float]]:
    """What the card says of one task, and the mean performance of each candidate on the split that is shown."""
    present = [s for s in SPLITS if (task, s) in folder.files]
    known = TASKS.get(task)
    source, licence = sources.get(task, _own(task))
    row = {
        "name": task,
        "domain": known.domain if known else None,
        "source": source,
        "licence": licence,
        "split": shown if shown in present else present[0],
        "best": None, "best_performance": None, "oracle": None,
    }  # fmt: skip
    means = {}
    for split in present:
        table = folder.read(split, task, _COLUMNS)
        row[split] = len(encode(table["query_id"])[0])
        row["metric"] = table["metric"][0].as_py()
        if split == row["split"]:
            means = _scores(table, row)
    return row, means


def _scores(table: pa.Table, row: dict) -> dict[str, float]:
    """Fill in the best single candidate and the oracle (the best answer to each query); mean of each candidate."""
    if table["performance"].null_count == table.num_rows:
        return {}
    data = RoutingData.from_table(table.append_column("query", table["query_id"]))
    seen = ~data.missing
    mean = np.divide(
        np.where(seen, data.performance, 0).sum(0), seen.sum(0), out=np.full(seen.shape[1], np.nan), where=seen.any(0)
    )
    # Ties go to the cheaper candidate, then by name (the candidates are sorted).
    cost = np.where(np.isnan(data.cost).all(0), np.inf, np.nansum(data.cost, axis=0))
    best = int(min(np.flatnonzero(mean == np.nanmax(mean)), key=lambda j: cost[j]))
    row |= {"best": data.candidates[best], "best_performance": float(mean[best])}
    row["oracle"] = float(np.nanmax(data.performance[seen.any(1)], axis=1).mean())
    return {c: float(m) for c, m in zip(data.candidates, mean, strict=True)}


def _splits(folder: Folder) -> list[dict]:
    """`summary` with the tokens that were counted (None where none were)."""
    rows = []
    for split in folder.splits:
        names = ["input_tokens", "output_tokens"]
        table = folder.read(split, columns=["query_id", "task", "llm", "mode", "performance", "judge", "cost", *names])
        rows.append(summary(table, split) | {name: pc.sum(table[name]).as_py() for name in names})
    return rows


def _candidates(folder: Folder, split: str) -> list[dict]:
    """One row a candidate on `split`: mean performance, USD a query, scored cells."""
    table = folder.read(split, columns=["query_id", "task", "llm", "mode", "performance", "cost"])
    if table["performance"].null_count == table.num_rows:
        return []
    data = RoutingData.from_table(table.append_column("query", table["query_id"]))
    result = []
    for j, name in enumerate(data.candidates):
        scores, costs = data.performance[:, j], data.cost[:, j]
        scored, priced = ~np.isnan(scores), ~np.isnan(costs)
        result.append(
            {
                "name": name,
                "performance": float(scores[scored].mean()) if scored.any() else None,
                "usd": float(costs[priced].mean()) if priced.any() else None,
                "missing": int((~scored).sum()),
            }
        )
    return sorted(result, key=lambda row: -(row["performance"] or 0))


def _configs(folder: Folder) -> list[dict]:
    every = {s: [f for task in folder.tasks for f in folder.files.get((task, s), ())] for s in folder.splits}
    configs = [_config(folder, "all", every) | {"default": True}]
    for task in folder.tasks:
        configs.append(_config(folder, task, {s: folder.files.get((task, s), ()) for s in SPLITS}))
    configs += [_config(folder, name, {"train": folder.extras[name]}) for name in EXTRAS if name in folder.extras]
    return configs


def _config(folder: Folder, name: str, files: Mapping[str, Sequence[Path]]) -> dict:
    """Every file by its name: other rows are other names, so that no cache takes them for these."""
    entries = []
    for split, paths in files.items():
        names = [path.relative_to(folder.path).as_posix() for path in paths]
        if names:
            entries.append({"split": split, "path": names[0] if len(names) == 1 else names})
    return {"config_name": name, "data_files": entries}


def _kept_text(readme: Path) -> str:
    """The paragraphs between the heading and the generated part of an existing card; empty where there is none."""
    try:
        body = readme.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
    except (OSError, UnicodeDecodeError):
        return ""
    return "\n".join(line for line in body.split(_GENERATED)[0].split("\n") if not line.startswith("# ")).strip()

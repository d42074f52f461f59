"""The card of a FusionBench folder: its configs, and the statistics of what lies in it. Nothing is typed by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..cards import PLACE, render_card
from ..tasks import TASKS
from .arrays import RoutingData
from .schema import encode
from .store import EXTRAS, SPLITS, bench_splits, read_log, summary, write_extra

PLOT = "performance.png"
_COLUMNS = ["query_id", "task", "metric", "llm", "mode", "performance", "cost", "input_tokens", "output_tokens"]
_GENERATED = "## What it holds"


CATALOGUE = pa.schema([(name, pa.string()) for name in ("name", "domain", "metric", "source", "licence")])


def write_card(
    out: str | Path, title: str, text: str = "", sources: dict[str, tuple[str | None, str | None]] | None = None
) -> Path:
    """Write README.md, the config ``tasks`` and (where matplotlib is) the plot, from the Parquet files of `out`.

    Args:
        out: FusionBench folder.
        title: Heading.
        text: Paragraphs under it; kept from the old card when empty.
        sources: (source, licence) of a task, where its queries do not come from the source that the task names in
            `fusion_hf.tasks`. What an earlier call was told stays.
    """
    from huggingface_hub import DatasetCardData

    out = Path(out)
    sources = told_sources(out) | (sources or {})
    tasks = sorted(p.name for p in (out / "data").iterdir() if p.is_dir() and any(p.glob("*.parquet")))
    splits = bench_splits(out)
    shown = _shown(splits)
    rows, means = [], {}
    for task in tasks:
        row, mean = _task(out, task, shown, sources)
        rows.append(row)
        means[task] = mean
    sizes = pa.schema([*CATALOGUE, *((split, pa.int64()) for split in splits)])
    catalogue = [{name: row.get(name, 0) for name in sizes.names} for row in rows]
    write_extra(out, "tasks", pa.Table.from_pylist(catalogue, schema=sizes))
    readme = out / "README.md"
    if not text and readme.exists():
        text = _kept_text(readme.read_text(encoding="utf-8"))
    licences = sorted({row["licence"] for row in rows} - {None, "unknown"})
    header = DatasetCardData(
        pretty_name=title, license=licences or None, tags=["fusion_hf", "llm-routing", "llm-logs"],
        task_categories=["text-generation", "question-answering"], configs=_configs(out, tasks),
    )  # fmt: skip
    card = render_card(
        "dataset", header, repo_id=PLACE, title=title, text=text.strip(), splits=_splits(out), tasks=rows, shown=shown,
        candidates=_candidates(out, shown), plot=_plot(out, means), plot_file=PLOT,
    )  # fmt: skip
    readme.write_text(card, encoding="utf-8")
    return readme


def _shown(splits: list[str]) -> str:
    """The split whose scores the card shows: the test split where there is one."""
    return "test" if "test" in splits else splits[0]


def told_sources(out: str | Path) -> dict[str, tuple[str | None, str | None]]:
    """(source, licence) of the tasks of a FusionBench folder whose source is not the one that the task names."""
    file = Path(out) / "tasks" / "train-00000.parquet"
    rows = pq.read_table(file, partitioning=None).to_pylist() if file.is_file() else []
    return {row["name"]: (row["source"], row["licence"]) for row in rows if _own(row["name"])[0] != row["source"]}


def _own(task: str) -> tuple[str | None, str | None]:
    known = TASKS.get(task)
    return (known.source, known.licence) if known else (None, None)


def _task(out: Path, task: str, shown: str, sources: dict) -> tuple[dict, dict[str, float]]:
    """What the card says of one task, and the mean performance of each candidate on the split that is shown."""
    present = [s for s in SPLITS if any((out / "data" / task).glob(f"{s}-*.parquet"))]
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
        table = read_log(out, split, task=task, columns=_COLUMNS)
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


def _splits(out: Path) -> list[dict]:
    """`summary` with the tokens that were counted (None where none were)."""
    rows = summary(out)
    for row in rows:
        table = read_log(out, row["split"], columns=["input_tokens", "output_tokens"])
        row |= {name: pc.sum(table[name]).as_py() for name in table.column_names}
    return rows


def _candidates(out: Path, split: str) -> list[dict]:
    """One row a candidate on `split`: mean performance, USD a query, scored cells."""
    table = read_log(out, split, columns=["query_id", "task", "llm", "mode", "performance", "cost"])
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


def _configs(out: Path, tasks: list[str]) -> list[dict]:
    configs = [_config("all", {s: f"data/*/{s}-*.parquet" for s in bench_splits(out)}) | {"default": True}]
    for task in tasks:
        present = [s for s in SPLITS if any((out / "data" / task).glob(f"{s}-*.parquet"))]
        configs.append(_config(task, {s: f"data/{task}/{s}-*.parquet" for s in present}))
    for extra in EXTRAS:
        if any((out / extra).glob("train-*.parquet")):
            configs.append(_config(extra, {"train": f"{extra}/train-*.parquet"}))
    return configs


def _config(name: str, files: dict[str, str]) -> dict:
    return {"config_name": name, "data_files": [{"split": s, "path": p} for s, p in files.items()]}


def _kept_text(card: str) -> str:
    """The paragraphs between the heading and the generated part of an existing card."""
    body = card.split("\n---\n", 1)[-1]
    return "\n".join(line for line in body.split(_GENERATED)[0].splitlines() if not line.startswith("# "))


def _plot(out: Path, means: dict[str, dict[str, float]]) -> bool:
    """Draw the heat map; False, and no old picture left, where there is no score or no matplotlib."""
    from .plots import heat_map

    (out / PLOT).unlink(missing_ok=True)
    return heat_map(means, out / PLOT)


def llm_rows(path: str | Path) -> list[dict]:
    """The ``llms`` config of a FusionBench folder; empty where it has none."""
    file = Path(path) / "llms" / "train-00000.parquet"
    return pq.read_table(file, partitioning=None).to_pylist() if file.is_file() else []

"""Retrieval of thought templates: how quick it is, and how often a template comes from the query's own task.

    python benchmarks/retrieval.py speed --json speed.json
    python benchmarks/retrieval.py memory --json memory.json
    python benchmarks/retrieval.py shares bench [bench …] --encoder offline --json shares.json

``speed`` times the index on random unit vectors against the same matrix product and top-k written plainly in torch,
side by side, CPU time, medians. ``memory`` loads and searches a million templates. ``shares`` uses the queries of a log
alone: with a test split, its queries are looked up among those of the train split; without one, each of five folds
among the other four. The query itself and near-duplicates of it are excluded, as they are by default.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fusion_hf.encoders.cache import embed_cached
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import Log, read_log
from fusion_hf.logs.stats import bootstrap_ci, paired
from fusion_hf.routers.measuring.cross_validation import fold_of
from fusion_hf.thoughts import TemplateIndex
from fusion_hf.thoughts.files import (
    COLUMNS,
    CONFIG_FILE,
    FOLDER,
    FORMAT,
    TABLE_FILE,
    VECTORS_FILE,
    write_vectors,
)  # fmt: skip

SIZES = ((500, 5_608), (1_000, 100_000))
DIMENSION, K, BUCKETS = 384, 3, 1 << 14


def unit(rng, n: int) -> np.ndarray:
    x = rng.standard_normal((n, DIMENSION)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def index_of(vectors: np.ndarray, queries: list[str], tasks: list[str], ids: list[str]) -> TemplateIndex:
    """An index whose templates say nothing: only where they come from is asked here."""
    table = pa.table({name: pa.repeat("-", len(queries)) for name in COLUMNS if name != "candidates"})
    table = table.append_column("candidates", pa.array([["-"]] * len(queries)))
    for name, values in (("query", queries), ("task", tasks), ("query_id", ids)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    return TemplateIndex(table, vectors, "offline")


def speed(repeats: int) -> dict:
    """Median CPU seconds of the plain product and of the index, and of what excluding leaks adds."""
    rng = np.random.default_rng(0)
    result = {}
    for n, size in SIZES:
        queries, vectors = unit(rng, n), unit(rng, size)
        texts = [f"question {i} of {i * 7919 % 1009} about {i * 31 % 997}" for i in range(size)]
        index = index_of(vectors, texts, ["-"] * size, [str(i) for i in range(size)])

        def raw(queries=queries, vectors=vectors):
            (torch.from_numpy(queries) @ torch.from_numpy(vectors).T).topk(K, dim=1)

        def search(index=index, queries=queries):
            index.search(embeddings=queries, k=K, min_similarity=-1)

        def excluding(index=index, queries=queries, texts=texts):
            index.search(texts[: len(queries)], queries, k=K, min_similarity=-1)

        seconds = {call.__name__: [] for call in (raw, search, excluding)}
        for call in (raw, search, excluding):
            call()
        for _ in range(repeats):
            for call in (raw, search, excluding):
                began = time.process_time()
                call()
                seconds[call.__name__].append(time.process_time() - began)
        median = {name: statistics.median(times) for name, times in seconds.items()}
        share = statistics.median(a / b for a, b in zip(seconds["raw"], seconds["search"], strict=True))
        result[f"{n} x {size}"] = {
            "seconds": median, "share_of_raw": share, "queries_per_second": n / median["search"],
            "queries_per_second_excluding_leaks": n / median["excluding"], "threads": torch.get_num_threads(),
        }  # fmt: skip
    return result


def memory(size: int) -> dict:
    """MB of memory that loading and searching `size` templates takes beyond what the files' pages take."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / FOLDER
        target.mkdir()
        _write_large(target, size)
        before = _anonymous()
        index = TemplateIndex.from_pretrained(folder)
        loaded = _anonymous()
        queries = unit(np.random.default_rng(1), 64)
        began = time.process_time()
        hits = index.search([f"new {i}" for i in range(64)], queries, k=K, min_similarity=-1)
        seconds = time.process_time() - began
        assert all(len(row) == K and row[0].template for row in hits)
        files = sum(path.stat().st_size for path in target.iterdir())
        return {"templates": size, "files_mb": files / 1e6, "loaded_mb": loaded - before,
                "after_search_mb": _anonymous() - before, "seconds_64_queries": seconds}  # fmt: skip


def _write_large(target: Path, size: int) -> None:
    """The files of an index, block by block."""
    rng = np.random.default_rng(0)
    vectors = np.memmap(target / "raw", np.float32, "w+", shape=(size, DIMENSION))
    schema = pa.schema([(name, pa.string()) for name in COLUMNS]).set(5, pa.field("candidates", pa.list_(pa.string())))
    with pq.ParquetWriter(target / TABLE_FILE, schema, compression="zstd") as writer:
        for start in range(0, size, 50_000):
            part = min(50_000, size - start)
            vectors[start : start + part] = unit(rng, part)
            numbers = [str(i) for i in range(start, start + part)]
            columns = {name: [f"{name} {i} " + "of some length " * 8 for i in numbers] for name in COLUMNS}
            columns |= {"query_id": numbers, "candidates": [["a", "b"]] * part}
            writer.write_table(pa.table(columns, schema))
    write_vectors(target / VECTORS_FILE, vectors)
    del vectors
    (target / "raw").unlink()
    config = {"format": FORMAT, "encoder": "offline", "templates": size, "dimension": DIMENSION}
    (target / CONFIG_FILE).write_text(json.dumps(config))


def _anonymous() -> float:
    """MB of this process that are no pages of files."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1e3


def tf_idf(train: list[str], other: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of log-TF x IDF over single words, hashed into `BUCKETS`; IDF from `train`."""

    def counts(texts):
        x = np.zeros((len(texts), BUCKETS), np.float32)
        for row, text in enumerate(texts):
            words = [zlib.crc32(w.encode()) % BUCKETS for w in re.findall(r"\w+", text.lower())]
            np.add.at(x[row], words, 1)
        return np.log1p(x)

    a, b = counts(train), counts(other)
    idf = np.log((1 + len(a)) / (1 + (a > 0).sum(0))).astype(np.float32) + 1
    a, b = a * idf, b * idf
    return tuple(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))


def folds(bench: str, encoder: str):
    """(template queries, asked queries, embeddings of both) of every fold."""
    train = RoutingData.from_table(read_log(bench, "train"))
    vectors = embed_cached(encoder, train.queries, progress=True)
    if "test" in Log(bench).splits:
        test = RoutingData.from_table(read_log(bench, "test"))
        yield train, test, vectors, embed_cached(encoder, test.queries, progress=True)
        return
    fold = fold_of(train, 5, 0)
    for f in range(5):
        inside, outside = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        yield train.subset(inside), train.subset(outside), vectors[inside], vectors[outside]


def same_task(index: TemplateIndex, asked: RoutingData, vectors: np.ndarray, **options) -> tuple[list, list]:
    """(1 or 0 for the first hit, share of the first three) of every query; NaN where nothing was found."""
    hits = index.search(asked.queries, vectors, k=K, exclude_query_ids=asked.query_ids, **options)
    own = [[h.task == task for h in row] for row, task in zip(hits, asked.tasks, strict=True)]
    return [float(row[0]) if row else np.nan for row in own], [np.mean(row) if row else np.nan for row in own]


def shares(bench: str, encoder: str) -> dict:
    """Shares at 1 and 3 with intervals, of each way to find templates, and the difference to TF-IDF."""
    found: dict[str, list[list[float]]] = {}
    guessed, tasks, queries = [], set(), 0

    def add(name, pair):
        for place, values in zip(found.setdefault(name, [[], []]), pair, strict=True):
            place.extend(values)

    for train, asked, a, b in folds(bench, encoder):
        index = index_of(a, train.queries, train.tasks, train.query_ids)
        add(encoder, same_task(index, asked, b))
        add(f"{encoder}, diversity 0.3", same_task(index, asked, b, diversity=0.3))
        add(f"{encoder}, predicted task", same_task(index, asked, b, filter_tasks=True))
        guessed += [p == t for p, t in zip(index.predict_tasks(b), asked.tasks, strict=True)]
        words, other = tf_idf(train.queries, asked.queries)
        add("TF-IDF", same_task(index_of(words, train.queries, train.tasks, train.query_ids), asked, other))
        share = {task: train.tasks.count(task) / len(train) for task in set(train.tasks)}
        add("random", ([share.get(task, 0.0) for task in asked.tasks],) * 2)
        tasks |= set(train.tasks)
        queries += len(asked)
    result = {"queries": queries, "tasks": len(tasks), "task_predicted_right": bootstrap_ci(np.array(guessed, float))}
    result["found"] = {
        name: {"at_1": bootstrap_ci(np.array(one)), "at_3": bootstrap_ci(np.array(three)),
               "none": int(np.isnan(one).sum())}
        for name, (one, three) in found.items()
    }  # fmt: skip
    result["against_tf_idf"] = {
        name: {at: paired(np.array(pair[i]), np.array(found["TF-IDF"][i])) for i, at in enumerate(("at_1", "at_3"))}
        for name, pair in found.items() if name != "TF-IDF"
    }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "shares"))
    parser.add_argument("bench", nargs="*", help="FusionBench folders, for shares")
    parser.add_argument("--encoder", default="offline")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--templates", type=int, default=1_000_000, help="for memory")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.what == "speed":
        result = speed(args.repeats)
    elif args.what == "memory":
        result = memory(args.templates)
    else:
        result = {Path(bench).name: shares(bench, args.encoder) for bench in args.bench}
    print(json.dumps(result, indent=1))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

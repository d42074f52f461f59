"""Speed of routers, side by side in one run; times are medians, and what compares two things alternates between them.

    python benchmarks/speed.py BENCH --json speed.json            # a FusionBench folder, e.g. the imported slice
    python benchmarks/speed.py BENCH --device cuda                # the same with encoder and router on a GPU

Run it on an idle machine. `--threads 1` (the default) measures on one core.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fusion_hf.encoders.cache import embed_cached
from fusion_hf.encoders.encoder import load_encoder
from fusion_hf.encoders.static_table import distil_static, save_static
from fusion_hf.logs.arrays import COLUMNS, RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.train import bare_data

IMPORTS = {
    "AutoModel": "from transformers import AutoModel; AutoModel",
    "fusion_hf": "from transformers import AutoModel; AutoModel; import fusion_hf",
}


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of `work` after a warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def alternating(one: Callable[[], object], other: Callable[[], object], repeats: int) -> dict:
    """Median seconds of both, and the median of their ratios (other / one), measured in turns."""
    one(), other()
    pairs = []
    for _ in range(repeats):
        times = []
        for work in (one, other):
            start = time.perf_counter()
            work()
            _wait()
            times.append(time.perf_counter() - start)
        pairs.append(times)
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"seconds": [first, second], "ratio": statistics.median(b / a for a, b in pairs)}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def import_time(repeats: int) -> dict:
    """Import of fusion_hf against that of AutoModel alone, each in a fresh interpreter."""

    def run(name: str) -> None:
        subprocess.run([sys.executable, "-c", IMPORTS[name]], check=True, capture_output=True)

    return alternating(lambda: run("AutoModel"), lambda: run("fusion_hf"), repeats)


def training(data: RoutingData, encoder: str, repeats: int) -> dict:
    """Seconds of training `fusion` beyond embedding."""
    vectors = embed_cached(encoder, bare_data(data).queries, progress=True)
    seconds = median_seconds(lambda: fit_router("fusion", data, encoder=encoder, embeddings=vectors), repeats)
    return {"queries": len(data), "candidates": len(data.candidates), "seconds": seconds}


def head(router, queries: list[str], vectors: np.ndarray, repeats: int) -> dict:
    """Microseconds of the head for one query and milliseconds for 1,000, given their features."""
    x = router.features(queries[:1000], vectors[:1000])
    with torch.inference_mode():
        one = median_seconds(lambda: [router.head(x[:1]) for _ in range(100)], repeats) / 100
        many = median_seconds(lambda: router.head(x), repeats)
    return {"one_us": 1e6 * one, "thousand_ms": 1e3 * many}


def routing_without_encoder(data: RoutingData, repeats: int) -> dict:
    """Queries a second of `route` with a router that has no text encoder."""
    router = fit_router("fusion", data, encoder="none")
    queries = data.queries[:1000]
    return {"queries_per_second": len(queries) / median_seconds(lambda: router.route(queries), repeats)}


def routing_with_encoder(router, queries: list[str], repeats: int) -> dict:
    """Throughput of `route` as a share of the encoder's own on the same queries."""
    encoder = router.text_encoder
    found = alternating(lambda: router.route(queries), lambda: encoder.encode(queries), repeats)
    return {
        "route_per_second": len(queries) / found["seconds"][0],
        "encode_per_second": len(queries) / found["seconds"][1],
        "share": found["ratio"],
    }


def static_against_teacher(folder: Path, teacher, queries: list[str], repeats: int) -> dict:
    """How many times as fast as its teacher a static encoder is, tokenising included."""
    static = load_encoder(str(folder))
    found = alternating(lambda: static.encode(queries), lambda: teacher.encode(queries), repeats)
    per_second = [len(queries) / s for s in found["seconds"]]
    return {"static_per_second": per_second[0], "teacher_per_second": per_second[1], "times": found["ratio"]}


def loading(folder: Path, repeats: int) -> dict:
    """Seconds of `from_pretrained` of a router without an encoder, the package being imported."""
    return {"seconds": median_seconds(lambda: load_router(folder), repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--encoder", default="offline")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--encoded", type=int, default=64, help="queries that go through the text encoder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = RoutingData.from_table(read_log(args.bench, "train", columns=COLUMNS))
    result: dict = {"device": args.device, "threads": args.threads}
    result["training"] = training(data, args.encoder, min(3, args.repeats))
    vectors = embed_cached(args.encoder, bare_data(data).queries)
    router = fit_router("fusion", data, encoder=args.encoder, embeddings=vectors).to(args.device)
    some = [data.queries[i] for i in np.random.default_rng(0).permutation(len(data))[: args.encoded]]
    with tempfile.TemporaryDirectory() as work:
        folders = {name: Path(work) / name for name in ("plain", "static")}
        fit_router("fusion", data, encoder="none").save_pretrained(folders["plain"])
        save_static(distil_static(args.encoder), folders["static"])
        result["head"] = head(router, data.queries, vectors, args.repeats)
        result["route, no encoder"] = routing_without_encoder(data, args.repeats)
        result["route, encoder"] = routing_with_encoder(router, some, args.repeats)
        result["static encoder"] = static_against_teacher(
            folders["static"], load_encoder(args.encoder), some, args.repeats
        )
        result["load, no encoder"] = loading(folders["plain"], args.repeats)
    result["import"] = import_time(args.repeats)
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Price a log of a million rows anew: seconds of the arithmetic, of the whole file to file, and peak memory."""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusion_hf.llms.pool import load_pool
from fusion_hf.llms.recosting import recost, recost_log
from fusion_hf.logs.schema import LOG_SCHEMA


def make_log(rows: int, names: list[str]) -> pa.Table:
    """Log rows with 300-character responses and drawn token counts."""
    rng = np.random.default_rng(0)
    queries = np.arange(rows) // (2 * len(names))
    text = pa.array(queries.astype("U")).cast(pa.large_string())
    response = pa.DictionaryArray.from_arrays(
        pa.array(rng.integers(0, 5000, rows), pa.int32()),
        pa.array(["".join(rng.choice(list("abcdefgh "), 300)) for _ in range(5000)], pa.large_string()),
    ).cast(pa.large_string())
    columns = {
        "query_id": text.cast(pa.string()),
        "task": pa.array(["gsm8k"] * rows),
        "source_id": text.cast(pa.string()),
        "query": text,
        "ground_truth": pa.array([["1"]] * rows),
        "metric": pa.array(["gsm8k"] * rows),
        "llm": pa.array(np.array(names)[np.arange(rows) // 2 % len(names)]),
        "mode": pa.array(np.array(["direct", "think"])[np.arange(rows) % 2]),
        "response": response,
        "input_tokens": pa.array(rng.integers(1, 2000, rows), pa.int32()),
        "output_tokens": pa.array(rng.integers(1, 2000, rows), pa.int32()),
    }
    arrays = [columns.get(f.name, pa.nulls(rows, f.type)) for f in LOG_SCHEMA]
    return pa.table(arrays, schema=LOG_SCHEMA)


def main(args: argparse.Namespace) -> dict:
    """Measure, print and return the figures."""
    pool = load_pool("fusionbench")
    with tempfile.TemporaryDirectory() as folder:
        table = make_log(args.rows, list(pool))
        began = time.perf_counter()
        recost(table, pool)
        arithmetic = time.perf_counter() - began
        log = Path(folder) / "log.parquet"
        pq.write_table(table, log, compression="zstd")
        del table
        began = time.perf_counter()
        report = recost_log(log, pool, Path(folder) / "out.parquet")
        whole = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {"rows": report["recosted"], "recost_s": arithmetic, "file_to_file_s": whole, "peak_gib": peak}
    print(json.dumps({k: round(v, 3) for k, v in figures.items()}))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    main(parser.parse_args())

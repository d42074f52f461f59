"""How long choosing SFT data from a log takes: CPU seconds and peak memory.

    python benchmarks/selection.py --rows 100000 --excluded 500

The log is made up: 20 LLMs, two modes, responses of about 480 characters of which many nearly coincide.
"""

import argparse
import json
import resource
import time

import pyarrow as pa

from fusion_hf.distill import sft_dataset

TEXT = "some words of an answer " * 20


def make_log(n: int) -> pa.Table:
    """n log rows, 40 a query."""
    return pa.table({
        "query_id": [f"{i // 40:016x}" for i in range(n)],
        "task": ["squad"] * n,
        "query": [f"{i // 40} {TEXT}" for i in range(n)],
        "ground_truth": [["x"]] * n,
        "metric": ["cem"] * n,
        "llm": [f"llm{i % 20}" for i in range(n)],
        "mode": ["think" if i % 40 >= 20 else "direct" for i in range(n)],
        "response": [f"{i % 997} {TEXT}" for i in range(n)],
        "performance": [float(i % 3 > 0) for i in range(n)],
        "cost": [float(i % 7) for i in range(n)],
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--excluded", type=int, default=500, help="queries whose near-duplicates are left out")
    args = parser.parse_args()
    table = make_log(args.rows)
    test = pa.table({
        "query_id": [f"t{i}" for i in range(args.excluded)],
        "query": [f"{i} {i} {TEXT}" for i in range(args.excluded)],
    })  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    data, _ = sft_dataset(table, exclude=test)
    print(json.dumps({
        "rows": args.rows,
        "chosen": len(data),
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()

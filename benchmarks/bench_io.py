"""A million log rows through import, validate, pivot, build and load: seconds, CPU seconds and peak memory a stage.

    python benchmarks/bench_io.py --json io.json
    python benchmarks/bench_io.py --queries 1000 --stages build,load

Every stage runs in a process of its own; what it reads is on disk before its clock starts, and the clock leaves out the
imports of Python modules.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASKS = 14


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--queries", type=int, default=50_000, help="queries of the log (default: %(default)s)")
    add("--candidates", type=int, default=20, help="candidates of the log (default: %(default)s)")
    add("--characters", type=int, default=300, help="mean length of a response (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--stages", default=",".join(STAGES), help="comma-separated (default: %(default)s)")
    add("--work", help="folder to work in; kept, and the log in it is used again (default: a temporary folder)")
    add("--json", metavar="FILE", help="also write the figures to this file")
    add("--one", choices=(*STAGES, "generate"), help=argparse.SUPPRESS)
    return parser


def generate(work: Path, args: argparse.Namespace) -> dict:
    """JSON lines as one would log them: words by Zipf's law, responses of varying length, scores, tokens and costs."""
    import numpy as np

    rng = np.random.default_rng(args.seed)
    letters = rng.integers(97, 123, (20_000, 12), dtype=np.uint8)
    lengths = rng.integers(2, 12, len(letters))
    words = [bytes(row[:n]).decode() for row, n in zip(letters, lengths, strict=True)]
    mean = float(np.mean(lengths)) + 1

    def text(characters: float) -> str:
        n = max(1, round(characters / mean))
        return " ".join(words[i] for i in np.minimum(rng.zipf(1.3, n), len(words)) - 1)

    with open(work / "log_train.jsonl", "w", encoding="utf-8") as out:
        for q in range(args.queries):
            query = f"{q}: {text(200)}"
            for c in range(args.candidates):
                characters = args.characters * rng.gamma(4) / 4
                out.write(
                    json.dumps(
                        {
                            "task": f"task-{q % TASKS:02d}", "source_id": str(q), "query": query,
                            "ground_truth": [str(q)], "metric": "cem",
                            "llm": f"llm-{c // 2:02d}", "mode": "think" if c % 2 else "direct",
                            "response": text(characters), "finish_reason": "stop",
                            "input_tokens": 60, "output_tokens": int(characters / 4), "usage_source": "server",
                            "cost": round(characters * (c + 1) * 1e-7, 9), "latency_s": 0.5,
                            "performance": float(rng.random() < 0.3 + 0.02 * c),
                        }
                    )
                    + "\n"
                )  # fmt: skip
    return {"bytes": (work / "log_train.jsonl").stat().st_size}


def stage_import(work: Path) -> dict:
    """`importers.read`: JSON lines -> log tables."""
    from fusion_hf.logs.importers import read

    def timed():
        return read("jsonl", work / "log_train.jsonl").tables["train"]

    def keep(table):
        import pyarrow as pa

        with pa.OSFile(str(work / "log.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return {"rows": table.num_rows}

    return measure(timed, keep)


def stage_validate(work: Path) -> dict:
    """`schema.validate` of the whole table."""
    from fusion_hf.logs.schema import validate

    table = arrow(work)
    return measure(lambda: validate(table), lambda found: {"rows": found.num_rows})


def stage_pivot(work: Path) -> dict:
    """`RoutingData.from_table` of the whole table in memory."""
    from fusion_hf.logs.arrays import RoutingData

    table = arrow(work)
    return measure(lambda: RoutingData.from_table(table), lambda data: {"queries": len(data)})


def stage_build(work: Path) -> dict:
    """`write_bench`: validates, sorts, writes Parquet, statistics, card and plot."""
    import matplotlib.figure  # noqa: F401  its import is not what is measured

    from fusion_hf.logs.log import write_bench

    table = arrow(work)

    def size(out):
        return {"bytes": sum(f.stat().st_size for f in out.rglob("*.parquet"))}

    return measure(lambda: write_bench({"train": table}, work / "bench"), size)


def stage_load(work: Path) -> dict:
    """`datasets.load_dataset` of three columns into an empty cache, and their pivot."""
    shutil.rmtree(work / "cache", ignore_errors=True)
    return load(work, work / "cache")


def stage_load_again(work: Path) -> dict:
    """The same with the cache that `load` left."""
    return load(work, work / "cache")


def load(work: Path, cache: Path) -> dict:
    import numpy as np
    from datasets import load_dataset

    from fusion_hf.logs.arrays import pivot

    def timed():
        columns = ["query_id", "llm", "performance"]
        rows = load_dataset(str(work / "bench"), split="train", columns=columns, cache_dir=str(cache))
        # Both modes of an LLM share its name here, so half of the cells are written twice: the work is the same.
        return pivot(rows.data.table)

    return measure(timed, lambda found: {"cells": int(np.isfinite(found[2]).sum())})


def stage_routing_data(work: Path) -> dict:
    """`RoutingData` from the folder: the eight columns that routers learn from."""
    from fusion_hf.logs.arrays import COLUMNS, RoutingData
    from fusion_hf.logs.log import read_log

    return measure(
        lambda: RoutingData.from_table(read_log(work / "bench", "train", columns=COLUMNS)),
        lambda data: {"cells": int((~data.missing).sum())},
    )


STAGES = {
    name.removeprefix("stage_"): function for name, function in list(globals().items()) if name.startswith("stage_")
}


def arrow(work: Path):
    """The imported table, read into memory."""
    import pyarrow as pa

    with pa.OSFile(str(work / "log.arrow"), "rb") as source:
        return pa.ipc.open_file(source).read_all()


def measure(timed, after) -> dict:
    """Run `timed` by the wall clock and by CPU time (user, system, children); `after` turns its result into figures."""
    cpu, began = sum(os.times()[:4]), time.perf_counter()
    result = timed()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu_seconds": sum(os.times()[:4]) - cpu} | after(result)


def run_stage(name: str, args: argparse.Namespace, work: Path) -> dict:
    """One stage in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--work", str(work)]
    for option in ("queries", "candidates", "characters", "seed"):
        command += [f"--{option}", str(getattr(args, option))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(args: argparse.Namespace) -> dict | None:
    """Run the stages and print the table; with --one, run that stage here and print its figures."""
    if args.one:
        work = Path(args.work)
        figures = generate(work, args) if args.one == "generate" else STAGES[args.one](work)
        figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(figures))
        return None
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "log_train.jsonl").exists():
            run_stage("generate", args, work)
        result = {"rows": args.queries * args.candidates, "cores": len(os.sched_getaffinity(0)), "stages": {}}
        print(f"{result['rows']} rows, {result['cores']} cores\n{'stage':14}{'seconds':>9}{'CPU s':>9}{'peak MiB':>10}")
        for name in args.stages.split(","):
            load_average = os.getloadavg()[0]
            found = run_stage(name, args, work) | {"load_average_before": load_average}
            result["stages"][name] = found
            print(f"{name:14}{found['seconds']:9.2f}{found['cpu_seconds']:9.2f}{found['peak_mib']:10.0f}", flush=True)
    parts = [result["stages"][n] for n in ("import", "validate", "pivot", "build") if n in result["stages"]]
    for figure in ("seconds", "cpu_seconds"):
        whole = sum(part[figure] for part in parts) if len(parts) == 4 else None
        result[f"import_to_build_{figure}"] = whole
    if len(parts) == 4:
        seconds, cpu = result["import_to_build_seconds"], result["import_to_build_cpu_seconds"]
        print(f"{'import..build':14}{seconds:9.2f}{cpu:9.2f}{max(part['peak_mib'] for part in parts):10.0f}")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main(make_parser().parse_args())

"""What the collector itself costs: rows a second against a server that answers at once, CPU and peak memory.

The server (tests/loopback_llm.py) and every measured run are processes of their own. Where other work shares the cores,
rows a second say little; the CPU seconds of client and server do.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fusion_hf.llms.collect import collect
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.llms.requests import Request, messages_of
from fusion_hf.logs.schema import query_id

SERVER = Path(__file__).parents[1] / "tests" / "loopback_llm.py"


def make_requests(rows: int) -> Iterator[Request]:
    """Requests with 300-character queries, one after the other."""
    for i in range(rows):
        query = f"What is {i} + {i}? ".ljust(300, "x")
        identity = query_id("gsm8k", str(i), query)
        yield Request(
            identity, "gsm8k", str(i), query, [str(2 * i)], "gsm8k", "m", "direct", messages_of(query, "direct")
        )


def peak_mib() -> float:
    """Most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(url: str, rows: int, out: str, concurrency: int | None) -> dict:
    """Ask once, in this process."""
    pool = Pool([LLM("m", "small", 1.0, 2.0, base_url=url, options={"max_tokens": 20})])
    before, began, cpu = peak_mib(), time.perf_counter(), time.process_time()
    summary = collect(pool, make_requests(rows), out, progress=False, concurrency=concurrency)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "rows": summary.kept,
        "resumed": summary.resumed,
        "rows_per_s": summary.kept / seconds,
        "client_cpu_us_per_row": 1e6 * cpu / rows,
        "peak_mib": peak_mib(),
        "peak_mib_after_import": before,
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(args: argparse.Namespace) -> list[dict]:
    """Measure each size, then the same command again on the folder that it left; print and return the figures."""
    figures = []
    server = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        for rows in args.rows:
            with tempfile.TemporaryDirectory() as out:
                for kind in ("asked", "resumed"):
                    cpu = cpu_seconds(server.pid)
                    command = [sys.executable, __file__, "--one", url, out, "--rows", str(rows)]
                    if args.concurrency:
                        command += ["--concurrency", str(args.concurrency)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    entry = {"kind": kind, **json.loads(done.stdout)}
                    entry["server_cpu_us_per_row"] = 1e6 * (cpu_seconds(server.pid) - cpu) / rows
                    entry["load"] = os.getloadavg()[0]
                    print(
                        json.dumps({k: round(v, 1) if isinstance(v, float) else v for k, v in entry.items()}),
                        flush=True,
                    )
                    figures.append(entry)
    finally:
        server.kill()
        server.wait()
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--concurrency", type=int, help="requests in flight (default: the collector's own)")
    parser.add_argument("--one", nargs=2, metavar=("URL", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.one[0], arguments.rows[0], arguments.one[1], arguments.concurrency)))
    else:
        main(arguments)

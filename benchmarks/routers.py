"""Every router kind on two logs: quality, training time, latency of the head and size of the checkpoint.

    python benchmarks/routers.py --cv slice --train-test routerbench --encoder offline --json routers.json

On the first log kinds are compared by 5-fold cross-validation (reward = performance), and timed on the whole of it; on
the second they learn from `train` and are measured on `test`, in every scenario. With --kind only those kinds are
measured, and the others stay as they stand in the file: so slow kinds can be run apart. Times are CPU seconds of one
thread, so that they mean the same on a busy machine; features and embeddings are computed beforehand.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from fusion_hf.cli._arguments import value_pair
from fusion_hf.encoders.cache import embed_cached
from fusion_hf.encoders.encoder import NONE, TextEncoder, load_encoder
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import COLUMNS, RoutingData
from fusion_hf.logs.log import Log, read_log
from fusion_hf.routers import KINDS, fit_router, get_kind
from fusion_hf.routers.measuring.cross_validation import cross_validate
from fusion_hf.routers.measuring.evaluate import evaluate_router
from fusion_hf.routers.train import bare_data, prepare

SCENARIOS = ("performance", "balance", "cost")
KNOWING = ("oracle",)  # looks the answer up: an anchor of every table, not a router


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cv", metavar="BENCH", help="log to cross-validate and to time on (split train)")
    add("--train-test", metavar="BENCH", help="log with costs and the splits train and test")
    add("--kind", action="append", choices=KINDS, help="measure this kind only; repeat for several")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="of the only --kind; repeat for several")
    add("--encoder", default="offline")
    add("--folds", type=int, default=5)
    add("--json", metavar="FILE", default="routers.json", help="figures, kept from run to run (default: %(default)s)")
    return parser


def read(bench: str, split: str) -> RoutingData:
    """The arrays of one split."""
    return RoutingData.from_table(read_log(bench, split, columns=COLUMNS))


def vectors(encoder: TextEncoder | None, data: RoutingData) -> np.ndarray | None:
    """Embeddings of the queries, from the cache where they are known."""
    return None if encoder is None else embed_cached(encoder, data.queries, progress=True)


def pool(bench: str) -> list[dict] | None:
    """Rows of the pool that the log carries."""
    rows = Log(bench).extra("llms")
    return None if rows is None else rows.to_pylist()


def cpu(function, rounds: int) -> float:
    """Median CPU seconds of one call, after a warm-up."""
    function()
    found = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return float(np.median(found))


def timed(kind: str, data: RoutingData, encoder, features, llms, options) -> dict:
    """Training seconds on the whole log, seconds of the head, and bytes that the kind itself adds to a checkpoint."""
    start = time.process_time()
    router = fit_router(
        kind, data, encoder or NONE, features=features, progress=False, llms=llms, examples=0, **options
    )
    train = time.process_time() - start
    x, shared = features[1][:1000], set(features[0])
    with torch.inference_mode():
        heads = {
            "head_1_seconds": cpu(lambda: [router.head(x[i : i + 1]) for i in range(50)], 7) / 50,
            "head_1000_seconds": cpu(lambda: router.head(x), 7),
        }
    own = {n: b for n, b in router.named_buffers(recurse=False) if n not in shared}
    return {"train_seconds": train, **heads, "bytes": sum(b.numel() * b.element_size() for b in own.values())}


def on_test(kind: str, train: RoutingData, test: RoutingData, encoder, features, there, llms, options) -> dict:
    """Rewards on the test split in every scenario, and the frontier."""
    router = fit_router(
        kind, train, encoder or NONE, features=features, progress=False, llms=llms, examples=0, **options
    )
    # A kind that trained an encoder of its own needs embeddings of its own.
    known = there if encoder is not None and router.encoder is encoder.model else None
    result = evaluate_router(router, test, train, SCENARIOS, embeddings=known)
    parts = {s: {k: result["scenarios"][s][k] for k in ("reward", "ci95", "cost_usd")} for s in SCENARIOS}
    return parts | {k: result[k] for k in ("aiq", "aiq_singles", "cost_share_at")}


def main(args: argparse.Namespace) -> dict:
    """Measure, keep and print the figures."""
    torch.set_num_threads(1)
    path = Path(args.json)
    result = json.loads(path.read_text()) if path.exists() else {"kinds": {}}
    encoder = None if args.encoder == NONE else load_encoder(args.encoder)
    kinds = args.kind or [k for k in KINDS if k not in KNOWING]
    kinds = [k for k in kinds if not get_kind(k).needs_answers]  # `benchmarks/cascade.py` measures those
    options = dict(value_pair(text) for text in args.option)
    if options and len(kinds) != 1:
        raise SystemExit("--option needs exactly one --kind")
    by_kind = dict.fromkeys(kinds, options)
    rows = {k: result["kinds"].setdefault(k, {}) for k in kinds}
    if args.cv:
        data = read(args.cv, "train")
        here = vectors(encoder, bare_data(data))
        start = time.process_time()
        features = prepare(data, here)
        result["prepare_seconds"] = time.process_time() - start
        able = []
        for kind in kinds:
            try:
                rows[kind]["timed"] = timed(kind, data, encoder, features, pool(args.cv), options)
            except UserError as error:  # such as `cheapest` on a log without costs
                print(kind, error, flush=True)
                continue
            able.append(kind)
            print(kind, rows[kind]["timed"], flush=True)
        found = cross_validate(
            data, list(dict.fromkeys(["knn", *able])), args.folds, encoder=args.encoder, options=by_kind
        )
        result["cv"] = {k: found[k] for k in ("folds", "queries", "anchors")}
        for kind in able:
            rows[kind]["cv"] = found["kinds"][kind]
        path.write_text(json.dumps(result, indent=1) + "\n")
    if args.train_test:
        train, test = read(args.train_test, "train"), read(args.train_test, "test")
        features = prepare(train, vectors(encoder, bare_data(train)))
        there, llms = vectors(encoder, bare_data(test, train)), pool(args.train_test)
        for kind in kinds:
            rows[kind]["test"] = on_test(kind, train, test, encoder, features, there, llms, options)
            print(kind, rows[kind]["test"], flush=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return result


def table(result: dict) -> str:
    """The figures as Markdown, the best in cross-validation first."""
    lines = [
        "| | reward (se) | gap | against `knn` (se) | performance | balance | cost first | AIQ "
        "| cost at 95 / 99 / 100 % | training s | head 1 / 1,000 | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rank = {k: -(row.get("cv", {}).get("reward") or 0) for k, row in result["kinds"].items()}
    for kind in sorted(rank, key=lambda k: (rank[k], k)):
        row = result["kinds"][kind]
        cells = [f"`{kind}`"]
        if cv := row.get("cv"):
            knn = cv["vs"].get("knn")
            cells += [f"{cv['reward']:.4f} ({cv['se']:.4f})", f"{100 * cv['gap_recovered']:.0f} %"]
            cells += ["–" if knn is None else f"{knn['difference']:+.4f} ({knn['se']:.4f})"]
        else:
            cells += ["–"] * 3
        if test := row.get("test"):
            cells += [f"{test[s]['reward']:.4f}" for s in SCENARIOS]
            cells += ["–" if test["aiq"] is None else f"{test['aiq']:.4f}"]
            cells += [" / ".join("–" if v is None else f"{v:.2f}" for v in test["cost_share_at"].values())]
        else:
            cells += ["–"] * 5
        if cost := row.get("timed"):
            one, many = 1e6 * cost["head_1_seconds"], 1e3 * cost["head_1000_seconds"]
            cells += [f"{cost['train_seconds']:.1f}", f"{one:.0f} us / {many:.1f} ms", f"{cost['bytes'] / 2**20:.1f}"]
        else:
            cells += ["–"] * 3
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(make_parser().parse_args())

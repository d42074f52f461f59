"""What taking shared beginnings off is worth: routers trained on prompts with examples, asked with and without.

    python benchmarks/beginnings.py routerbench --encoder offline --kind fusion --kind knn --json found.json

Each kind is trained on `train` twice, once with its queries as they are (`kept`), and once as in use (`taken off`), and
asked the test queries as they are logged and as bare questions. Figures: AIQ, and the cost at 95 and 99 % of the
best single LLM's accuracy as a share of that LLM's (points chosen on test).
"""

import argparse
import json
from unittest.mock import patch

import numpy as np

from fusion_hf.encoders import beginnings
from fusion_hf.encoders.encoder import NONE, load_encoder
from fusion_hf.logs.arrays import COLUMNS, RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.stats import aiq
from fusion_hf.routers import fit_router
from fusion_hf.routers.measuring.calibrate import follower
from fusion_hf.routers.measuring.operating_points import cost_share, cost_weights, curves
from fusion_hf.routers.sources import embeddings_of
from fusion_hf.routers.train import bare_data


def figures(router, data, best, at):
    """AIQ and cost shares of a router on some queries."""
    performance, cost = curves(follower(router, data, embeddings_of(router, data), None), at)
    usd = np.nanmean(cost, 1)
    single = data.performance[:, best], data.cost[:, best]
    shares = [cost_share(performance, cost, *single, share)["cost_share"] for share in (0.95, 0.99)]
    dearest = max(usd.max(), np.nanmax(np.nanmean(data.cost, 0)))
    return {"aiq": aiq(usd, np.nanmean(performance, 1), dearest), "cost_share_at": shares}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--encoder", default="offline")
    parser.add_argument("--kind", action="append", help="router kind; repeat (default: fusion)")
    parser.add_argument("--json")
    args = parser.parse_args()
    train, test = (RoutingData.from_table(read_log(args.bench, s, columns=COLUMNS)) for s in ("train", "test"))
    encoder = NONE if args.encoder == NONE else load_encoder(args.encoder)
    asked = {"as logged": test, "bare": bare_data(test, train)}
    changed = sum(a != b for a, b in zip(test.queries, asked["bare"].queries, strict=True))
    print(f"{changed} of {len(test)} test queries have a shared beginning")
    best = int(np.nanargmax(np.nanmean(train.performance, 0)))
    at, result = cost_weights(train.cost[:, best]), {}
    for kind in args.kind or ["fusion"]:
        for how, shared_by in (("kept", len(train) + 1), ("taken off", beginnings.SHARED_BY)):
            with patch.object(beginnings, "SHARED_BY", shared_by):
                router = fit_router(kind, train, encoder, progress=False, examples=0)
            for name, data in asked.items():
                result[f"{kind}, {how}, asked {name}"] = found = figures(router, data, best, at)
                shown = " / ".join("–" if s is None else f"{s:.3f}" for s in found["cost_share_at"])
                print(
                    f"{kind:8s} {how:10s} asked {name:10s} AIQ {found['aiq']:.4f}  cost at 95 / 99 %: {shown}",
                    flush=True,
                )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()

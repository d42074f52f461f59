"""What a cascade costs at a share of the best single LLM's accuracy, beside routers that do not look at answers.

    python benchmarks/cascade.py bench --encoder offline --kind linear --kind fusion --json cascade.json
    python benchmarks/cascade.py gsm8k --train test --call-cost gpt-4-1106-preview=24.7 \
        --call-cost mistralai/Mixtral-8x7B-Instruct-v0.1=0.24

Every kind is trained on `train` and measured on `test`, at many weights of cost. An operating point is chosen on
`train`, as the cheapest that reaches the share of accuracy in cross-validation, or, as others report it, on `test`
itself. `on_hull` is the cost where a router may toss a coin between two of its points, or one and the best single LLM,
on `test` and, in cross-validation, on `train`; for `coin_from_train` both points and the odds come from that. Every
call of a cascade is paid. Intervals are percentile bootstrap over test queries; points chosen on test are chosen anew
in every resample. Queries on which the returned answer, or a paid call, has no score or cost are left out. With
`--train test`, or without a test split, everything is measured by cross-validation, on held-out queries.
"""

import argparse
import json

import numpy as np

from fusion_hf.encoders.encoder import NONE, load_encoder
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import Log, read_log
from fusion_hf.logs.stats import aiq, hull, mean, number
from fusion_hf.routers import fit_router, get_kind
from fusion_hf.routers.cascade.answers import log_answers
from fusion_hf.routers.measuring.calibrate import follower
from fusion_hf.routers.measuring.cross_validation import fold_of
from fusion_hf.routers.measuring.operating_points import cheapest, cost_share, cost_weights, curves, resampled
from fusion_hf.routers.sources import embeddings_of

SHARES = (0.95, 0.99, 1.0)


class Bench:
    """A split with answers."""

    def __init__(self, data, answers):
        self.data, self.answers = data, answers

    @classmethod
    def read(cls, path, split, call_cost):
        table = read_log(path, split)
        data = RoutingData.from_table(table)
        for given in call_cost:
            name, _, usd = given.rpartition("=")
            data.cost[:, data.candidates.index(name)] = float(usd)
        return cls(data, log_answers(table, data, progress=True))

    def __getitem__(self, rows):
        rows = np.flatnonzero(rows)
        return Bench(self.data.subset(rows), self.answers[rows])


def trained(kind, part, encoder):
    answers = part.answers if get_kind(kind).needs_answers else None
    return fit_router(kind, part.data, encoder or NONE, answers=answers, progress=False, examples=0)


def measured(router, part, at):
    return curves(follower(router, part.data, embeddings_of(router, part.data), part.answers), at)


def cross_validated(kind, whole, encoder, at, folds):
    """Performance and cost of every query, by routers that have not seen it: [weights, n] each."""
    fold = fold_of(whole.data, folds)
    found = np.full((2, len(at), len(whole.data)), np.nan)
    for f in range(folds):
        held = fold == f
        found[:, :, held] = measured(trained(kind, whole[~held], encoder), whole[held], at)
    return found


def on_hull(points, single, share):
    """Cost share at a share of the single LLM's performance, on the hull of a router's points and that LLM's."""
    score, usd = mean(single[0]), mean(single[1])
    x, y = hull(np.append(mean(points[1], 1), usd), np.append(mean(points[0], 1), score))
    return number(np.interp(share * score, y, x, right=np.nan) / usd)


def with_coin(held, single, points, test_single, share):
    """Performance and cost [1, n] on test of a coin between two points, both and its odds chosen on train; or None."""
    score, usd = (np.append(mean(held[i], 1), mean(single[i])) for i in (0, 1))
    x, y = hull(usd, score)
    wanted = share * score[-1]
    if y[-1] < wanted:
        return None
    right = int(np.argmax(y >= wanted))
    left = max(0, right - 1)
    odds = 1.0 if left == right else (wanted - y[left]) / (y[right] - y[left])
    ends = [int(np.argmin(np.abs(usd - x[i]) / usd[-1] + np.abs(score - y[i]))) for i in (left, right)]
    first, second = (np.vstack([p, s[None]])[ends] for p, s in zip(points, test_single, strict=True))
    return [((1 - odds) * v[:1] + odds * v[1:]) for v in (first, second)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--encoder", default="offline")
    parser.add_argument("--kind", action="append", help="router without answers; repeat (default: fusion)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cost-weights", type=int, default=80, help="weights of cost (default: %(default)s)")
    parser.add_argument("--train", default="train", help="split to learn from")
    parser.add_argument("--call-cost", action="append", default=[], metavar="LLM=USD", help="for a log without costs")
    parser.add_argument("--json")
    args = parser.parse_args()
    encoder = None if args.encoder == NONE else load_encoder(args.encoder)
    train = Bench.read(args.bench, args.train, args.call_cost)
    apart = args.train != "test" and "test" in Log(args.bench).splits
    test = Bench.read(args.bench, "test", args.call_cost) if apart else None
    best = int(np.nanargmax(np.nanmean(train.data.performance, 0)))
    at = cost_weights(train.data.cost[:, best], args.cost_weights)
    kinds, result, draws = [*(args.kind or ["fusion"]), "cascade"], {}, {}
    shown = test or train
    single = shown.data.performance[:, best], shown.data.cost[:, best]
    print(f"best single: {train.data.candidates[best]}, {np.nanmean(single[0]):.4f} at {np.nanmean(single[1]):.4g} USD")
    for kind in kinds:
        held = cross_validated(kind, train, encoder, at, args.folds)
        points = held if test is None else measured(trained(kind, train, encoder), test, at)
        row = {"unmeasured": int(np.isnan(points[0]).any(0).sum())}
        usd = np.nanmean(points[1], 1)
        row["aiq"] = aiq(usd, np.nanmean(points[0], 1), max(usd.max(), np.nanmax(np.nanmean(shown.data.cost, 0))))
        for share in SHARES:
            draws[kind, share] = resampled(*points, *single, share)
            learned = train.data.performance[:, best], train.data.cost[:, best]
            chosen, coin = cheapest(*held, learned[0], share), with_coin(held, learned, points, single, share)
            row[str(share)] = {
                "chosen_on_test": cost_share(*points, *single, share),
                "on_hull": {
                    "test": on_hull(points, single, share),
                    "train": on_hull(held, learned, share),
                },
                "chosen_on_train": None if chosen is None else cost_share(*points, *single, share, point=chosen),
                "coin_from_train": None if coin is None else cost_share(*coin, *single, share, point=0),
            }
        result[kind] = row
        print(f"\n{kind}: AIQ {row['aiq']:.4f}, {row['unmeasured']} queries not measured at some point")
        for share in SHARES:
            for how in ("chosen_on_test", "chosen_on_train", "coin_from_train"):
                print(f"  {100 * share:g} %, {how}: {told(row[str(share)][how])}")
            print(f"  {100 * share:g} %, on_hull: {row[str(share)]['on_hull']}", flush=True)
    compared = {}
    for share in SHARES:
        without = [k for k in kinds[:-1] if not np.isnan(draws[k, share][0, 0])]
        if without and not np.isnan(draws["cascade", share][0, 0]):
            least = min(without, key=lambda k: draws[k, share][0, 0])
            ratio = draws["cascade", share][:, 0] / draws[least, share][:, 0]
            low, high = np.nanquantile(ratio[1:], [0.025, 0.975])
            compared[str(share)] = {"kind": least, "ratio": float(ratio[0]), "ci95": [float(low), float(high)]}
            print(
                f"{100 * share:g} %: cascade / {least} = {ratio[0]:.3f} [{low:.3f}, {high:.3f}] (points chosen on test)"
            )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(
                {"best_single": train.data.candidates[best], "kinds": result, "cascade_vs": compared}, file, indent=1
            )


def told(figures):
    if figures is None or figures["cost_share"] is None:
        return "not reached"
    text = []
    for name in ("cost_share", "performance_share"):
        low, high = figures[f"{name}_ci95"]
        text.append(f"{name} {figures[name]:.3f} [{low:.3f}, {high:.3f}]")
    return ", ".join(text)


if __name__ == "__main__":
    main()

"""What a router loses when one LLM joined it with a few scored queries instead of being there in training.

    python benchmarks/add_llm.py bench --encoder offline --queries 50 --folds 3 --seeds 3 --json add_llm.json

Each LLM of the log is left out in turn. On every fold the router is trained without it, learns it from `--queries`
random queries of the training folds (`add_llm`), and routes the held-out fold; the same router trained on all LLMs, and
the one that never heard of the LLM, route it too. Rewards of held-out queries are scaled on the training folds.
"""

import argparse
import json
from copy import deepcopy

import numpy as np

from fusion_hf.encoders.encoder import NONE, load_encoder
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import Log, read_log
from fusion_hf.logs.rewards import SCENARIOS, Scaling, available_scenarios, pick, reward
from fusion_hf.logs.schema import split_candidate
from fusion_hf.logs.stats import paired
from fusion_hf.routers import fit_router
from fusion_hf.routers.add_llm import add_to_router
from fusion_hf.routers.decisions import TIE
from fusion_hf.routers.measuring.cross_validation import fold_of
from fusion_hf.routers.sources import embeddings_of


def got(predictions, test, scaling, scenario):
    """Reward of what a router that predicts this picks, on every query: [n]."""
    data = test.select(predictions.candidates)
    picks = pick(
        predictions.reward(scenario.alpha, scenario.beta, scenario.score), predictions.cost, data.candidates, TIE
    )
    return reward(data, scenario, scaling)[np.arange(len(data)), picks]


def interval(gap, fold, rounds=2000):
    """95 % bootstrap interval of the mean of gap [draws, n], over queries and over the draws of each fold."""
    rng, draws = np.random.default_rng(0), len(gap)
    means = []
    for _ in range(rounds):
        weight = rng.multinomial(draws, np.full(draws, 1 / draws), fold.max() + 1) / draws
        rows = rng.integers(0, gap.shape[1], gap.shape[1])
        means.append(np.nanmean((weight[fold[rows]].T * gap[:, rows]).sum(0)))
    return [float(q) for q in np.quantile(means, (0.025, 0.975))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--kind", default="fusion")
    parser.add_argument("--encoder", default="offline")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    data = RoutingData.from_table(read_log(args.bench, "train"))
    scenarios = args.scenario or available_scenarios(data)
    pool = Log(args.bench).extra("llms")
    pool = [] if pool is None else pool.to_pylist()
    encoder = None if args.encoder == NONE else load_encoder(args.encoder)
    llms = sorted({split_candidate(c)[0] for c in data.candidates})
    fold = fold_of(data, args.folds, 0)
    rewards: dict = {}
    for f in range(args.folds):
        inside, outside = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        train, test = data.subset(inside), data.subset(outside)
        scaling = Scaling.fit(train)
        options = {"encoder": encoder or NONE, "progress": False, "examples": 0}
        full = fit_router(args.kind, train, **options)
        there = embeddings_of(full, test)
        for llm in llms:
            rest = train.select([c for c in data.candidates if split_candidate(c)[0] != llm])
            without = fit_router(args.kind, rest, **options)
            routers = {"full": [full], "without": [without], "added": []}
            for seed in range(args.seeds):
                rows = np.random.default_rng([seed, f]).permutation(len(train))[: args.queries]
                router = deepcopy(without)
                router.tokenizer = without.tokenizer
                routers["added"].append(add_to_router(router, train.subset(rows), llm, pool))
            for how, made in routers.items():
                expected = [r.predict(test.queries, there) for r in made]
                for scenario in scenarios:
                    found = np.stack([got(p, test, scaling, SCENARIOS[scenario]) for p in expected])
                    rewards.setdefault((scenario, llm, how), []).append(found)
    result = {}
    for scenario in scenarios:
        print(
            f"\n{scenario}: reward without the LLM, added with {args.queries} queries, after full training; share of "
            "full training; added against without [95 % over queries; and over draws]"
        )
        for llm in llms:
            draws = {how: np.concatenate(rewards[scenario, llm, how], 1) for how in ("without", "added", "full")}
            parts = {how: v.mean(0) for how, v in draws.items()}
            fold = np.repeat(np.arange(args.folds), [v.shape[1] for v in rewards[scenario, llm, "full"]])
            row = {how: float(np.nanmean(v)) for how, v in parts.items()}
            difference = parts["added"] - parts["full"]
            row["share"] = row["added"] / row["full"]
            row["difference"], row["se"] = (
                float(np.nanmean(difference)),
                float(np.nanstd(difference) / len(difference) ** 0.5),
            )
            gain = paired(parts["added"], parts["without"])
            gain["ci95_draws"] = low, high = interval(draws["added"] - draws["without"], fold)
            row["against_without"] = gain
            result.setdefault(scenario, {})[llm] = row
            print(
                f"{llm:40s} {row['without']:.4f} {row['added']:.4f} {row['full']:.4f}  {100 * row['share']:6.1f} %"
                f"  {gain['difference']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}; {low:+.4f}, {high:+.4f}]"
            )
        shares = [r["share"] for r in result[scenario].values()]
        gains = [r["against_without"]["difference"] for r in result[scenario].values()]
        print(f"{'least and mean share':40s} {100 * min(shares):.1f} % {100 * np.mean(shares):.1f} %")
        print(f"{'worst and mean against without':40s} {min(gains):+.4f} {np.mean(gains):+.4f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"queries": args.queries, "kind": args.kind, "scenarios": result}, file, indent=1)


if __name__ == "__main__":
    main()

"""How to choose a configuration for each task: the rule of `autofuse` against others, without any test data.

    python benchmarks/choice_rules.py --log sample=fusion_hf/logs/sample:train,partial_test --log slice=FOLDER:train

Of at most 150 queries a task, a third is held out; two thirds of the rest play train and one third validation; this is
repeated over thirds and seeds. Candidates of the log are known on train and validation. Routers, and in a second
setting a random half of the candidates too, are known on validation only, as thought and distilled systems are. A rule
sees train and validation, and is paid what its choice scores on the held-out queries, on average over tasks. Splits of
a log share queries: the intervals over splits are too narrow.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from fusion_hf.comparison import winners as rule
from fusion_hf.comparison.winners import Evidence
from fusion_hf.logs.arrays import COLUMNS, RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.rewards import pick
from fusion_hf.logs.stats import bootstrap_ci
from fusion_hf.routers.decisions import TIE
from fusion_hf.routers.measuring.cross_validation import fold_of
from fusion_hf.routers.train import fit_router, prepare

MOST, LEAST = 150, 45  # queries a task
OURS = "shrunk gain above 0.5 se (autofuse)"


@dataclass
class Trial:
    """Train and validation of one split (scores NaN on train where unknown), and mean held-out scores by task."""

    evidence: Evidence
    checked: np.ndarray
    paid: dict[str, dict[str, float]]


def read(bench: str, splits: str) -> RoutingData:
    """At most MOST queries of each task that has LEAST."""
    columns = [c for c in COLUMNS if c != "judge"]
    data = RoutingData.from_table(pa.concat_tables([read_log(bench, s, columns=columns) for s in splits.split(",")]))
    tasks, rng, rows = np.array(data.tasks), np.random.default_rng(0), []
    for task in np.unique(tasks):
        own = np.flatnonzero(tasks == task)
        rows += rng.permutation(own)[:MOST].tolist() if len(own) >= LEAST else []
    return data.subset(sorted(rows))


def trials(data: RoutingData, kinds: list[str], seeds: int, hide: bool):
    """Every split of a log; `hide` half of the candidates on train."""
    for seed in range(seeds):
        ninth = fold_of(data, 9, seed)
        for third in range(3):
            held, checked = ninth // 3 == third, (ninth % 3 == 0) & (ninth // 3 != third)
            parts = [data.subset(rows) for rows in (~held & ~checked, checked, held)]
            yield trial(parts, kinds, np.random.default_rng([seed, third]), hide)


def trial(parts: list[RoutingData], kinds: list[str], rng: np.random.Generator, hide: bool) -> Trial:
    train, checked, held = parts
    names = train.candidates
    scores = {n: [d.performance[:, c] for d in parts] for c, n in enumerate(names)}
    costs = {n: [d.cost[:, c] for d in parts] for c, n in enumerate(names)}
    hidden = rng.permutation(names)[: len(names) // 2].tolist() if hide else []
    features = prepare(train, None, 0)
    for kind in kinds:
        router = fit_router(kind, train, "none", features=features, progress=False, examples=0)
        for scenario in ("performance", "balance") if router.config.has_cost else ("performance",):
            hidden.append(f"{kind} {scenario}")
            scores[hidden[-1]], costs[hidden[-1]] = [np.full(len(train), np.nan)], [np.full(len(train), np.nan)]
            for part in (checked, held):
                expected = router.predict(part.queries).select(names)
                reward = expected.reward(**router.config.scenarios[scenario])
                who = np.arange(len(part)), pick(reward, expected.cost, names, tolerance=TIE)
                scores[hidden[-1]].append(part.performance[who])
                costs[hidden[-1]].append(part.cost[who])
    for name in hidden:
        scores[name][0] = np.full(len(train), np.nan)
    tasks = np.array(held.tasks)
    paid = {t: {n: float(np.nanmean(s[2][tasks == t])) for n, s in scores.items()} for t in np.unique(tasks)}
    seen, price = ({n: np.concatenate(v[:2]) for n, v in table.items()} for table in (scores, costs))
    evidence = Evidence(
        np.array(train.tasks + checked.tasks), seen, price, [n for n in names if n not in hidden]
    )  # fmt: skip
    return Trial(evidence, np.arange(len(train) + len(checked)) >= len(train), paid)


def best_on_validation(t: Trial) -> dict[str, str]:
    """The system with the best mean on validation: the winner's curse in person."""
    e = t.evidence
    return {
        task: max(e.scores, key=lambda n: np.nan_to_num(np.nanmean(e.scores[n][t.checked & (e.task == task)]), nan=-1))
        for task in t.paid
    }


def by_gain(t: Trial, errors: float, shrunk: bool) -> dict[str, str]:
    """Leave the best incumbent candidate for the largest gain beyond so many standard errors."""
    if shrunk:
        rule.CAUTION = errors
        return {task: w.system for task, w in rule.winners(t.evidence).items()}
    e, result = t.evidence, {}
    for task in t.paid:
        rows = e.task == task
        result[task], most = rule._best(e, rows), 0.0
        incumbent = e.scores[result[task]][rows]
        for name in sorted(set(e.scores) - set(e.incumbents)):
            gain = e.scores[name][rows] - incumbent
            gain = gain[~np.isnan(gain)]
            sure = gain.mean() - errors * np.sqrt((gain.var() + rule.DOUBT) / len(gain))
            if sure > most:
                result[task], most = name, sure
    return result


RULES = {
    "best on validation, of all": best_on_validation,
    "best on train and validation, of the log's candidates": lambda t: by_gain(t, np.inf, False),
    **{f"gain above {z:g} se": lambda t, z=z: by_gain(t, z, False) for z in (0, 1, 2)},
    **{f"shrunk gain above {z:g} se": lambda t, z=z: by_gain(t, z, True) for z in (0, 1)},
    OURS: lambda t: by_gain(t, 0.5, True),
    "best on the held-out queries": lambda t: {task: max(p, key=p.get) for task, p in t.paid.items()},
}


def main(argv: list[str] | None = None) -> dict:
    """Print a table, and return its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", action="append", required=True, metavar="NAME=BENCH:SPLITS")
    parser.add_argument("--kinds", default="fusion,knn", help="comma-separated router kinds (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    result: dict = {}
    for item in args.log:
        name, place = item.split("=", 1)
        data = read(*place.rsplit(":", 1))
        for hide in (False, True):
            column = f"{name}, {'half of the candidates' if hide else 'routers'} on validation only"
            got: dict[str, list[float]] = {r: [] for r in RULES}
            for t in trials(data, args.kinds.split(","), args.seeds, hide):
                for label, choose in RULES.items():
                    chosen = choose(t)
                    got[label].append(float(np.mean([t.paid[task][chosen[task]] for task in t.paid])))
            print(f"\n{column}: {len(data)} queries, {len(got[OURS])} splits")
            result[column] = {}
            for label, values in got.items():
                mean, low, high = bootstrap_ci(np.array(values) - got[OURS])
                result[column][label] = {"mean": float(np.mean(values)), "vs_autofuse": [mean, low, high]}
                print(f"{label:56} {np.mean(values):.4f}  {mean:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
    sys.exit(0)

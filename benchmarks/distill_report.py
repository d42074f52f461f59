"""Tables of `distill_evidence`: settings and teachers, domain by domain, with intervals over the test queries."""

import json

import numpy as np
from distill_settings import BASE, DOMAINS, MODES, settings

from fusion_hf.llms.pool import load_pool
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.sample import pool_path
from fusion_hf.logs.select import small_llms
from fusion_hf.logs.stats import bootstrap_ci, paired
from fusion_hf.tasks import TASKS


class Scores:
    """Per-query scores of one system in one mode: [queries], the mean over seeds."""

    def __init__(self, runs: list[np.ndarray]):
        self.runs = np.stack(runs)
        self.values = self.runs.mean(0)


def load(args, queries: list[str]) -> tuple[dict, dict]:
    """(setting -> mode -> Scores, setting -> hash of its rows) of the runs that are there."""
    small = small_llms({llm.name: llm.size for llm in load_pool(pool_path()).values()})
    found, hashes = {}, {}
    for setting in settings(small):
        file = args.out / "rows" / f"{setting.name}.txt"
        if not file.is_file():
            continue
        digest = hashes[setting.name] = file.read_text()
        pattern = "base-test.json" if setting.choice is None else f"{digest}-*-test.json"
        runs = [json.loads(path.read_text()) for path in sorted(args.out.glob(pattern))]
        flat = [
            {m: {q: s for task in run["scores"][m].values() for q, s in task.items()} for m in MODES} for run in runs
        ]
        if runs:
            found[setting.name] = {m: Scores([np.array([one[m][q] for q in queries]) for one in flat]) for m in MODES}
            found[setting.name]["rows"] = runs[0].get("rows")
    return found, hashes


def _flat(scores: dict[str, dict]) -> dict[str, float]:
    return {query: score for task in scores.values() for query, score in task.items()}


def by_group(values: np.ndarray, tasks: np.ndarray, name: str) -> np.ndarray:
    """The scores of a domain, or of all, each task with the same weight: one row a query."""
    return values if name == "all" else values[np.isin(tasks, [t for t, task in TASKS.items() if task.domain == name])]


def report(args) -> dict:
    """Print the tables; the figures go to ``--json``."""
    log = read_log(args.bench, "test")
    data = RoutingData.from_table(log)
    order = {q: i for i, q in enumerate(data.query_ids)}
    base = json.loads((args.out / "base-test.json").read_text())
    queries = [q for task in base["scores"]["think"].values() for q in task]
    rows = [order[q] for q in queries]
    tasks = np.array(data.tasks)[rows]
    teachers = {c: data.performance[rows, j] for j, c in enumerate(data.candidates)}
    train = RoutingData.from_table(read_log(args.bench, "train"))
    train_mean = np.nanmean(train.performance, 0)
    best_single = train.candidates[int(np.argmax(train_mean))]
    found, hashes = load(args, queries)
    groups = [*DOMAINS, "all"]
    best = {g: max(teachers, key=lambda c: np.nanmean(by_group(teachers[c], tasks, g))) for g in groups}
    result = {"queries": len(queries), "best_single": best_single, "best_teacher": best, "settings": {}}
    print(f"| direct / think | rows | {' | '.join(groups)} |\n|---|---|{'---|' * len(groups)}")
    for name, modes in found.items():
        twins = [other for other in found if other != name and hashes[other] == hashes[name]]
        if any(other in result["settings"] for other in twins):
            continue
        cells = [f"{np.mean(by_group(modes['direct'].values, tasks, g)):.3f} / "
                 f"{np.mean(by_group(modes['think'].values, tasks, g)):.3f}" for g in groups]  # fmt: skip
        title = f"{name} (the same rows: {', '.join(twins)})" if twins else name
        print(f"| {title} | {modes['rows'] or '–'} | {' | '.join(cells)} |")
        result["settings"][name] = {"rows": modes["rows"], "same_rows_as": twins}
        for mode in MODES:
            result["settings"][name][mode] = {
                g: _figures(modes[mode], tasks, g, found[BASE][mode], teachers[best_single], teachers[best[g]])
                for g in groups
            }
    for label, pick in (("best single (chosen on train): " + best_single, lambda g: best_single),
                        ("best teacher of the column (chosen on test)", lambda g: best[g])):  # fmt: skip
        cells = [f"{np.nanmean(by_group(teachers[pick(g)], tasks, g)):.3f}" for g in groups]
        print(f"| {label} | – | {' | '.join(cells)} |")
    _differences(result, groups)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _figures(scores: Scores, tasks, group, base: Scores, single, teacher) -> dict:
    ours = by_group(scores.values, tasks, group)
    each = [float(np.mean(by_group(run, tasks, group))) for run in scores.runs]
    return {
        "performance": float(np.mean(ours)),
        "ci95": list(bootstrap_ci(ours)[1:]),
        "seeds": each,
        "vs_base": paired(ours, by_group(base.values, tasks, group)),
        "vs_best_single": paired(ours, by_group(single, tasks, group)),
        "vs_best_teacher": paired(ours, by_group(teacher, tasks, group)),
    }


def _differences(result: dict, groups: list[str]) -> None:
    """Think mode against the base and against the best teacher of each domain, with paired intervals."""
    for key, label in (("vs_base", "the base"), ("vs_best_teacher", "the best teacher of the column")):
        print(f"\n| think, difference to {label} [95 %] | {' | '.join(groups)} |\n|---|{'---|' * len(groups)}")
        for name, row in result["settings"].items():
            if name != BASE or key != "vs_base":
                cells = [row["think"][g][key] for g in groups]
                text = [f"{c['difference']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]" for c in cells]
                print(f"| {name} | {' | '.join(text)} |")
    print("\n| think, mean over tasks | [95 %] over queries | seed by seed |\n|---|---|---|")
    for name, row in result["settings"].items():
        low, high = row["think"]["all"]["ci95"]
        seeds = ", ".join(f"{value:.3f}" for value in row["think"]["all"]["seeds"])
        print(f"| {name} | {row['think']['all']['performance']:.3f} [{low:.3f}, {high:.3f}] | {seeds} |")

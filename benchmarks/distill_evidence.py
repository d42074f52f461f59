"""Model level on the embedded sample: which answers are worth learning from, in miniature.

    python benchmarks/distill_evidence.py --out runs &      # any number of processes share the runs
    python benchmarks/distill_evidence.py --out runs
    python benchmarks/distill_evidence.py --out runs --report --json distill.json

The student, a member of the pool itself, is trained on reference answers, and on answers that rules choose, with the
full and the small pool and three seeds; every run has the same number of steps. It then answers test queries through
the collector and is graded. Settings that choose the same rows share their runs. A run is a JSON file in --out, and
what is there is not run again. `--tune` compares learning rates on partial_test; the rest uses the one it chose.

The sample has no judge. The judge here is a rule: a right answer gets the share of the query's right answers that give
the same reason (what stands before the final answer), so it likes what several teachers say alike.
"""

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from distill_settings import MODES, Setting, settings

from fusion_hf.distill import Choice, sft, sft_dataset
from fusion_hf.distill.select import Drops, drop_excluded
from fusion_hf.distill.student import ask_student, student_llm
from fusion_hf.llms.pool import load_pool
from fusion_hf.logs.log import read_log
from fusion_hf.logs.near import NEAR
from fusion_hf.logs.sample import pool_path, reader_path, sample_path
from fusion_hf.logs.select import small_llms

STEPS, BATCH, LEARNING_RATE = 64, 32, 3e-4
KEPT = ("rows", "steps", "tokens", "seconds", "losses", "settings")
RATES = (1e-4, 3e-4, 1e-3)


def with_rule_judge(table: pa.Table) -> pa.Table:
    """The log with `judge` filled by the rule: share of the right answers to the query that give the same reason."""
    columns = table.select(["query_id", "response", "performance"]).to_pydict()
    reasons = [" ".join((r or "").split()[:-1]) for r in columns["response"]]
    right = [p is not None and p >= 0.5 for p in columns["performance"]]
    keys = list(zip(columns["query_id"], reasons, strict=True))
    alike = Counter(key for key, good in zip(keys, right, strict=True) if good)
    every = Counter(key[0] for key, good in zip(keys, right, strict=True) if good)
    values = [alike[key] / every[key[0]] if good else 0.0 for key, good in zip(keys, right, strict=True)]
    place = table.schema.get_field_index("judge")
    return table.set_column(place, "judge", pa.array(values, table.schema.field("judge").type))


@cache
def clean_log(bench: str) -> pa.Table:
    """The train split with the judge's column, without queries that stand, or nearly stand, in another split."""
    log = with_rule_judge(read_log(bench, "train"))
    drop = Drops(log.num_rows)
    drop_excluded(drop, log, pa.concat_tables([read_log(bench, split) for split in ("partial_test", "test")]), NEAR)
    return log.filter(pa.array(drop.alive))


def make_data(args, setting: Setting):
    """(rows in an order that only their content sets, their hash)."""
    data, _ = sft_dataset(clean_log(args.bench), setting.choice)
    rows = sorted(data.to_list(), key=lambda r: (r["query_id"], r["llm"], r["mode"]))
    text = json.dumps([(r["query_id"], r["completion"][0]["content"], r["mode"]) for r in rows])
    kept = data.select_columns(["prompt", "completion"]).features
    rows = type(data).from_list([{name: row[name] for name in kept} for row in rows], features=kept)
    return rows, hashlib.sha256(text.encode()).hexdigest()[:12]


def train(args, data, out: Path, seed: int, rate: float) -> dict:
    """Full fine-tuning by the script that a user runs; a model that is there is taken as it is."""
    out.mkdir(parents=True, exist_ok=True)
    done = out / "model" / sft.REPORT
    if done.is_file() and json.loads(done.read_text())["seconds"] is not None:
        report = json.loads(done.read_text())
        return {key: report[key] for key in KEPT}
    data.to_parquet(str(out / "train.parquet"))
    flags = {
        "dataset_name": out / "train.parquet", "model_name_or_path": args.student, "output_dir": out / "model",
        "max_steps": args.steps, "max_rows": args.steps * BATCH,
        "per_device_train_batch_size": BATCH, "learning_rate": rate, "seed": seed,
        "lr_scheduler_type": "cosine", "warmup_steps": 0.05, "max_length": 512, "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "save_strategy": "no", "logging_steps": 8, "report_to": "none",
        "disable_tqdm": True, "train_sampling_strategy": "group_by_length",
    }  # fmt: skip
    report = sft.main(*sft.parse([part for name, value in flags.items() for part in (f"--{name}", str(value))]))
    return {key: report[key] for key in KEPT}


def ask(args, model: str, out: Path, split: str, limit: int) -> dict:
    """Mode -> task -> query_id -> score, from the collector's answers."""
    llm = student_llm(model, args.base, load_pool(pool_path()))
    ask_student(args.bench, llm, out / split, [split], MODES, limit, progress=False)
    scores = {mode: {} for mode in MODES}
    for row in read_log(out / split, columns=["task", "query_id", "mode", "performance"]).to_pylist():
        scores[row["mode"]].setdefault(row["task"], {})[row["query_id"]] = row["performance"]
    return scores


def run(args, setting: Setting, seed: int, rate: float, split: str, limit: int) -> None:
    """Train and ask, unless the file is there."""
    digest, data = "base", None
    if setting.choice is not None:
        data, digest = make_data(args, setting)
    name = f"{digest}-{seed}-{rate:g}-{split}" if data is not None else f"base-{split}"
    (args.out / "rows").mkdir(parents=True, exist_ok=True)
    (args.out / "rows" / f"{setting.name}.txt").write_text(digest)
    path, work = args.out / f"{name}.json", args.out / "work" / name
    if path.exists() or not claim(path.with_suffix(".claim")):
        return
    trained = {} if data is None else train(args, data, work, seed, rate)
    scores = ask(args, str(work / "model") if trained else args.student, work, split, limit)
    result = {"data": digest, "seed": seed, "rate": rate, "split": split, **trained, "scores": scores}
    path.with_suffix(".part").write_text(json.dumps(result))
    path.with_suffix(".part").rename(path)
    print(f"{setting.name}, seed {seed}: {mean_of(scores, 'direct'):.3f} / {mean_of(scores, 'think'):.3f}", flush=True)


def claim(path: Path) -> bool:
    """Whether this process may do it: nobody else who still lives has said so first."""
    try:
        with open(path, "x") as file:
            file.write(str(os.getpid()))
        return True
    except FileExistsError:
        owner = path.read_text()
    if not owner.isdecimal() or Path("/proc", owner).exists():
        return False
    path.unlink(missing_ok=True)
    return claim(path)


def mean_of(scores: dict, mode: str) -> float:
    """Mean over tasks."""
    return float(np.mean([np.mean(list(task.values())) for task in scores[mode].values()]))


def tune(args) -> None:
    """Learning rates on partial_test, by the rows of perf top-5."""
    perf = Setting("perf top-5, full pool", Choice("perf", 5))
    for rate in RATES:
        run(args, perf, 0, rate, "partial_test", 25)


def run_all(args) -> None:
    """Every distinct run that nobody else has taken, seed by seed in the order of the table."""
    small = small_llms({llm.name: llm.size for llm in load_pool(pool_path()).values()})
    todo, seen = [], set()
    for setting in settings(small):
        digest = make_data(args, setting)[1] if setting.choice else "base"
        (args.out / "rows").mkdir(parents=True, exist_ok=True)
        (args.out / "rows" / f"{setting.name}.txt").write_text(digest)
        if digest not in seen:
            seen.add(digest)
            todo += [(seed, len(todo), setting) for seed in range(args.seeds if setting.choice else 1)]
    for seed, _, setting in sorted(todo, key=lambda t: t[:2]):
        run(args, setting, seed, LEARNING_RATE, "test", args.limit)


def make_parser() -> argparse.ArgumentParser:
    """Arguments; the defaults are those of the table in benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--bench", default=str(sample_path()))
    parser.add_argument("--student", default=str(reader_path()), help="folder of the student before training")
    parser.add_argument("--base", default="tiny-small", help="its name in the pool")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--limit", type=int, default=50, help="test queries of each task")
    parser.add_argument("--tune", action="store_true", help="compare learning rates on partial_test")
    parser.add_argument("--report", action="store_true", help="print the tables of the runs that are there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures of --report")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for."""
    args = make_parser().parse_args(argv)
    torch.set_num_threads(1)
    if args.report:
        from distill_report import report

        report(args)
    else:
        (tune if args.tune else run_all)(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Every configuration of the three levels on the embedded sample, side by side, and what `autofuse` makes of them.

    python benchmarks/compare_sample.py --out runs/compare            # the same command resumes

Thought level: the reader with templates by every rule and pool. Model level: the reader, taught by the answers that
every rule chooses; both in think mode. Query level: routers over the logged LLMs. All answer partial_test and test;
students and templates know train only. Rules, pools, judge and training are those of `distill_evidence.py`, one seed.
"""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from distill_evidence import LEARNING_RATE, STEPS, make_data, train, with_rule_judge
from distill_settings import Setting

from fusion_hf.comparison import gather
from fusion_hf.comparison.autofuse import fuse
from fusion_hf.comparison.given import stated_logs
from fusion_hf.comparison.measure import measure
from fusion_hf.comparison.render import write_report
from fusion_hf.comparison.report import draw_report
from fusion_hf.comparison.verdicts import format_fusion
from fusion_hf.distill import Choice
from fusion_hf.distill.student import ask_student, student_llm
from fusion_hf.fused import Thoughts, collect_candidate
from fusion_hf.llms.pool import load_pool
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.sample import pool_path, reader_path, sample_path
from fusion_hf.logs.select import small_llms
from fusion_hf.thoughts import TemplateIndex, make_templates

BASE, ENCODER, SPLITS = "tiny-small", "offline", ("partial_test", "test")
RULES = ("perf", "judge", "hybrid")
K = 1  # chosen on partial_test by thought_evidence.py
STUDENTS = {"perf5": ("perf", 5, "full"), "judge5": ("judge", 5, "full"), "hybrid5": ("hybrid", 5, "full"),
            "small5": ("perf", 5, "small")}  # fmt: skip
ROUTERS = ("fusion", "knn", "mlp")


def small() -> list[str]:
    """The small LLMs of the sample's pool."""
    return small_llms({llm.name: llm.size for llm in load_pool(pool_path()).values()})


def readers(out: Path) -> dict[str, Path]:
    """The reader answers behind the templates of every rule and pool: logs."""
    log, base = with_rule_judge(read_log(sample_path(), "train")), load_pool(pool_path()).get_llm(BASE)
    found = {}
    for pool in ("full", "small"):
        for rule in RULES if pool == "full" else RULES[:1]:  # the small pool is one LLM: every rule gives the same
            name, folder = f"{BASE}-{rule}-{pool}", out / "templates" / f"{rule}-{pool}"
            if not folder.exists():
                made = make_templates(log, "extractive", rule, llms=small() if pool == "small" else None)
                TemplateIndex.build(made.dataset, ENCODER).save_pretrained(folder)
            shown = Thoughts(str(folder), k=K, asked="think")
            collect_candidate(sample_path(), replace(base, name=name), "thought", out / "logs" / name, SPLITS, shown)
            found[f"thought {rule} {pool}"] = out / "logs" / name
    return found


def students(out: Path) -> dict[str, Path]:
    """The reader is taught and asked: logs."""
    found = {}
    for name, (rule, k, pool) in STUDENTS.items():
        folder, log = out / "students" / name, out / "logs" / name
        if not folder.exists():
            args = argparse.Namespace(bench=str(sample_path()), student=str(reader_path()), steps=STEPS)
            data, _ = make_data(args, Setting(name, Choice(rule, k, llms=small() if pool == "small" else None)))
            train(args, data, out / "work" / name, 0, LEARNING_RATE)
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(out / "work" / name / "model", folder)
        llm = student_llm(folder, BASE, load_pool(pool_path()))
        ask_student(sample_path(), llm, log, SPLITS, ["think"])
        found[f"model {name}"] = log
    return found


def routers(out: Path) -> dict[str, Path]:
    """Routers over the logged LLMs, trained on train."""
    from fusion_hf.routers import fit_router

    for kind in ROUTERS:
        if not (out / "routers" / kind).exists():
            data = RoutingData.from_table(read_log(sample_path(), "train"))
            fit_router(kind, data, encoder=ENCODER).save_pretrained(out / "routers" / kind)
    return {kind: out / "routers" / kind for kind in ROUTERS}


def main(argv: list[str] | None = None) -> int:
    """Make what is missing, compare all, and fuse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--collect", action="store_true", help="only train and collect")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    routed = routers(args.out)
    thoughts, models = readers(args.out), students(args.out)
    if args.collect:
        return 0
    report = args.out / "report"
    report.mkdir(exist_ok=True)
    gathered = systems, splits, notes = gather(sample_path(), routed, thoughts, models, combine="fusion", out=report)
    title = "Every configuration on the embedded sample"
    figures = measure(systems, splits) | {"title": title, "notes": notes}
    report.mkdir(parents=True, exist_ok=True)
    write_report(draw_report(figures, report), report)
    sources = stated_logs(thoughts, models)
    result = fuse(sample_path(), gathered, args.out / "fused", pool_path(), sources)
    (args.out / "autofuse.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(format_fusion(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`fusion-hf eval-student`: ask what was trained the queries of the log, and add it there as one more candidate."""

import json
from pathlib import Path

from . import run_ended

HELP = "ask a trained model the queries of the log, and add it there as <base>+<adapter>"
EXAMPLE = "fusion-hf eval-student bench adapter --base llama-3.1-8b-instruct --logs logs --out bench-with-student"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id")
    add("student", help="folder of the adapter or model that fusion_hf.distill wrote")
    add("--base", help="name of the base model in the log and the pool (default: the base's folder or Hub id)")
    add("--pool", help="pool file with the base's prices and options (without it costs are unknown)")
    add(
        "--backend",
        default="transformers",
        choices=("transformers", "vllm"),
        help="who serves it (default: %(default)s)",
    )
    add("--splits", help="comma-separated splits to ask (default: all, so that routers can learn about it)")
    add("--modes", default="direct,think", help="comma-separated modes (default: direct,think)")
    add("--limit", type=int, metavar="N", help="at most N queries of each task and split")
    add("--max-usd", type=float, help="stop before the answers cost this much by the prices of --pool")
    add("--split", default="test", help="split of the figures (default: %(default)s)")
    add("--logs", required=True, help="folder of its answers; the same command resumes")
    add("--out", required=True, help="FusionBench folder to write; may be the one that was read")


def run(args):
    from ..distill.report import REPORT, RESULTS, write_adapter_card
    from ..distill.student import add_to_bench, ask_student, measure, student_llm
    from ..llms.pool import load_pool
    from ..llms.record import outcome
    from ..logs.store import local_path

    bench, student = local_path(args.bench), Path(args.student)
    llm = student_llm(student, args.base, load_pool(args.pool) if args.pool else None, args.backend)
    splits = args.splits.split(",") if args.splits else None
    summary = ask_student(bench, llm, args.logs, splits, args.modes.split(","), args.limit, max_usd=args.max_usd)
    run = summary.to_dict()
    if outcome(run)[0]:
        return run_ended({"student": llm.name, "run": run}, run)
    add_to_bench(bench, args.logs, llm, args.out)
    results = measure(args.out, llm.name, llm.name.partition("+")[0], args.split)
    (student / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if (student / REPORT).is_file():
        write_adapter_card(student)
    for result in results:
        print(f"{llm.name}, {result['mode']} mode, {result['split']}: {_line(result)}")
        for task, row in result["by_task"].items():
            print(f"  {task:<16} {_line(row)}")
    return {"student": llm.name, "results": results}


def _line(row: dict) -> str:
    text = f"{row['performance']:.3f} on {row['queries']} queries"
    low, high = row["ci95"]
    if row["difference"] is None:
        return f"{text} [{low:.3f}, {high:.3f}]"
    return f"{text}, base {row['base']:.3f}, difference {row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"

"""FusionBench from its sources, or from any public log, to a dataset repository in one go.

    python dataset_scripts/build_fusionbench.py --pool pool.yaml --out fusionbench
    python dataset_scripts/build_fusionbench.py --import routerbench logs/routerbench --out fusionbench

Collecting is resumable: the same command continues where it was stopped, and asks and pays for nothing twice.
"""

import argparse
import json
import sys
from pathlib import Path

SPLITS = ("train", "partial_test", "test")
JUDGE = "judge"  # folder of judgements beside the answers
TRAIN_QUERIES = 500  # published sample: 500 queries a task, fewer where the source has fewer

EXAMPLES = """examples:
  # The price of the published benchmark: 14 tasks, 500 train, 50 partial_test and all test queries, two modes
  python dataset_scripts/build_fusionbench.py --pool pool.yaml --out fusionbench --dry-run

  # Two tasks with small samples through an endpoint of your own, within 5 USD
  python dataset_scripts/build_fusionbench.py --pool my_pool.yaml --tasks gsm8k,squad --train 100 --test 100 \\
      --max-usd 5 --out fusionbench

  # Source rows from a folder (<task>/<split>.jsonl or .parquet) instead of the Hub, with a judge
  python dataset_scripts/build_fusionbench.py --pool my_pool.yaml --source sources --out fusionbench \\
      --judge my-judge --judge-pool judge.yaml

  # A public log that exists already
  python dataset_scripts/build_fusionbench.py --import fusionbench ulab-ai/FusionBench --out fusionbench
  python dataset_scripts/build_fusionbench.py --import llmrouter fusionbench_slice --out fusionbench
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="FusionBench from its sources (or a public log) to a dataset repository in one go.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--out", required=True, help="dataset repository folder")
    add("--import", dest="imported", nargs=2, metavar=("FORMAT", "PATH"), help="build from this log; nothing is asked")
    add("--pool", help="pool file (YAML): LLMs, prices, how to reach them")
    add("--tasks", default="all", help="comma-separated task names (default: all 14)")
    add("--source", help="folder with a folder a task, instead of the Hub")
    add("--splits", default=",".join(SPLITS), help="comma-separated splits (default: %(default)s)")
    add("--modes", default="direct,think", help="comma-separated modes (default: %(default)s)")
    add(
        "--prompt-version",
        default="plain",
        choices=("plain", "paper"),
        help="paper: prompts as published (default: plain)",
    )
    add("--train", type=int, default=TRAIN_QUERIES, metavar="N", help="train queries a task (default: %(default)s)")
    add("--test", type=int, metavar="N", help="test queries a task (default: all)")
    add("--seed", type=int, default=0, help="of the samples (default: %(default)s)")
    add("--logs", help="folder of the collector's shards (default: OUT-logs beside OUT)")
    add("--max-usd", type=float, help="stop before this much is spent, all splits and the judge together")
    add("--concurrency", type=int, help="requests at once for an endpoint")
    add("--dry-run", action="store_true", help="print the price and ask nothing")
    add("--judge", metavar="NAME", help="LLM that judges every answer")
    add("--judge-pool", metavar="FILE", help="pool file that has it (default: --pool, and it is asked too)")
    add("--grader", default="strict", choices=("strict", "paper"), help="version of the graders (default: %(default)s)")
    add("--title", default="FusionBench", help="heading of the card (default: %(default)s)")
    add("--no-progress", action="store_true", help="show no bars")
    add("--json", metavar="FILE", help="also write the figures to this file")
    return parser


def main(args: argparse.Namespace) -> dict:
    """Do it all; returns what was collected, and the splits that were written."""
    from fusion_hf.errors import UserError

    if args.imported:
        return import_public(args)
    if not args.pool:
        raise UserError("expected --pool with the LLMs to ask, or --import with a log that exists, found neither")
    splits = args.splits.split(",")
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise UserError(f"unknown split {unknown[0]!r}: expected {', '.join(SPLITS)}")
    examples = {split: load(args, split) for split in splits}
    collected = {group: collect_group(args, group, asked) for group, asked in groups(examples).items()}
    if args.dry_run:
        return {"collected": collected}
    short = {group: found["dropped"] for group, found in collected.items() if found["dropped"]}
    if short:
        print(f"not every request was answered: {short}; run the same command again to ask them again", file=sys.stderr)
    judged = {group: judge(args, group) for group in groups(examples)} if args.judge else {}
    return {"collected": collected, "judged": judged, "splits": write(args, examples)}


def import_public(args: argparse.Namespace) -> dict:
    """The same repository from a public log."""
    from fusion_hf import import_log

    return import_log(*args.imported, args.out, title=args.title).to_dict()


def load(args: argparse.Namespace, split: str) -> dict[str, list]:
    """The sample of a split: {task: examples}."""
    from fusion_hf.tasks import TASKS
    from fusion_hf.tasks.load import load_examples

    tasks = list(TASKS) if args.tasks == "all" else args.tasks.split(",")
    limit = {"train": args.train, "test": args.test}.get(split)
    source = {task: Path(args.source) / task if args.source else None for task in tasks}
    return {task: load_examples(task, split, limit, args.seed, source[task], args.prompt_version) for task in tasks}


def groups(examples: dict[str, dict[str, list]]) -> dict[str, dict[str, list]]:
    """What is asked together: partial_test is a part of test, so both share their answers."""
    result: dict[str, dict[str, list]] = {}
    for split, by_task in examples.items():
        group = result.setdefault("train" if split == "train" else "test", {})
        for task, found in by_task.items():
            known = {example.source_id for example in group.get(task, [])}
            group.setdefault(task, []).extend(e for e in found if e.source_id not in known)
    return result


def shards(args: argparse.Namespace, group: str) -> Path:
    """Where the answers of a group are collected."""
    root = Path(args.logs) if args.logs else Path(f"{args.out.rstrip('/')}-logs")
    return root / group


def collect_group(args: argparse.Namespace, group: str, examples: dict[str, list]) -> dict:
    """Ask the pool these examples."""
    from fusion_hf.llms.collect import collect_examples
    from fusion_hf.llms.pool import load_pool

    options = {
        "max_usd": left(args, shards(args, group)),
        "concurrency": args.concurrency,
        "progress": not args.no_progress,
    }
    result = collect_examples(
        load_pool(args.pool), examples, shards(args, group), args.modes.split(","), dry_run=args.dry_run,
        **({} if args.dry_run else options),
    )  # fmt: skip
    return result.to_dict()


def left(args: argparse.Namespace, own: Path) -> float | None:
    """What the folder `own` may cost in all: the cap less what answers and judgements elsewhere cost."""
    if args.max_usd is None:
        return None
    from fusion_hf.logs.shards import read_rows

    folders = [shards(args, group) / part for group in ("train", "test") for part in ("", JUDGE)]
    others = [folder for folder in folders if folder.is_dir() and folder != own]
    return max(0.0, args.max_usd - sum(row.get("cost") or 0.0 for folder in others for row in read_rows(folder)))


def judge(args: argparse.Namespace, group: str) -> dict:
    """Let the judge score the answers of a group; resumable."""
    from fusion_hf.llms.judge import judge_log
    from fusion_hf.llms.pool import load_pool

    folder = shards(args, group)
    options = {"max_usd": left(args, folder / JUDGE), "concurrency": args.concurrency}
    pool = load_pool(args.judge_pool or args.pool)
    return judge_log(folder, args.judge, pool, progress=not args.no_progress, **options)


def write(args: argparse.Namespace, examples: dict[str, dict[str, list]]) -> dict:
    """Grade and write the repository, one group of splits at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from fusion_hf.llms.build import pool_rows
    from fusion_hf.llms.pool import load_pool
    from fusion_hf.llms.recosting import recost
    from fusion_hf.logs.log import Log, write_bench
    from fusion_hf.logs.schema import query_id

    pool = load_pool(args.pool)
    for group in groups(examples):
        table = recost(Log(shards(args, group), args.grader).table(), pool)
        tables = {}
        for split in examples:
            if (split == "train") == (group == "train"):
                ids = [query_id(task, e.source_id, e.query) for task, found in examples[split].items() for e in found]
                tables[split] = table.filter(pc.is_in(table["query_id"], value_set=pa.array(ids)))
        write_bench(tables, args.out, replace=True, llms=pool_rows(pool), title=args.title)
    return {row.pop("split"): row for row in Log(args.out).summary()}


def run(argv: list[str] | None = None) -> int:
    """The command: 0 done, 2 wrong input."""
    from fusion_hf.errors import UserError

    args = make_parser().parse_args(argv)
    try:
        result = main(args)
    except UserError as error:
        print(f"build_fusionbench: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if args.json:
        Path(args.json).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run())

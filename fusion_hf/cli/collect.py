"""`fusion-hf collect`: ask every LLM of a pool, in every mode."""

import sys

from . import print_json, run_ended

HELP = "ask every LLM of a pool, in every mode"
EXAMPLE = "fusion-hf collect --pool pool.yaml --tasks gsm8k --out logs"
FIGURES = True


def arguments(add) -> None:
    add("--pool", required=True, help="pool file (YAML): LLMs, prices, how to reach them")
    add("--tasks", required=True, help="comma-separated task names, or all")
    add("--split", default="train", choices=("train", "partial_test", "test"))
    add("--limit", type=int, help="queries a task (default: all of them; the published sample: 500 of train)")
    add("--modes", "--mode", help="any of direct, think, thought (default: direct,think, which asks and pays twice)")
    add("--templates", help="thought templates (folder or Hub id) that mode thought puts before each query")
    add("-k", type=int, default=3, help="mode thought: templates before a query (default: 3)")
    add("--max-words", type=int, help="mode thought: drop the least similar templates of a longer prompt")
    add("--source", help="rows in the columns of the task's source, instead of the Hub: a file, or a folder of files "
        "named by split (test.jsonl); for several tasks a folder with one of these in <task>/")  # fmt: skip
    add("--prompt-version", default="plain", choices=("plain", "paper"), help="paper: the published prompts, whose "
        "example of an answer weak LLMs copy (default: plain, the same without it)")  # fmt: skip
    add("--out", required=True, help="folder of append-only shards; the same command resumes")
    add("--seed", type=int, default=0)
    add("--max-usd", type=float, help="stop before this much is spent")
    add("--concurrency", type=int, help="requests at once for an endpoint (default: what its backend says)")
    add("--engine", default="asyncio", choices=("asyncio", "ray"), help="ray: Ray Data on a cluster (extra ray)")
    add("--dry-run", action="store_true", help="print the price and ask nothing")


def run(args):
    from ..fused.asking import Thoughts, remember
    from ..llms.collect import collect_tasks
    from ..llms.pool import load_pool
    from ..tasks import TASKS

    tasks = list(TASKS) if args.tasks == "all" else args.tasks.split(",")
    pool, modes = load_pool(args.pool), (args.modes or "direct,think").split(",")
    if args.templates and "thought" in modes and not args.dry_run:
        for llm in pool:
            remember(args.out, llm, Thoughts(args.templates, args.k))
    result = collect_tasks(
        pool, tasks, split=args.split, limit=args.limit, out=args.out, modes=modes,
        source=args.source, seed=args.seed, max_usd=args.max_usd, concurrency=args.concurrency, dry_run=args.dry_run,
        engine=args.engine, prompt_version=args.prompt_version, prompts=_prompts(args),
        announce=None if args.modes else _both_modes,
    )  # fmt: skip
    result = result.to_dict()
    print_json(result)
    return result if args.dry_run else run_ended(result, result)


def _both_modes(plan):
    """Say what the default of two modes costs."""
    asked = sum(plan.by_mode.values())
    if asked and plan.usd_most != 0:
        most = "a price that is not known" if plan.usd_most is None else f"at most {plan.usd_most:.4g} USD"
        print(
            f"fusion-hf collect: every query is asked in two modes, direct and think: {asked} requests, {most}; "
            "--modes direct asks half of them",
            file=sys.stderr,
        )


def _prompts(args):
    """(queries, query ids) -> what mode thought sends: as `think`, and never the query's own template."""
    if not args.templates:
        return None
    from ..thoughts import TemplateIndex, thought_prompts

    index = TemplateIndex.from_pretrained(args.templates)
    options = {"k": args.k, "max_words": args.max_words}
    return lambda queries, ids: [
        thought.prompt for thought in thought_prompts(queries, index, exclude_query_ids=ids, **options)
    ]

"""`fusion-hf judge`: an LLM scores every answer of a log; resumable."""

from . import print_json, run_ended

HELP = "let an LLM score every answer of a log, 0..1; the same command resumes"
EXAMPLE = "fusion-hf judge logs --model llama-3.3-70b --pool pool.yaml --max-usd 5"
FIGURES = True


def arguments(add) -> None:
    add("logs", help="shards of `collect`, a FusionBench folder or Hub id, a .parquet or a .jsonl file")
    add("--model", required=True, help="name of the judge in the pool")
    add("--pool", required=True, help="pool file (YAML) that says how the judge is reached, and its prices")
    add("--out", help="a folder for a FusionBench, else a .parquet or .jsonl file; shards need none")
    add("--max-usd", type=float, help="stop before this much is spent on judging")
    add("--concurrency", type=int, help="requests at once (default: what the backend says)")
    add("--dry-run", action="store_true", help="print the price and ask nothing")


def run(args):
    from ..llms.judge import judge_log
    from ..llms.pool import load_pool

    result = judge_log(
        args.logs, args.model, load_pool(args.pool), args.out,
        dry_run=args.dry_run, max_usd=args.max_usd, concurrency=args.concurrency,
    )  # fmt: skip
    print_json(result)
    return result if args.dry_run else run_ended(result, result["run"])

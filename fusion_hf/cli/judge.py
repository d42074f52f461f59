"""`fusion-hf judge`: an LLM scores every answer of a log; resumable."""

import sys

HELP = "let an LLM score every answer of a log, 0..1; the same command resumes"
EXAMPLE = "fusion-hf judge logs --model llama-3.3-70b --pool pool.yaml --max-usd 5"


def arguments(add) -> None:
    add("log", help="shards of `collect`, a FusionBench folder or Hub id, a .parquet or a .jsonl file")
    add("--model", required=True, help="name of the judge in the pool")
    add("--pool", required=True, help="pool file (YAML) that says how the judge is reached, and its prices")
    add("--out", help="a folder for a FusionBench, else a .parquet or .jsonl file; shards need none")
    add("--max-usd", type=float, help="stop before this much is spent on judging")
    add("--concurrency", type=int, help="requests at once (default: what the backend says)")
    add("--dry-run", action="store_true", help="print the price and ask nothing")


def exit_code(result, args) -> int:
    from ..llms.record import outcome

    code, why = outcome(result.run) if result.plan is None else (0, "")
    if why:
        print(f"fusion-hf: {why}", file=sys.stderr)
    return code

"""`fusion-hf collect`: ask every LLM of a pool, in every mode."""

from . import ended
from ._arguments import OVERWRITE, SPLITS, names

HELP = "ask every LLM of a pool, in every mode"
EXAMPLE = "fusion-hf collect --pool pool.yaml --tasks gsm8k --out logs"


def arguments(add) -> None:
    add("--pool", required=True, help="pool file (YAML): LLMs, prices, how to reach them")
    add("--tasks", required=True, type=names, help="task names or .py files, with commas, or all")
    add("--split", default="train", choices=SPLITS, help="split of each task (default: %(default)s)")
    add("--limit", type=int, help="queries a task (default: all of them; the published sample: 500 of train)")
    add("--modes", type=names, help="any of direct, think, thought, fewshot (default: direct,think, "
        "which asks and pays twice)")  # fmt: skip
    add("--templates", help="thought templates (folder or Hub id), of which mode thought puts the plans before "
        "a query and mode fewshot the questions with their right answers")  # fmt: skip
    add("-k", type=int, default=3, help="modes thought and fewshot: templates before a query (default: 3)")
    add("--max-words", type=int, help="the same: drop the least similar templates of a longer prompt")
    add("--asked", default="direct", choices=("direct", "think"), help="the same: ask the query behind them for steps "
        "(think; default: direct); some LLMs answer at once behind templates")  # fmt: skip
    add("--source", help="rows in the columns of the task's source, instead of the Hub: a file, or a folder of files "
        "named by split (test.jsonl); for several tasks a folder with one of these in <task>/")  # fmt: skip
    add("--prompt-version", default="plain", choices=("plain", "paper"), help="paper: the published prompts, whose "
        "example of an answer weak LLMs copy (default: plain, the same without it)")  # fmt: skip
    add("--out", required=True, help="folder of append-only shards; the same command resumes")
    add("--seed", type=int, default=0, help="draws the queries of --limit (default: %(default)s)")
    add("--max-usd", type=float, help="stop before this much is spent")
    add("--concurrency", type=int, help="requests at once for an endpoint (default: what its backend says)")
    add("--engine", default="asyncio", choices=("asyncio", "ray"), help="ray: Ray Data on a cluster (extra ray)")
    add("--dry-run", action="store_true", help="print the price and ask nothing")
    add("--overwrite", action="store_true", help=OVERWRITE)


def exit_code(result, args) -> int:
    return 0 if args.dry_run else ended(result.figures)

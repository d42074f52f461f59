"""`fusion-hf`: one thin command a verb over the library. Wrong input gives one line and exit code 2."""

import argparse
import json
import os
import sys
from pathlib import Path

from .errors import UserError

VERBS = {}


def verb(help_line: str, example: str):
    """Register a command: the function's name is the verb, and it gets its arguments by `arguments`."""

    def keep(function):
        VERBS[function.__name__.replace("_", "-")] = (function, help_line, example)
        return function

    return keep


def arguments(verb_name: str, add) -> None:
    """What each verb takes, in one place, so that a newcomer sees the whole command line at once."""
    match verb_name:
        case "demo":
            add("--out", default="demo", help="folder for everything that the demo makes (default: demo)")
        case "import":
            add("format", help="llmrouter, routerdc, routerbench, jsonl")
            add("path", help="file or folder in the publisher's format, gzip or not")
            add("--out", required=True, help="FusionBench folder; other splits in it are kept")
            add("--split", choices=("train", "partial_test", "test"), help="put all rows into this split")
            add("--task", help="task name, where the format has none")
        case "collect":
            add("--pool", required=True, help="pool file (YAML): LLMs, prices, how to reach them")
            add("--tasks", required=True, help="comma-separated task names, or all")
            add("--split", default="train", choices=("train", "test"))
            add("--limit", type=int, help="queries a task (default: all of them)")
            add("--modes", default="direct,think", help="comma-separated modes (default: direct,think)")
            add("--source", help="folder with <task>.jsonl or .parquet in the source's schema, instead of the Hub")
            add("--out", required=True, help="folder of append-only shards; the same command resumes")
            add("--seed", type=int, default=0)
            add("--max-usd", type=float, help="stop before this much is spent")
            add("--concurrency", type=int, help="requests at once for an endpoint (default: what its backend says)")
            add("--dry-run", action="store_true", help="print the price and ask nothing")
        case "grade":
            add("logs", help="shards of `collect`, a FusionBench folder, a .parquet or a .jsonl file")
            add("--grader", default="strict", choices=("strict", "paper"))
            add("--out", help="write the graded log to this .parquet file or FusionBench folder")
            add("--split", default="train", choices=("train", "partial_test", "test"), help="split in --out")
        case "build":
            add("logs", nargs="+", help="logs: shards, .parquet or .jsonl")
            add("--out", required=True, help="FusionBench folder")
            add("--split", required=True, choices=("train", "partial_test", "test"))
        case "train-router":
            add("bench", help="FusionBench folder or Hub id")
            add("--kind", default="fusion", help="router kind (default: fusion)")
            add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
            add("--split", default="train")
            add("--no-task-labels", action="store_true", help="learn without the log's task names")
            add("--seed", type=int, default=0)
            add("--out", required=True, help="folder of the router")
        case "eval-router":
            add("router", help="router folder or Hub id")
            add("bench", help="FusionBench folder or Hub id")
            add("--split", default="test")
            add("--scenario", default="all", help="performance, balance, cost, judge or all (default: all)")
        case "cv-router":
            add("bench", help="FusionBench folder or Hub id")
            add("--kind", action="append", required=True, help="router kind; repeat to compare")
            add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
            add("--split", default="train")
            add("--folds", type=int, default=5)
            add("--scenario", default="performance")
            add("--no-task-labels", action="store_true", help="learn without the log's task names")
            add("--seed", type=int, default=0)
        case "route":
            add("router", help="router folder or Hub id")
            add("query", nargs="*", help="queries; none reads standard input, a query a line")
            add("--file", help="read queries from this file, one a line")
            add("--scenario", default="performance", help="a trade-off that the router knows (default: performance)")
            add("--max-cost", type=float, help="USD that one answer may cost")
            add("--candidates", help="comma-separated candidates to choose from")
            add("--explain", action="store_true", help="also print the best three and why")
        case "templates":
            add("bench", help="FusionBench folder or Hub id, with responses")
            add("--model", default="extractive", help="LLM of --pool that summarises, or extractive (default)")
            add("--pool", help="pool file that names --model")
            add("--select", default="perf", choices=("perf", "judge", "hybrid"))
            add("--top-k", type=int, default=3, help="best answers shown to the summariser (default: 3)")
            add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
            add("--out", required=True, help="folder of the templates and their index")
        case "think":
            add("templates", help="folder of `templates` or Hub id")
            add("query", nargs="*", help="queries; none reads standard input, a query a line")
            add("--model", required=True, help="a model folder or Hub id, or an LLM of --pool")
            add("--pool", help="pool file that names --model")
            add("-k", type=int, default=3, help="templates before the query (default: 3)")
            add("--style", default="thought", choices=("zero-shot", "few-shot", "thought"))
            add("--max-tokens", type=int, default=256)
            add("--show-prompt", action="store_true", help="print the prompt too")
        case "sft-data":
            add("bench", help="FusionBench folder or Hub id, with responses")
            add("--select", default="perf", choices=("perf", "judge", "hybrid", "baseline"))
            add("--top-k", type=int, default=5)
            add("--split", default="train")
            add("--out", required=True, help="folder of the dataset")
        case "compare":
            add("bench", help="FusionBench folder or Hub id with train and test")
            add("--router", action="append", default=[], metavar="[NAME=]DIR", help="router; repeat to compare")
            add(
                "--log",
                action="append",
                default=[],
                metavar="NAME=LOG",
                help="graded answers of a thought-level or model-level system to the same queries; repeat",
            )
            add("--title", default="Three levels on the same queries")
            add("--out", required=True, help="folder of report.md, report.json and the plot")
        case "push":
            add("path", help="folder of a FusionBench, router, templates or adapter")
            add("repo_id", help="repository on the Hub, such as user/name")
            add("--private", action="store_true")
            add("--message", help="commit message")


DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
ENCODER_HELP = "text encoder: a Hub id or folder, offline (extra `offline`), or none (default: %(default)s)"
FIGURES = {"import", "collect", "grade", "eval-router", "cv-router", "templates", "sft-data", "compare", "route"}


@verb("the whole factory on the embedded sample", "fusion-hf demo --out demo")
def demo(args):
    from .demo import run_demo

    run_demo(Path(args.out))


@verb("a public or private log -> FusionBench folder", "fusion-hf import routerbench logs/routerbench --out bench")
def import_(args):
    from .bench.importing import import_log

    return import_log(args.format, args.path, args.out, split=args.split, task=args.task)


@verb("ask every LLM of a pool, in every mode", "fusion-hf collect --pool pool.yaml --tasks gsm8k --out logs")
def collect(args):
    from .bench.tasks import TASKS
    from .llms.collect import collect_tasks
    from .llms.pool import load_pool

    tasks = list(TASKS) if args.tasks == "all" else args.tasks.split(",")
    result = collect_tasks(
        load_pool(args.pool), tasks, split=args.split, limit=args.limit, out=args.out, modes=args.modes.split(","),
        source=args.source, seed=args.seed, max_usd=args.max_usd, concurrency=args.concurrency, dry_run=args.dry_run,
    )  # fmt: skip
    return result.to_dict()


@verb("grade a log again; prints what changed", "fusion-hf grade logs --grader paper --out graded.parquet")
def grade(args):
    from .bench.regrade import regrade
    from .llms.logs import load_log

    return regrade(load_log(args.logs), args.grader, args.out, split=args.split)


@verb("graded logs -> dataset repository folder", "fusion-hf build graded.parquet --split train --out bench")
def build(args):
    import pyarrow as pa

    from .bench.store import summary, write_bench
    from .llms.logs import load_log

    write_bench({args.split: pa.concat_tables([load_log(path) for path in args.logs])}, args.out)
    for row in summary(args.out):
        print("  ".join(f"{key} {value}" for key, value in row.items()))


@verb("train a router on a log", "fusion-hf train-router bench --kind fusion --out router")
def train_router(args):
    from . import routers
    from .bench.data import RoutingData
    from .bench.store import read_log

    data = RoutingData.from_table(read_log(args.bench, args.split))
    router = routers.train_router(
        args.kind, data, encoder=args.encoder, task_labels=not args.no_task_labels, seed=args.seed
    )
    router.save_pretrained(args.out)
    print(f"{args.kind} router for {len(data.candidates)} candidates from {len(data)} queries: {args.out}")


@verb("measure a router, with every anchor", "fusion-hf eval-router router bench --split test --scenario all")
def eval_router(args):
    from .routers.evaluate import evaluate_on_bench, format_evaluation

    result = evaluate_on_bench(args.router, args.bench, split=args.split, scenario=args.scenario)
    print(format_evaluation(result))
    return result


@verb("compare router kinds by cross-validation", "fusion-hf cv-router bench --kind knn --kind fusion --folds 5")
def cv_router(args):
    from .bench.data import RoutingData
    from .bench.store import read_log
    from .routers.evaluate import cross_validate, format_cv

    result = cross_validate(
        RoutingData.from_table(read_log(args.bench, args.split)), args.kind, folds=args.folds, scenario=args.scenario,
        encoder=args.encoder, task_labels=not args.no_task_labels, seed=args.seed,
    )  # fmt: skip
    print(format_cv(result))
    return result


@verb("which candidate should answer", 'fusion-hf route router "What is 7 * 8?" --scenario balance')
def route(args):
    from .routers import load_router

    router = load_router(args.router)
    names = args.candidates.split(",") if args.candidates else None
    queries = _queries(args)
    decisions = router.route(queries, scenario=args.scenario, max_cost=args.max_cost, candidates=names)
    for query, decision in zip(queries, decisions, strict=True):
        print(f"{decision.candidate}\t{query[:80]}")
        if args.explain:
            print(decision.explain())
    return [decision.to_dict() for decision in decisions]


@verb("thought templates from the best answers", "fusion-hf templates bench --model extractive --out templates")
def templates(args):
    from .thoughts.templates import build_templates

    return build_templates(
        args.bench, args.out, model=args.model, pool=args.pool, select=args.select, top_k=args.top_k,
        encoder=args.encoder,
    )  # fmt: skip


@verb("answer with retrieved templates", 'fusion-hf think templates "What is 7 * 8?" --model MODEL --show-prompt')
def think(args):
    from .thoughts.think import think_with

    replies = think_with(
        args.templates, _queries(args), args.model, pool=args.pool, k=args.k, style=args.style,
        max_tokens=args.max_tokens,
    )  # fmt: skip
    for reply in replies:
        if args.show_prompt:
            print(reply.prompt, end="\n---\n")
        print(reply.text)


@verb("the best answers as SFT data", "fusion-hf sft-data bench --select perf --top-k 5 --out sft")
def sft_data(args):
    from .bench.store import read_log
    from .distill.select import save, sft_dataset

    dataset, counts = sft_dataset(read_log(args.bench, args.split), select=args.select, top_k=args.top_k)
    save(dataset, counts, args.out)
    return counts


@verb("the three levels on the same queries", "fusion-hf compare bench --router router --log thought=t.parquet --out r")
def compare(args):
    from .compare import compare_bench

    result = compare_bench(args.bench, args.router, args.log, args.out, title=args.title)
    print(Path(args.out, "report.md").read_text(encoding="utf-8"))
    return result


@verb("put a folder on the Hub, with its card", "fusion-hf push router user/my-router --private")
def push(args):
    from .hub import push as push_folder

    print(push_folder(args.path, args.repo_id, private=args.private, message=args.message))


def _queries(args) -> list[str]:
    """Queries from the arguments, from --file, or from standard input."""
    if args.query:
        return args.query
    path = getattr(args, "file", None)
    if path and not Path(path).is_file():
        raise UserError(f"{path}: expected a file with a query a line, found nothing there")
    text = Path(path).read_text(encoding="utf-8") if path else sys.stdin.read()
    queries = [line for line in text.splitlines() if line.strip()]
    if not queries:
        raise UserError("no query: give one as an argument, in --file, or on standard input")
    return queries


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="fusion-hf", description="Fuse many LLMs from their logs.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of wrong input")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (function, help_line, example) in VERBS.items():
        name = name.rstrip("-")
        sub = commands.add_parser(
            name, help=help_line, description=help_line[0].upper() + help_line[1:] + ".",
            epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        arguments(name, sub.add_argument)
        if name in FIGURES:
            sub.add_argument("--json", metavar="FILE", help="also write the figures to this file")
        sub.set_defaults(function=function)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 wrong input, 130 interrupted."""
    args = make_parser().parse_args(argv)
    try:
        result = args.function(args)
        if getattr(args, "json", None):
            Path(args.json).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        elif result is not None and args.verb in ("import", "collect", "grade", "templates", "sft-data"):
            print(json.dumps(result, indent=1, ensure_ascii=False))
    except UserError as error:
        if args.debug:
            raise
        print(f"fusion-hf {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fusion-hf {args.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())

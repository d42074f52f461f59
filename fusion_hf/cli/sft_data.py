"""`fusion-hf sft-data`: the best answers as training data."""

from . import chosen_llms, print_json

HELP = "the best answers as training data: SFT, or preference pairs"
EXAMPLE = "fusion-hf sft-data bench --select perf --top-k 5 --out sft"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id, with responses")
    add("--select", default="perf", choices=("perf", "judge", "hybrid", "baseline"), help="rule; baseline: gold labels")
    add("--format", default="sft", choices=("sft", "preference"), help="preference: best against worst, for DPO")
    add("--top-k", type=int, default=5, help="answers of one query (default: %(default)s)")
    add("--hybrid-keep", type=int, help="answers that hybrid keeps of the top k (default: three fifths of them)")
    add("--tie", default="cost", choices=("cost", "length"), help="equal scores: cheaper or shorter (default: cost)")
    add("--threshold", type=float, default=0.5, help="answers below this score are wrong (default: %(default)s)")
    add("--near", type=float, default=0.8, help="similarity of near-duplicates; 1: exact (default: %(default)s)")
    add("--min-agreement", type=int, metavar="N", help="a letter or True/False needs N candidates that gave it")
    add("--small", action="store_true", help="only the small LLMs of the pool teach")
    add("--llms", help="only these LLMs teach, comma-separated")
    add("--task-cap", type=int, metavar="N", help="at most N rows of each task")
    add("--max-rows", type=int, metavar="N", help="at most N rows, shared among tasks by --weight")
    add("--weight", action="append", default=[], metavar="NAME=W", help="weight of a task or domain; repeat")
    add("--split", default="train", help="split to learn from; queries of the other splits are excluded")
    add("--exclude", action="append", default=[], metavar="LOG", help="exclude the queries of this log too; repeat")
    add("--holdout", type=float, default=0.0, help="share of queries for the split validation (default: none)")
    add("--tokenizer", metavar="MODEL", help="count tokens with this tokenizer (default: what the log says)")
    add("--pool", help="pool file with the sizes, for --small (default: the config llms of the log)")
    add("--out", required=True, help="folder of the dataset")
    add("--push", metavar="REPO", help="also push the folder to this dataset repository of the Hub")


def run(args):
    from ..distill import Choice, hold_out, preference_dataset, save, sft_dataset
    from ..logs.log import read_log

    choice = Choice(
        select=args.select, top_k=args.top_k, hybrid_keep=args.hybrid_keep, tie=args.tie, threshold=args.threshold,
        llms=chosen_llms(args), min_agreement=args.min_agreement, near=args.near, task_cap=args.task_cap,
        max_rows=args.max_rows, weights=dict(map(_weight, args.weight)),
    )  # fmt: skip
    table, exclude = read_log(args.bench, args.split), _excluded(args)
    if args.format == "preference":
        dataset, counts = preference_dataset(table, choice, exclude)
    else:
        dataset, counts = sft_dataset(table, choice, exclude, _counter(args.tokenizer))
    dataset, validation = hold_out(dataset, args.holdout)
    counts["validation"] = 0 if validation is None else len(validation)
    save(dataset, counts, args.out, validation, args.tokenizer)
    if args.push:
        from ..hub import push

        counts["pushed"] = push(args.out, args.push)
    print_json(counts)
    return counts


def _weight(text: str) -> tuple[str, float]:
    from ..errors import UserError

    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise UserError(f"--weight: expected NAME=NUMBER such as gsm8k=2, found {text!r}") from None


def _excluded(args):
    import pyarrow as pa

    from ..logs.log import Log, read_log
    from ..logs.store import local_path

    columns = ["query_id", "query"]
    folder = local_path(args.bench)
    splits = Log(folder).splits if folder.is_dir() else []
    tables = [read_log(folder, split, columns=columns) for split in splits if split != args.split]
    tables += [read_log(log, columns=columns) for log in args.exclude]
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _counter(tokenizer: str | None):
    if tokenizer is None:
        return None
    from transformers import AutoTokenizer

    from ..errors import UserError

    try:
        encode = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise UserError(f"--tokenizer {tokenizer}: it cannot be loaded: {str(error).splitlines()[0]}") from error
    return lambda texts: [len(ids) for ids in encode(texts, add_special_tokens=False)["input_ids"]]

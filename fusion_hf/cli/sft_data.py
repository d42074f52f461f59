"""`fusion-hf sft-data`: the best answers as training data."""

from ._arguments import OVERWRITE, Pairs, names, number_pair

HELP = "the best answers as training data: SFT, or preference pairs"
EXAMPLE = "fusion-hf sft-data bench --select perf --top-k 5 --out sft"


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id, with responses")
    add(
        "--select",
        default="perf",
        choices=("perf", "judge", "hybrid", "baseline"),
        help="rule; baseline: reference answers",
    )
    add("--format", default="sft", choices=("sft", "preference"), help="preference: best against worst, for DPO")
    add("--top-k", type=int, default=5, help="answers of one query (default: %(default)s)")
    add("--hybrid-keep", type=int, help="answers that hybrid keeps of the top k (default: three fifths of them)")
    add("--tie", default="cost", choices=("cost", "length"), help="equal scores: cheaper or shorter (default: cost)")
    add("--threshold", type=float, default=0.5, help="answers below this score are wrong (default: %(default)s)")
    add("--near", type=float, default=0.8, help="similarity of near-duplicates; 1: exact (default: %(default)s)")
    add("--min-agreement", type=int, metavar="N", help="a letter or True/False needs N candidates that gave it")
    add("--small", action="store_true", help="only the small LLMs of the pool teach")
    add("--llms", type=names, metavar="NAME,…", help="only these LLMs teach")
    add("--task-cap", type=int, metavar="N", help="at most N rows of each task")
    add("--max-rows", type=int, metavar="N", help="at most N rows, shared among tasks by --weights")
    add("--weights", action=Pairs, type=number_pair, metavar="NAME=W", help="weight of a task or domain; repeat")
    add("--split", default="train", help="split to learn from; queries of the other splits are excluded")
    add("--exclude", type=names, default=[], metavar="LOG,…", help="exclude the queries of these logs too")
    add("--holdout", type=float, default=0.0, help="share of queries for the split validation (default: none)")
    add("--tokenizer", metavar="MODEL", help="count tokens with this tokenizer (default: what the log says)")
    add("--pool", help="pool file with the sizes, for --small (default: the config llms of the log)")
    add("--out", required=True, help="folder of the dataset")
    add("--push", metavar="REPO", help="also push the folder to this dataset repository of the Hub")
    add("--overwrite", action="store_true", help=OVERWRITE)

"""`fusion-hf sft-data`: the best answers as SFT data."""

from . import print_json

HELP = "the best answers as SFT data"
EXAMPLE = "fusion-hf sft-data bench --select perf --top-k 5 --out sft"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id, with responses")
    add("--select", default="perf", choices=("perf", "judge", "hybrid", "baseline"))
    add("--top-k", type=int, default=5)
    add("--split", default="train")
    add("--out", required=True, help="folder of the dataset")


def run(args):
    from ..bench.store import read_log
    from ..distill.select import save, sft_dataset

    dataset, counts = sft_dataset(read_log(args.bench, args.split), select=args.select, top_k=args.top_k)
    save(dataset, counts, args.out)
    print_json(counts)
    return counts

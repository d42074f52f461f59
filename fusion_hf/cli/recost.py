"""`fusion-hf recost`: price a log anew after a price change."""

import sys

HELP = "price a log anew after a price change"
EXAMPLE = "fusion-hf recost bench --pool pool.yaml --out bench_repriced"
FIGURES = True


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id, folder of shards, .parquet or .jsonl")
    add("--pool", required=True, help="pool file (YAML), or a shipped pool: fusionbench")
    add("--out", required=True, help="a folder for a FusionBench folder, else a .parquet or .jsonl file")
    add("--partial", action="store_true", help="leave the LLMs that the pool has not as they are")


def run(args):
    from ..llms.pool import load_pool
    from ..llms.recosting import recost_log

    report = recost_log(args.log, load_pool(args.pool), args.out, partial=args.partial)
    print(f"{'LLM':<36} {'recosted':>9} {'unpriced':>9} {'kept':>9} {'USD before':>12} {'USD after':>12}")
    for name, row in [*report["by_llm"].items(), ("all", report)]:
        counts = f"{row['recosted']:>9} {row['unpriced']:>9} {row['kept']:>9}"
        print(f"{name:<36} {counts} {row['usd_before']:>12.6g} {row['usd_after']:>12.6g}")
    if report["unpriced"]:
        print(f"{report['unpriced']} rows have no cost: no token counts, or no prices", file=sys.stderr)
    return report

"""`fusion-hf recost`: price a log anew after a price change."""

HELP = "price a log anew after a price change"
EXAMPLE = "fusion-hf recost bench --pool pool.yaml --out bench_repriced"


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id, folder of shards, .parquet or .jsonl")
    add("--pool", required=True, help="pool file (YAML), or a shipped pool: fusionbench")
    add("--out", required=True, help="a folder for a FusionBench folder, else a .parquet or .jsonl file")
    add("--partial", action="store_true", help="leave the LLMs that the pool has not as they are")

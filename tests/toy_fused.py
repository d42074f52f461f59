"""A toy log as a FusionBench, and a fused system made of it, whose LLMs are loopback endpoints and one real model."""

from pathlib import Path

from toy_log import toy_data

from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.sample import reader_path
from fusion_hf.logs.schema import rows_to_table, split_candidate, validate

SIZES = {"train": (120, 0), "partial_test": (60, 1), "test": (90, 2)}


def rows_of(data):
    """Log rows of RoutingData."""
    for i, query in enumerate(data.queries):
        for c, candidate in enumerate(data.candidates):
            llm, mode = split_candidate(candidate)
            yield {
                "query_id": data.query_ids[i], "task": data.tasks[i], "source_id": str(i), "query": query,
                "ground_truth": ["?"], "metric": "cem", "llm": llm, "mode": mode,
                "performance": data.performance[i, c], "cost": data.cost[i, c],
            }  # fmt: skip


def toy_splits():
    """RoutingData of each split: 120, 60 and 90 queries of three tasks; bee, cat and dog are good at one each."""
    return {split: toy_data(n, seed=seed, split=split) for split, (n, seed) in SIZES.items()}


def toy_bench(folder: Path) -> Path:
    """The toy log as a FusionBench."""
    return write_bench({s: validate(rows_to_table(rows_of(d))) for s, d in toy_splits().items()}, folder)


def toy_pool(url: str = "http://127.0.0.1:9/v1") -> Pool:
    """bee and dog behind an endpoint; cat is the real model of the embedded sample."""
    options = {"max_tokens": 8, "temperature": 0.0}
    return Pool([
        LLM("bee", "small", 1.0, 2.0, base_url=url, options=options),
        LLM("cat", "small", 1.0, 2.0, backend="transformers", model=str(reader_path()), options=options),
        LLM("dog", "large", 10.0, 20.0, base_url=url, options=options),
    ])  # fmt: skip

"""The Space of the metric: a form over it."""

from pathlib import Path

from fusion_hf import read_log
from fusion_hf.logs.sample import sample_path
from fusion_hf.metrics.space import interface

QUERIES = sorted(set(read_log(sample_path(), "test", task="gsm8k")["query_id"].to_pylist()))[:3]
EXAMPLE = {"predictions": ["tiny-generalist"] * 3, "references": QUERIES, "bench": str(sample_path())}

if __name__ == "__main__":
    interface(Path(__file__).with_name("routing_reward.py"), EXAMPLE).launch()

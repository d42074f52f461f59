"""The Space of the metric: a form over it."""

from pathlib import Path

from fusion_hf.metrics.space import interface

EXAMPLE = {"predictions": [0.6, 0.8, 0.7], "references": [0.001, 0.01, 0.02], "max_cost": 0.02}

if __name__ == "__main__":
    interface(Path(__file__).with_name("routing_frontier.py"), EXAMPLE).launch()

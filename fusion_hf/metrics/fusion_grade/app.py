"""The Space of the metric: a form over it."""

from pathlib import Path

from fusion_hf.metrics.space import interface

EXAMPLE = {"predictions": ["6 * 7 is 42, so the answer is 42.", "I do not know."], "references": [["42"], ["42"]]}

if __name__ == "__main__":
    interface(Path(__file__).with_name("fusion_grade.py"), EXAMPLE, "gsm8k").launch()

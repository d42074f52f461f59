"""`evaluate` shell over `fusion_hf.metrics.scores.frontier`."""

import datasets
import evaluate

from fusion_hf.metrics.scores import frontier

DESCRIPTION = """\
AIQ of RouterBench (arXiv 2403.12031): area under the non-decreasing convex hull of the (cost, quality) points that a
router can reach, padded flat to the largest cost that is compared, divided by that cost."""
INPUTS = """\
Args:
    predictions: mean quality of each operating point, 0..1.
    references: its mean cost, in any unit.
    max_cost: largest cost of everything that is compared (default: the largest one given).
Returns:
    routing_frontier: the area. hull: the points on the hull."""
CITATION = """\
@article{routerbench2024,
  title={RouterBench: A Benchmark for Multi-LLM Routing System},
  author={Hu, Qitian Jason and others}, year={2024}, eprint={2403.12031}, archivePrefix={arXiv}}"""


class RoutingFrontier(evaluate.Metric):
    """See `DESCRIPTION`."""

    def _info(self):
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": number, "references": number}),
        )

    def _compute(self, predictions, references, max_cost=None):
        return frontier(predictions, references, max_cost)

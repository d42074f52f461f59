"""`evaluate` shell over `fusion_hf.metrics.scores.rewarded`."""

import datasets
import evaluate

from fusion_hf.metrics.scores import rewarded

DESCRIPTION = """\
Reward of choices among LLMs, by any router: alpha * performance - beta * cost, where both are scaled to 0..1 by the
minimum and maximum of each task on the training split of the log (FusionFactory, arXiv 2507.10540)."""
INPUTS = """\
Args:
    predictions: the candidate that was chosen for each query, such as 'llama-3-8b' or 'llama-3-8b_think'.
    references: the queries, by the log's query_id.
    bench: FusionBench folder or Hub id. split: 'test' (default) or another of its splits.
    scenario: 'performance', 'balance' (default), 'cost' or 'judge'; or alpha and beta.
Returns:
    routing_reward, performance, cost_usd (means over queries), ci95, best_single, oracle, missing."""
CITATION = """\
@article{fusionfactory2025,
  title={FusionFactory: Fusing LLM Capabilities with Multi-LLM Log Data},
  author={Feng, Tao and others}, year={2025}, eprint={2507.10540}, archivePrefix={arXiv}}"""


class RoutingReward(evaluate.Metric):
    """See `DESCRIPTION`."""

    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions, references, bench, split="test", scenario="balance", alpha=None, beta=None):
        return rewarded(predictions, references, bench, split, scenario, alpha, beta)

"""`evaluate` shell over `fusion_hf.metrics.scores.graded`; the config is the grader or the task."""

import datasets
import evaluate

from fusion_hf.metrics.scores import graded

DESCRIPTION = """\
Scores responses of LLMs against reference answers with the graders of FusionBench: gsm8k, math, em_mc (multiple
choice), cem (short answers) and code_eval (programs, run in a sandbox), each `strict` or as published (`paper`)."""
INPUTS = """\
Args:
    predictions: responses; None where an LLM gave none.
    references: for each, the list of reference answers that count.
    queries: as asked; multiple choice reads labels and options from them.
    version: 'strict' (default) or 'paper'.
Returns:
    fusion_grade: mean score, 0..1. scores, extracted: one for each response.
Examples:
    >>> grade = evaluate.load("fusion_grade", "gsm8k")
    >>> grade.compute(predictions=["6 * 7 is 42. #### 42"], references=[["42"]])["fusion_grade"]
    1.0"""
CITATION = """\
@article{fusionfactory2025,
  title={FusionFactory: Fusing LLM Capabilities with Multi-LLM Log Data},
  author={Feng, Tao and others}, year={2025}, eprint={2507.10540}, archivePrefix={arXiv}}"""


class FusionGrade(evaluate.Metric):
    """See `DESCRIPTION`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("large_string"),
                    "references": datasets.List(datasets.Value("string")),
                }
            ),
        )

    def _compute(self, predictions, references, queries=None, version="strict"):
        return graded(self.config_name, predictions, references, queries, version)

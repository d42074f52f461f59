"""Model level: one LLM that learned from the best answers of all (arXiv 2507.10540, model-level fusion).

`select` turns a log into an SFT dataset; `sft` trains on it: ``accelerate launch -m fusion_hf.distill.sft``.
"""

from .select import RULES, save, select_answers, sft_dataset

__all__ = ["RULES", "save", "select_answers", "sft_dataset"]

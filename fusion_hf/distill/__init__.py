"""Model level: one LLM that learned from the best answers of all (arXiv 2507.10540, model-level fusion).

`dataset` turns a log into training data by the rules of `select`; `sft` trains on it (``accelerate launch -m
fusion_hf.distill.sft``), `on_policy` on the student's own answers; `merge` puts an adapter into its base; `student`
asks what was trained the queries of the log and adds it there.
"""

from .dataset import hold_out, preference_dataset, save, sft_dataset
from .select import RULES, Choice, select_rows

__all__ = [
    "RULES", "Choice", "hold_out", "preference_dataset", "save", "select_rows", "sft_dataset",
]  # fmt: skip

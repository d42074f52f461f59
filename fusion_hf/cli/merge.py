"""`fusion-hf merge`: an adapter merged into its base."""

from ._arguments import OVERWRITE

HELP = "merge a LoRA adapter into its base: one plain model folder that any server loads"
EXAMPLE = "fusion-hf merge llama3.1-8b-fusion-top5 --out llama3.1-8b-fusion-top5-merged"


def arguments(add) -> None:
    add("adapter", help="folder that fusion_hf.distill.sft wrote with --use_peft")
    add("--base", help="folder or Hub id of the base (default: what the adapter says)")
    add("--dtype", default="auto", help="dtype of the weights (default: the base's)")
    add("--out", required=True, help="folder of the model")
    add("--overwrite", action="store_true", help=OVERWRITE)

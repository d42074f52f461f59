"""Loading a local model, and how much of it fits the memory at once."""

import os

import torch

from ...errors import UserError, require
from ...gguf import load_causal_lm, load_tokenizer

CPU_CACHE_BYTES = 1 << 30
GPU_CACHE_SHARE = 0.4  # of the memory that is free once the model is loaded


def load_model(
    model_id: str, device: str, dtype: str = "auto", adapter: str | None = None, gguf_file: str | None = None
):
    """(model, tokenizer) of a folder, Hub id or GGUF file; a peft `adapter` is merged into the model.

    Float16 weights are computed with as float32 on a CPU, unless `dtype` says float16 or the memory is short: few CPUs
    know float16, and the others take four times as long for the same answers.

    Raises `UserError`.
    """
    check_folder(model_id, "model")
    check_folder(adapter, "adapter")
    try:
        tokenizer = load_tokenizer(model_id, gguf_file, padding_side="left")
        model = load_causal_lm(model_id, gguf_file, dtype)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"expected a causal language model at {model_id!r}, found none: {reason:.300}") from error
    if dtype == "auto" and device == "cpu" and model.dtype == torch.float16 and _fits(4 * model.num_parameters()):
        model = model.float()
    if adapter:
        peft = require("peft", "train")
        try:
            model = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"expected a peft adapter at {adapter!r}, found none: {reason:.300}") from error
    return model.to(device).eval(), tokenizer


def check_folder(name: str | None, word: str) -> None:
    """Refuse a path of a folder that is not there: it is never looked for on the Hub."""
    if name and os.path.isabs(name) and not os.path.exists(name):
        raise UserError(f"expected {word} {name!r} to be a folder, found nothing there")


def _fits(size: int) -> bool:
    """Whether `size` bytes are at most half of the memory that is free."""
    try:
        return size <= os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # not told on this system
        return size <= CPU_CACHE_BYTES


def token_budget(model) -> int:
    """How many tokens the key-value cache of one batch may hold."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * heads * head * model.dtype.itemsize
    if model.device.type == "cuda":
        return int(GPU_CACHE_SHARE * torch.cuda.mem_get_info(model.device)[0] / token)
    return CPU_CACHE_BYTES // token

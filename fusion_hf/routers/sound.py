"""Whether a checkpoint of a router is whole: what it claims is bounded by what it holds, and it can predict."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

DTYPES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "int8": 1, "uint8": 1, "int16": 2, "int32": 4,
          "int64": 8, "bool": 1}  # fmt: skip
FLOATS = ("float16", "bfloat16", "float32")
MOST_LAYERS, LONGEST = 1000, 1_000_000  # of an encoder, tokens of a query
SLACK = 1 << 20  # bytes


def weights_bytes(path: str | Path) -> int | None:
    """Size of the weights of a local checkpoint; None where they are elsewhere."""
    folder = Path(path)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else None


def check_config(config: Any, weights: int | None) -> None:
    """Refuse a configuration that no training wrote, before memory is taken for what it claims.

    Args:
        config: A `RouterConfig`.
        weights: Bytes of the weights; None where they are not known.
    """
    length = config.max_length
    least = 0 if config.encoder_config is None and not config.encoders else 1
    _expect(_whole(length, least) and length <= LONGEST, "max_length", f"{least} to {LONGEST} tokens", length)
    names = config.candidates
    _expect(_texts(names) and names and len(set(names)) == len(names), "candidates", "different names", names)
    for word in ("learned", "added", "tasks"):
        found = getattr(config, word)
        _expect(found is None or _texts(found), word, "a list of names", found)
    _expect(config.columns is None or all(_whole(c, 0) for c in config.columns), "columns", "places", config.columns)
    _expect(isinstance(config.scenarios or {}, dict), "scenarios", "trade-offs by name", config.scenarios)
    for name, trade in (config.scenarios or {}).items():
        sound = isinstance(trade, dict) and trade.get("score") in ("performance", "judge")
        sound = sound and all(_finite(trade.get(word)) for word in ("alpha", "beta"))
        _expect(sound, f"scenarios: {name}", "alpha, beta and score", trade)
    _check_buffers(config.buffers, weights)
    if config.encoder_config is not None:
        _check_encoder(config.encoder_config, weights)
    _expect(isinstance(config.encoders or [], list), "encoders", "a list", config.encoders)
    for entry in config.encoders or []:
        _check_part(entry, weights)


def _check_part(entry: Any, weights: int | None) -> None:
    """One of several encoders; see `JointEncoder.to_config`."""
    from transformers import AutoConfig

    sound = isinstance(entry, dict) and isinstance(entry.get("config"), dict)
    _expect(sound, "encoders", "the configuration of each", entry)
    length, dtype, block = (entry.get(word) for word in ("max_length", "dtype", "block"))
    _expect(_whole(length, 1) and length <= LONGEST, "encoders: max_length", f"1 to {LONGEST} tokens", length)
    _expect(dtype in FLOATS, "encoders: dtype", f"one of {', '.join(FLOATS)}", dtype)
    sound = block is None or (isinstance(block, list) and len(block) == 2 and _whole(block[0], 1))
    _expect(sound, "encoders: block", "a layer and a pooling", block)
    settings = dict(entry["config"])
    _check_encoder(AutoConfig.for_model(settings.pop("model_type", ""), **settings), weights)


def _check_buffers(buffers: Any, weights: int | None) -> None:
    _expect(isinstance(buffers or {}, dict), "buffers", "[dtype, shape] by name", buffers)
    total = 0
    for name, entry in (buffers or {}).items():
        sound = name.isidentifier() and not name.startswith("__") and isinstance(entry, list) and len(entry) == 2
        sound = sound and entry[0] in DTYPES and isinstance(entry[1], list) and all(_whole(n, 0) for n in entry[1])
        _expect(sound, f"buffers: {name}", "[dtype, shape]", entry)
        total += DTYPES[entry[0]] * math.prod(entry[1])
    if weights is not None:
        _expect(total <= weights + SLACK, "buffers", f"at most the {weights} bytes of the weights", total)


def _check_encoder(config: Any, weights: int | None) -> None:
    layers, width = getattr(config, "num_hidden_layers", 1), getattr(config, "hidden_size", 1)
    _expect(_whole(layers, 0) and layers <= MOST_LAYERS, "encoder", f"at most {MOST_LAYERS} layers", layers)
    for word in ("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "max_position_embeddings"):
        value = getattr(config, word, 1)
        _expect(_whole(value, 1), f"encoder: {word}", "a whole number from 1 on", value)
        # A matrix of that many columns, of a byte each, would have to be in the file.
        if weights is not None and word != "num_attention_heads" and layers:
            _expect(value * width <= weights + SLACK, f"encoder: {word}", "what the weights hold", value)


def check_router(router: Any) -> None:
    """Let a router predict a query: broken tensors show there."""
    try:
        found = router.predict(["Which of these is right?"])
    except UserError:
        return  # one that only knows its own queries
    scores = np.asarray(found.performance, float)
    _expect(scores.shape == (1, len(router.candidates)), "weights", "a prediction for each candidate", scores.shape)
    _expect(not np.isnan(scores).all(), "weights", "numbers", "NaN for every candidate")


def _expect(sound: Any, what: str, expected: str, found: Any) -> None:
    if not sound:
        raise UserError(f"{what}: expected {expected}, found {str(found)!r:.100}")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)

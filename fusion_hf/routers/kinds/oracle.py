"""What every candidate scored on the very query, where the log knows it: an upper bound for queries of the log only."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from ..base import Router, Targets
from ..chats import Chat, as_texts
from ..config import RouterConfig
from .best_single import averages, everywhere

DIGITS, BITS = 4, 16  # a hash of 64 bits as numbers that float32 holds


class OracleRouterConfig(RouterConfig):
    """Configuration of an `OracleRouter`; ``options`` holds the ``outputs`` in order."""

    model_type = "fusion_hf-oracle"


class OracleRouter(Router):
    """Remembers what every candidate scored and cost on the queries it was trained on, by a hash of their text.

    On those it is the best that any choice among the logged answers could do, inflated by luck where answers are single
    samples. On every other query it knows nothing and falls back to the best single candidate. A candidate that was not
    measured on a remembered query is not chosen there. A text that stands twice in the log gets its mean.
    """

    config_class = OracleRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        keys, place = np.unique([key(t) for t in targets.texts], return_inverse=True)
        tables = {}
        for name in targets.raw:
            tables[name] = _means(targets.raw[name], place, len(keys))
            tables[f"{name}_scaled"] = _means(targets.scaled[name], place, len(keys))
        return {"outputs": list(tables)}, averages(targets) | {
            "keys": torch.from_numpy(keys),
            "table": torch.from_numpy(np.concatenate(list(tables.values()), 1).astype(np.float32)),
        }

    def features(self, queries: Sequence[str | Chat], embeddings: np.ndarray | None = None) -> torch.Tensor:
        """See `Router.features`; behind them stand the `DIGITS` of the text's hash: [n, d + DIGITS]."""
        texts = as_texts(queries)
        codes = np.array([key(t) for t in self.bare(texts)], np.int64).reshape(-1, 1)
        digits = (codes >> (BITS * np.arange(DIGITS))) & (2**BITS - 1)
        x = super().features(texts, embeddings)
        return torch.cat([x, torch.from_numpy(digits).to(x)], 1)

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        digits = x[:, -DIGITS:].long()
        code = sum(digits[:, i] << (BITS * i) for i in range(DIGITS))
        place = torch.searchsorted(self.keys, code).clamp(max=len(self.keys) - 1)
        known = self.keys[place] == code
        outputs = self.config.options["outputs"]
        found = dict(zip(outputs, self.table[place].chunk(len(outputs), 1), strict=True))
        known = (known & ~found["performance"].isnan().all(1))[:, None]
        return {name: torch.where(known, found[name], value) for name, value in everywhere(self, len(x)).items()}


def key(text: str) -> int:
    """A hash of `text`: a signed integer of 64 bits."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _means(values: np.ndarray, place: np.ndarray, groups: int) -> np.ndarray:
    """Mean of the rows at each place, [groups, m]; NaN where nothing was measured."""
    total, count = np.zeros((2, groups, values.shape[1]))
    np.add.at(total, place, np.nan_to_num(values))
    np.add.at(count, place, ~np.isnan(values))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


ROUTER = OracleRouter

"""A random candidate, the same one whenever the same query is asked. An anchor."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from ..base import Router, Targets
from ..chats import Chat, as_texts
from ..config import RouterConfig
from .best_single import averages, everywhere


class RandomRouterConfig(RouterConfig):
    """Configuration of a `RandomRouter`; ``options`` holds its seed."""

    model_type = "fusion_hf-random"


class RandomRouter(Router):
    """Draws a candidate with equal chances by a hash of the seed, its name and the query.

    So neither the batch nor the other candidates change how two candidates rank. What it expects of each candidate is
    its mean over the log.
    """

    config_class = RandomRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        return {"seed": seed}, averages(targets)

    def features(self, queries: Sequence[str | Chat], embeddings: np.ndarray | None = None) -> torch.Tensor:
        """See `Router.features`; behind them stands one draw a learned candidate: [n, d + m]."""
        texts, names, seed = as_texts(queries), self.learned_candidates, self.config.options["seed"]
        draws = [[draw(f"{seed}\x1f{name}\x1f{text}") for name in names] for text in texts]
        x = super().features(texts, embeddings)
        return torch.cat([x, torch.tensor(draws, dtype=x.dtype, device=x.device).view(len(texts), len(names))], 1)

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``draws`` [n, m]."""
        return everywhere(self, len(x)) | {"draws": x[:, -len(self.learned_candidates) :]}

    def votes(self, output: dict[str, torch.Tensor]) -> dict[None, torch.Tensor]:
        """The draws, under every trade-off; NaN for a candidate that the log never measured."""
        m = len(self.learned_candidates)
        return {None: torch.where(output["performance"][:, :m].isnan(), torch.nan, output["draws"])}


def draw(text: str) -> float:
    """A number in 0..1 by a hash of `text`: 24 bits, so that float32 holds it."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=3).digest()
    return int.from_bytes(digest, "little") / 2**24


ROUTER = RandomRouter

"""The published kNN: the share of the nearest logged queries that a candidate won. See `paper`."""

import numpy as np
import torch

from ..config import RouterConfig
from ._paper import PaperRouter

NEIGHBOURS = 50


class PaperKnnRouterConfig(RouterConfig):
    """Configuration of a `PaperKnnRouter`; ``options`` holds the trade-offs that it was trained on."""

    model_type = "fusion_hf-paper-knn"


class PaperKnnRouter(PaperRouter):
    """`NEIGHBOURS` nearest queries by cosine, all with the same weight."""

    config_class = PaperKnnRouterConfig

    @classmethod
    def learn_shares(cls, x: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, torch.Tensor]:
        """See `PaperRouter.learn_shares`."""
        memory = torch.nn.functional.normalize(torch.from_numpy(x).float(), dim=1)
        return {"memory": memory.half(), "labels": torch.from_numpy(labels.astype(np.uint8))}

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """See `PaperRouter.shares`."""
        similarity = torch.nn.functional.normalize(x.float(), dim=1) @ self.memory.float().T
        near = similarity.topk(min(NEIGHBOURS, len(self.memory)), dim=1).indices
        return self.labels[near].float().mean(1)


ROUTER = PaperKnnRouter

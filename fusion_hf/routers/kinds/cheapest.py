"""The candidate that is cheapest on average in the log, whatever the query and the trade-off. An anchor."""

import numpy as np
import torch

from ...errors import UserError
from ..base import Router, Targets
from ..config import RouterConfig
from .best_single import averages, everywhere


class CheapestRouterConfig(RouterConfig):
    """Configuration of a `CheapestRouter`."""

    model_type = "fusion_hf-cheapest"


class CheapestRouter(Router):
    """Votes for candidates by their mean cost in the log; what it expects of each is its mean over the log."""

    config_class = CheapestRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`. Raises `UserError` for a log without costs."""
        if "cost" not in targets.raw:
            raise UserError("kind 'cheapest' needs costs: expected a log with a cost, found none")
        return {}, averages(targets)

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        return everywhere(self, len(x))

    def votes(self, output: dict[str, torch.Tensor]) -> dict[None, torch.Tensor]:
        """Under every trade-off the cheaper candidate, in shares of the dearest one's cost."""
        price = output["cost"]
        return {None: -price / price.nan_to_num(0).amax(1, keepdim=True).clamp(min=1e-30)}


ROUTER = CheapestRouter

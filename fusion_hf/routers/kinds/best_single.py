"""The best single candidate: what every candidate scored and cost on average in the log, whatever the query.

An anchor: a router is only worth something if it does better.
"""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig
from ..learning.clusters import group_means


class BestSingleRouterConfig(RouterConfig):
    """Configuration of a `BestSingleRouter`."""

    model_type = "fusion_hf-best-single"


class BestSingleRouter(Router):
    """Expects of every query what the log has on average, so the same candidate wins every query of a trade-off."""

    config_class = BestSingleRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        return {}, averages(targets)

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        return everywhere(self, len(x))


def averages(targets: Targets) -> dict[str, torch.Tensor]:
    """Buffers ``average_<quantity>`` and ``average_<quantity>_scaled``: mean over the log, float32 [m]; NaN without."""
    buffers = {}
    for name in targets.raw:
        for key, values in ((name, targets.raw[name]), (f"{name}_scaled", targets.scaled[name])):
            mean = group_means(values, np.ones((len(values), 1)))[0]
            buffers[f"average_{key}"] = torch.from_numpy(mean.astype(np.float32))
    return buffers


def everywhere(router: Router, n: int) -> dict[str, torch.Tensor]:
    """The `averages` that a router holds, as predictions for n queries."""
    return {
        name.removeprefix("average_"): value.expand(n, -1)
        for name, value in router.named_buffers(recurse=False)
        if name.startswith("average_")
    }


ROUTER = BestSingleRouter

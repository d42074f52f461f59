"""The best candidate of the task that the query seems to come from. An anchor.

The anchor of the same name in evaluations looks the task up; at query time there is no label, so this kind recognises
it.
"""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig
from ..learning.clusters import group_means
from ..learning.ridge import Ridge

PENALTY = 0.3


class BestPerTaskRouterConfig(RouterConfig):
    """Configuration of a `BestPerTaskRouter`; ``options`` holds the names of the ``groups``."""

    model_type = "fusion_hf-best-per-task"


class BestPerTaskRouter(Router):
    """Recognises the task by a one-vs-rest ridge and expects what the log has on average in that task.

    Without task labels the log is one task, and this is the best single candidate.
    """

    config_class = BestPerTaskRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        names, group = np.unique(targets.tasks or ["all"] * len(x), return_inverse=True)
        onehot = np.eye(len(names))[group]
        weight, bias = Ridge(x).solve(onehot, PENALTY)
        buffers = {"task_weight": weight, "task_bias": bias}
        for name in targets.raw:
            buffers[f"mean_{name}"] = group_means(targets.raw[name], onehot)
            buffers[f"mean_{name}_scaled"] = group_means(targets.scaled[name], onehot)
        return {"groups": [str(n) for n in names]}, {
            name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in buffers.items()
        }

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``tasks`` [n, groups], 1 for the task that is taken."""
        task = (x @ self.task_weight + self.task_bias).argmax(1)
        means = {n.removeprefix("mean_"): v for n, v in self.named_buffers(recurse=False) if n.startswith("mean_")}
        one = torch.nn.functional.one_hot(task, len(self.config.options["groups"])).to(x)
        return {name: value[task] for name, value in means.items()} | {"tasks": one}

    def reasons(self, output: dict[str, torch.Tensor]) -> list[list[str]]:
        """The task that is taken."""
        names = self.config.options["groups"]
        return [[f"looks like {names[t]}"] for t in output["tasks"].argmax(1).tolist()]


ROUTER = BestPerTaskRouter

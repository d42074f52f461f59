"""Nearest logged queries: the mean of what every candidate scored on them."""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig

NEIGHBOURS = (5, 10, 20, 35, 50, 75, 100)


class KnnRouterConfig(RouterConfig):
    """Configuration of a `KnnRouter`; ``options`` holds the number of ``neighbours`` and the ``outputs`` in order."""

    model_type = "fusion_hf-knn"


class KnnRouter(Router):
    """Keeps every training query and averages the scores and costs of the k most similar ones (cosine).

    Averaging scores, not voting for winners: with near-binary scores most rows are ties, and a vote gives them to
    whoever comes first. k is chosen by the reward of leaving one out. Missing cells are left out of the mean; a
    candidate that none of the neighbours has gets its mean over the whole log.
    """

    config_class = KnnRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        memory = torch.nn.functional.normalize(torch.from_numpy(x).float(), dim=1)
        outputs = {}
        for name in targets.raw:
            outputs |= {name: targets.raw[name], f"{name}_scaled": targets.scaled[name]}
        table = torch.from_numpy(np.concatenate(list(outputs.values()), 1)).float()
        overall = table.nanmean(0)
        buffers = {
            "memory": memory.half(),
            "table": table,
            "overall": overall,
        }
        k = _choose(memory, torch.from_numpy(targets.scaled["performance"]).float())
        return {"neighbours": k, "outputs": list(outputs)}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        options = self.config.options
        near = nearest(x, self.memory.float(), options["neighbours"])
        mean = _mean(self.table[near[1]], self.overall)
        result = dict(zip(options["outputs"], mean.chunk(len(options["outputs"]), 1), strict=True))
        return result | {"similarity": near[0], "neighbours": near[1]}


def nearest(x: torch.Tensor, memory: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and row of the k rows of `memory` nearest to each x: float32 and int64 [n, k], the nearest first."""
    similarity = torch.nn.functional.normalize(x.float(), dim=1) @ memory.T
    return similarity.topk(min(k, len(memory)), dim=1)


def _mean(values: torch.Tensor, overall: torch.Tensor) -> torch.Tensor:
    """Mean over neighbours, [n, k, c] -> [n, c], of what was measured; else `overall`."""
    mean = values.nanmean(1)
    return torch.where(mean.isnan(), overall, mean)


def _choose(memory: torch.Tensor, score: torch.Tensor) -> int:
    """The number of neighbours with the best mean reward when every query is left out in turn (at most 2,000)."""
    rows = torch.arange(len(memory))
    if len(rows) > 2000:
        rows = rows[:: len(rows) // 2000 + 1]
    allowed = [k for k in NEIGHBOURS if k < len(memory) / 2] or [max(1, len(memory) // 2)]
    found = nearest(memory[rows], memory, allowed[-1] + 1)[1]
    # Drop the query itself, or the last of the list where equal texts pushed it out.
    own = found == rows[:, None]
    own[~own.any(1), -1] = True
    found = found[~own].view(len(rows), -1)
    overall, rewards = score.nanmean(0), {}
    for k in allowed:
        pick = _mean(score[found[:, :k]], overall).nan_to_num(-9).argmax(1)
        rewards[k] = float(score[rows, pick].nanmean().nan_to_num(0))
    return max(allowed, key=lambda k: rewards[k])


ROUTER = KnnRouter

"""Clusters of similar queries, and what every candidate scored in each: the recipe of Avengers."""

import numpy as np
import torch

from ..base import Router, Targets
from ..config import RouterConfig
from ..features import block_weights
from ..learning.clusters import group_means, kmeans
from ._costs import cost_outputs, learn_costs

CLUSTERS = (8, 16, 32, 64, 128)
NEAREST = (1, 3)
PRIOR, FOLDS = 5.0, 4
SHARPNESS = 10.0


class KmeansRouterConfig(RouterConfig):
    """Configuration of a `KmeansRouter`; ``options`` holds the number of ``clusters`` and of ``nearest`` ones."""

    model_type = "fusion_hf-kmeans"


class KmeansRouter(Router):
    """Mean score of every candidate in the clusters nearest to the query.

    As Avengers (arXiv 2505.19797) and Avengers-Pro (arXiv 2508.12631): k-means on the queries, scores averaged a
    cluster, the nearest clusters weighed by a softmax of their distance. Here means are shrunk towards the whole log by
    `PRIOR` pseudo-counts, and the number of clusters and of nearest ones are chosen by cross-validated reward. Missing
    cells are left out of the means. Costs are predicted apart (see `costs`).
    """

    config_class = KmeansRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        weight = block_weights(x.shape[1], targets.embedding)
        points, score = x * weight, targets.scaled["performance"]
        fold = np.random.RandomState(seed).randint(0, FOLDS, len(x))
        tried = {}
        # Clusters see no score, so that only the means have to be cross-validated.
        for k in [k for k in CLUSTERS if k <= len(x) / 4] or [1]:
            group = kmeans(points, k, seed)
            onehot = np.eye(group.max() + 1)[group]
            centres = group_means(points, onehot)
            for nearest in NEAREST:
                share = shares(torch.from_numpy(points), torch.from_numpy(centres), nearest).numpy()
                tried[k, nearest] = _reward(share, onehot, score, fold), onehot, centres
        k, nearest = max(tried, key=lambda key: tried[key][0])
        reward, onehot, centres = tried[k, nearest]
        options, buffers = learn_costs(x, targets, seed)
        tables = {"centres": centres, "block_weights": weight}
        for name in [n for n in targets.raw if n != "cost"]:
            tables[f"{name}_mean"] = group_means(targets.raw[name], onehot, PRIOR)
            tables[f"{name}_scaled_mean"] = group_means(targets.scaled[name], onehot, PRIOR)
        buffers |= {n: torch.from_numpy(np.ascontiguousarray(t, np.float32)) for n, t in tables.items()}
        groups = [f"group {i}" for i in range(len(centres))]
        return options | {"groups": groups, "clusters": k, "nearest": nearest, "cv_reward": reward}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``tasks`` [n, clusters], the weights of the clusters."""
        share = shares(x * self.block_weights, self.centres, self.config.options["nearest"])
        result = {"tasks": share}
        for name in ("performance", "performance_scaled", "judge", "judge_scaled"):
            if hasattr(self, f"{name}_mean"):
                result[name] = share @ getattr(self, f"{name}_mean")
        return result | cost_outputs(self, x)


def shares(points: torch.Tensor, centres: torch.Tensor, nearest: int) -> torch.Tensor:
    """Weight of every cluster for every point, [n, clusters]: softmax of the distance over the `nearest`, else 0."""
    distance = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    value, place = distance.topk(min(nearest, len(centres)), dim=1, largest=False)
    return torch.zeros_like(distance).scatter(1, place, (-SHARPNESS * value).softmax(1))


def _reward(share: np.ndarray, onehot: np.ndarray, score: np.ndarray, fold: np.ndarray) -> float:
    """Mean reward of the best candidate by the means of the other folds."""
    got = np.full(len(score), np.nan)
    for f in range(FOLDS):
        held = fold == f
        if held.any() and not held.all():
            means = group_means(score[~held], onehot[~held], PRIOR)
            pick = np.nan_to_num(share[held] @ means, nan=-9).argmax(1)
            got[held] = score[held][np.arange(held.sum()), pick]
    measured = ~np.isnan(got)
    return float(got[measured].mean()) if measured.any() else 0.0


ROUTER = KmeansRouter

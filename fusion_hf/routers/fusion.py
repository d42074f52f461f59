"""The task-posterior router: which task does the query come from, and who is good at that task.

``score[q, m] = sum_t p(t|q)^3 / sum p^3 * mean[t, m] + gain * residual[q, m]``: nearly all that can be known before an
answer is which task a query belongs to, so that is learned first, and what is left only as far as it pays.
"""

import numpy as np
import torch

from .base import Router, RouterConfig, Targets
from .features import SURFACE, SURFACE_WEIGHT
from .linear import log_cost, smear
from .ridge import Ridge, group_means, kmeans

FOLDS = 4
TASK_PENALTY, POWER = 0.3, 3
PENALTIES = (10.0, 30.0, 100.0)
GAINS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
COST_PENALTIES = (0.3, 1.0, 10.0)
GROUPS = (8, 16, 32, 64)
PRIOR, PSEUDO_PRIOR = 1.0, 5.0


class FusionRouterConfig(RouterConfig):
    """Configuration of a `FusionRouter`; ``options`` holds its groups, power, gains and penalties."""

    model_type = "fusion_hf-fusion"


class FusionRouter(Router):
    """Task posterior, task means, and a residual that is weighed by what it gains in cross-validation.

    Groups are the log's tasks or, without task labels, clusters of similar queries whose number is chosen by reward.
    The cost is predicted apart: a ridge on its logarithm, where a query's length enters; what of it is used in the
    scaled cost of the reward is chosen by squared error.
    """

    config_class = FusionRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        fold = np.random.RandomState(seed).randint(0, FOLDS, len(x))
        parts = [(Ridge(x[fold != f]), fold == f) for f in range(FOLDS) if (fold == f).any() and (fold != f).any()]
        whole = Ridge(x)
        score = targets.scaled["performance"]
        if targets.tasks is not None:
            names, group = np.unique(targets.tasks, return_inverse=True)
            groups = [(group, PRIOR)]
        else:
            groups = [(kmeans(_for_clusters(x), k, seed), PSEUDO_PRIOR) for k in GROUPS if k <= len(x) / 4]
            groups = groups or [(np.zeros(len(x), np.int64), PSEUDO_PRIOR)]
        tried = [_tune(parts, x, score, np.eye(g.max() + 1)[g], prior) for g, prior in groups]
        best = max(range(len(tried)), key=lambda i: tried[i]["reward"])
        (group, prior), chosen = groups[best], tried[best]
        if targets.tasks is None:
            names = np.array([f"group {i}" for i in range(group.max() + 1)])
        onehot = np.eye(len(names))[group]
        options = {
            "groups": [str(n) for n in names], "power": POWER, "penalty": chosen["penalty"], "gain": chosen["gain"],
            "cv_reward": chosen["reward"],
        }  # fmt: skip
        buffers = _linear("task", *whole.solve(onehot, TASK_PENALTY))
        for name in [n for n in targets.raw if n != "cost"]:
            for key, y in ((name, targets.raw[name]), (f"{name}_scaled", targets.scaled[name])):
                means = group_means(y, onehot, prior)
                weight, bias = whole.solve(y - means[group], chosen["penalty"])
                buffers |= _linear(key, chosen["gain"] * weight, chosen["gain"] * bias)
                buffers[f"{key}_mean"] = torch.from_numpy(means.astype(np.float32))
        if "cost" in targets.raw:
            options["cost"], extra = _learn_cost(parts, whole, x, targets, onehot, group, prior)
            buffers |= extra
        return options, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``tasks`` [n, groups], the posterior."""
        share = (x @ self.task_weight + self.task_bias).clamp(min=0) ** self.config.options["power"]
        # A query unlike all tasks gets the same share of each.
        share = (share + 1e-9) / (share + 1e-9).sum(1, keepdim=True)
        result = {"tasks": share}
        for name in ("performance", "performance_scaled", "judge", "judge_scaled"):
            if hasattr(self, f"{name}_mean"):
                mean, weight, bias = (getattr(self, f"{name}_{part}") for part in ("mean", "weight", "bias"))
                result[name] = share @ mean + x @ weight + bias
        for name in ("performance", "judge"):
            if name in result:
                result[name] = result[name].clamp(0, 1)
        if self.config.has_cost:
            result["cost"] = (x @ self.cost_weight + self.cost_bias).exp()
            result["cost_scaled"] = share @ self.cost_scaled_mean + x @ self.cost_scaled_weight + self.cost_scaled_bias
        return result


def _linear(name: str, weight: np.ndarray, bias: np.ndarray) -> dict[str, torch.Tensor]:
    return {
        f"{name}_weight": torch.from_numpy(np.ascontiguousarray(weight, np.float32)),
        f"{name}_bias": torch.from_numpy(np.ascontiguousarray(bias, np.float32)),
    }


def _for_clusters(x: np.ndarray) -> np.ndarray:
    """Features as pseudo-tasks are found on them: shape and words count for more than meaning."""
    # With an encoder the embedding stands first; TF-IDF has at most 256 columns after the surface features.
    tfidf = min(256, len(x))
    e = x.shape[1] - SURFACE - tfidf
    return np.concatenate([0.5 * x[:, :e], 0.08 / SURFACE_WEIGHT * x[:, e : e + SURFACE], 1.5 * x[:, e + SURFACE :]], 1)


def _posterior(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    share = np.clip(x @ weight + bias, 0, None) ** POWER + 1e-9
    return share / share.sum(1, keepdims=True)


def _tune(parts, x: np.ndarray, score: np.ndarray, onehot: np.ndarray, prior: float) -> dict:
    """Penalty and gain of the residual by cross-validated reward; 0 unless the gain exceeds half a standard error."""
    found: dict[tuple[float, float], list[np.ndarray]] = {}
    for ridge, held in parts:
        share = _posterior(x[held], *ridge.solve(onehot[~held], TASK_PENALTY))
        means = group_means(score[~held], onehot[~held], prior)
        rest = score[~held] - (onehot[~held] @ np.nan_to_num(means))
        for penalty in PENALTIES:
            weight, bias = ridge.solve(rest, penalty)
            residual = x[held] @ weight + bias
            for gain in GAINS:
                pick = np.nan_to_num(share @ means + gain * residual, nan=-9).argmax(1)
                found.setdefault((penalty, gain), []).append(score[held, :][np.arange(held.sum()), pick])
    if not found:
        return {"reward": 0.0, "penalty": PENALTIES[-1], "gain": 0.0}
    rewards = {key: np.concatenate(value) for key, value in found.items()}
    plain = rewards[PENALTIES[0], 0.0]
    best = max(rewards, key=lambda key: np.nanmean(rewards[key]))
    more = rewards[best] - plain
    measured = np.count_nonzero(~np.isnan(more))
    if not measured or not np.nanmean(more) > 0.5 * np.nanstd(more) / measured**0.5:
        best = (PENALTIES[-1], 0.0)
    return {"reward": float(np.nanmean(rewards[best])), "penalty": best[0], "gain": best[1]}


def _learn_cost(parts, whole: Ridge, x, targets: Targets, onehot, group, prior) -> tuple[dict, dict]:
    """Cost in USD by a ridge on its logarithm; scaled cost by task means plus as much residual as lowers the error."""
    from .linear import error

    logs, scaled = log_cost(targets.raw["cost"]), targets.scaled["cost"]
    penalty = min(COST_PENALTIES, key=lambda p: error(parts, x, logs, p))
    weight, bias = whole.solve(logs, penalty)
    buffers = _linear("cost", weight, bias + smear(logs - x @ weight - bias))
    losses: dict[tuple[float, float], float] = {}
    for ridge, held in parts:
        share = _posterior(x[held], *ridge.solve(onehot[~held], TASK_PENALTY))
        means = group_means(scaled[~held], onehot[~held], prior)
        for p in COST_PENALTIES:
            w, b = ridge.solve(scaled[~held] - onehot[~held] @ np.nan_to_num(means), p)
            for gain in GAINS:
                off = scaled[held] - share @ means - gain * (x[held] @ w + b)
                losses[p, gain] = losses.get((p, gain), 0.0) + float(np.nansum(off**2))
    p, gain = min(losses, key=losses.get) if losses else (COST_PENALTIES[-1], 0.0)
    means = group_means(scaled, onehot, prior)
    w, b = whole.solve(scaled - means[group], p)
    buffers |= _linear("cost_scaled", gain * w, gain * b)
    buffers["cost_scaled_mean"] = torch.from_numpy(means.astype(np.float32))
    return {"log_penalty": penalty, "penalty": p, "gain": gain}, buffers


ROUTER = FusionRouter

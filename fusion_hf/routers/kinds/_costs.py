"""What every candidate will cost: a ridge on the query's features, shared by the kinds that only differ in the score.

This file is copied beside checkpoints (see `remote_code`).
"""

import numpy as np
import torch

from ..base import Router, Targets
from ..learning.ridge import Ridge
from .linear import error, log_cost, smear

PENALTIES = (0.3, 1.0, 10.0)
FOLDS = 3


def learn_costs(x: np.ndarray, targets: Targets, seed: int = 0) -> tuple[dict, dict[str, torch.Tensor]]:
    """Options and buffers for `cost_outputs`; empty for a log without costs.

    One ridge on the logarithm of the cost in USD, corrected to predict means (`linear.smear`), and one on the scaled
    cost, in which rewards are reckoned; both penalties by cross-validated squared error.

    Args:
        x: Features, float64 [n, d].
        targets: Of the log.
        seed: Of the folds.
    """
    if "cost" not in targets.raw:
        return {}, {}
    fold = np.random.RandomState(seed).randint(0, FOLDS, len(x))
    parts = [(Ridge(x[fold != f]), fold == f) for f in range(FOLDS) if (fold == f).any() and (fold != f).any()]
    whole, penalties, buffers = Ridge(x), {}, {}
    for name, y in (("cost", log_cost(targets.raw["cost"])), ("cost_scaled", targets.scaled["cost"])):
        penalties[name] = min(PENALTIES, key=lambda p: error(parts, x, y, p))
        weight, bias = whole.solve(y, penalties[name])
        if name == "cost":
            bias = bias + smear(y - x @ weight - bias)
        buffers[f"{name}_weight"] = torch.from_numpy(np.ascontiguousarray(weight, np.float32))
        buffers[f"{name}_bias"] = torch.from_numpy(np.ascontiguousarray(bias, np.float32))
    return {"cost_penalties": penalties}, buffers


def cost_outputs(router: Router, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """``cost`` in USD and ``cost_scaled`` of features [n, d]: float32 [n, m]; nothing for a log without costs."""
    if not router.config.has_cost:
        return {}
    return {
        "cost": (x @ router.cost_weight + router.cost_bias).exp(),
        "cost_scaled": x @ router.cost_scaled_weight + router.cost_scaled_bias,
    }

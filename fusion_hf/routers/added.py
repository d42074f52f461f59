"""Candidates that join or leave a trained router: columns of its predictions, added or taken away.

What an added candidate is expected to do is a linear function of what the learned ones are expected to do, so this
works for every kind of router; of a score, what is not known of it is taken off. `add_llm` fits it. This file is copied
beside checkpoints (see `remote_code`).
"""

from typing import Any

import numpy as np
import torch

LOGARITHMIC = ("cost",)  # quantities whose logarithm is the linear one
QUANTITIES = ("performance", "performance_scaled", "cost", "cost_scaled", "judge", "judge_scaled")
UNIT = ("performance", "judge")  # quantities that lie in 0..1


def linear_columns(name: str, values: torch.Tensor) -> torch.Tensor:
    """Predictions [n, m] of the quantity `name` on the scale on which added candidates are linear in them."""
    return values.clamp(min=1e-12).log() if name in LOGARITHMIC else values


def extend(router, output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The output of a head with the added candidates' columns, and without those that were taken away.

    Reads ``router.config.added`` and ``router.config.columns`` and the buffers ``added_<quantity>_weight`` [m, k],
    ``added_<quantity>_bias`` [k] and, of scores, ``added_<quantity>_spread`` [m + 1, m + 1, k].
    """
    config = router.config
    if not config.added and config.columns is None:
        return output
    result = dict(output)
    for name in QUANTITIES:
        if name not in output:
            continue
        values = output[name]
        if config.added:
            weight, bias = (getattr(router, f"added_{name}_{part}") for part in ("weight", "bias"))
            known = linear_columns(name, values).float()
            more = known @ weight + bias
            spread = getattr(router, f"added_{name}_spread", None)
            if spread is not None:
                more = more - (torch.einsum("ni,ijk->njk", known, spread[:-1]) + spread[-1]).norm(dim=1)
            if name in LOGARITHMIC:
                more = more.exp()
            values = torch.cat([values, more.clamp(0, 1) if name in UNIT else more], 1)
        result[name] = values if config.columns is None else values[:, config.columns]
    return result


def extend_votes(config: Any, votes: dict[Any, torch.Tensor] | None) -> dict[Any, np.ndarray] | None:
    """`Router.votes` in the columns of all candidates, float64 [n, m]; one that was added gets none (NaN)."""
    if votes is None:
        return None
    more, columns = len(config.added or ()), config.columns
    tables = {
        k: np.pad(v.double().cpu().numpy(), ((0, 0), (0, more)), constant_values=np.nan) for k, v in votes.items()
    }
    return {k: v if columns is None else v[:, columns] for k, v in tables.items()}

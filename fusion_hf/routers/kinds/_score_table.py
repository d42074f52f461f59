"""The scores of a log as one table to regress on, for the kinds that learn all candidates at once.

This file is copied beside checkpoints (see `remote_code`).
"""

import numpy as np
import torch

from ..base import Targets


def score_table(targets: Targets) -> tuple[dict[str, int], np.ndarray]:
    """Place of each quantity, and the scores: float64 [n, blocks * m], NaN where not measured.

    Quantities are ``performance``, ``performance_scaled`` and, where the log has it, judge likewise. A scaled quantity
    that is the same as the raw one (tasks that reach from 0 to 1) shares its block.
    """
    places, blocks = {}, []
    for name in [n for n in targets.raw if n != "cost"]:
        for key, values in ((name, targets.raw[name]), (f"{name}_scaled", targets.scaled[name])):
            same = [i for i, block in enumerate(blocks) if np.array_equal(block, values, equal_nan=True)]
            places[key] = same[0] if same else len(blocks)
            if not same:
                blocks.append(values)
    return places, np.concatenate(blocks, 1)


def score_outputs(places: dict[str, int], table: torch.Tensor) -> dict[str, torch.Tensor]:
    """Predictions [n, blocks * m] by quantity: the inverse of `score_table`. Unscaled ones are kept in 0..1."""
    blocks = table.chunk(max(places.values()) + 1, 1)
    return {key: blocks[i] if key.endswith("_scaled") else blocks[i].clamp(0, 1) for key, i in places.items()}


def mean_picked(expected: np.ndarray, score: np.ndarray) -> float:
    """Mean score [n, m] of the candidate with the highest expectation [n, m], over measured cells; 0 without any."""
    got = score[np.arange(len(score)), np.nan_to_num(expected, nan=-9.0).argmax(1)]
    measured = got[~np.isnan(got)]
    return float(measured.mean()) if len(measured) else 0.0

"""The training loop of the kinds that are learned by gradient descent on the log's scores.

This file is copied beside checkpoints (see `remote_code`), so it uses torch, numpy and tqdm only.
"""

from collections.abc import Callable

import numpy as np
import torch

Parameters = dict[str, torch.Tensor]


class Whitened:
    """Features centred and scaled by one number, so that plain initial weights and step sizes fit every log.

    Args:
        x: float64 [n, d].
    """

    def __init__(self, x: np.ndarray):
        self.mean = x.mean(0)
        spread = float(np.sqrt(((x - self.mean) ** 2).mean()))
        self.scale = 1.0 / spread if spread > 0 else 1.0
        self.x = torch.from_numpy((x - self.mean) * self.scale).float()

    def unfold(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights [d, k] and intercepts [k] on the plain features that do what the given ones do on `x`."""
        weight = weight.double() * self.scale
        return weight.float(), (bias.double() - torch.from_numpy(self.mean) @ weight).float()


def uniform(generator: torch.Generator, fan_in: int, *shape: int) -> torch.Tensor:
    """Initial weights as `torch.nn.Linear` draws them."""
    return (torch.rand(*shape, generator=generator) * 2 - 1) / fan_in**0.5


def descend(
    parameters: Parameters,
    loss: Callable[[Parameters, torch.Tensor, torch.Generator], torch.Tensor],
    rows: int,
    *,
    steps: int,
    generator: torch.Generator,
    rate: float,
    decay: float,
    batch: int = 256,
    label: str = "train",
) -> Parameters:
    """Minimise a loss by AdamW with a one-cycle cosine schedule; the trained parameters, detached.

    Args:
        parameters: Initial values; those whose name ends in ``bias`` are not decayed.
        loss: (parameters, indices of the batch's rows, generator for dropout) -> scalar.
        rows: Number of training rows.
        steps: Number of batches.
        generator: Of the order of the rows, and handed to `loss`.
        rate, decay: Largest step size, and weight decay.
        batch: Rows in a batch, at most.
        label: What the progress bar is called; it shows up on a terminal when training takes more than two seconds.
    """
    from tqdm import tqdm

    held = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    groups = [
        {"params": [v for n, v in held.items() if not n.endswith("bias")], "weight_decay": decay},
        {"params": [v for n, v in held.items() if n.endswith("bias")], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    order = torch.zeros(0, dtype=torch.int64)
    with torch.enable_grad():
        for _ in tqdm(range(steps), desc=label, unit="step", delay=2, disable=None):
            if not len(order):
                order = torch.randperm(rows, generator=generator)
            now, order = order[:batch], order[batch:]
            optimizer.zero_grad(set_to_none=True)
            loss(held, now, generator).backward()
            optimizer.step()
            schedule.step()
    return {name: value.detach() for name, value in held.items()}


def drop(values: torch.Tensor, share: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """`values` with a random `share` of them set to 0 and the rest made larger to match."""
    noise = torch.rand(values.shape, generator=generator, device=None if generator else values.device)
    return values * (noise >= share) / (1 - share)


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the measured cells of y [n, k] (NaN: not measured), scores in 0..1."""
    measured = ~y.isnan()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, y.nan_to_num(0).clamp(0, 1), reduction="none")
    return (each * measured).sum() / measured.sum().clamp(min=1)

"""Queries near the LLMs that answer them, and near their like: RouterDC's dual contrastive loss (arXiv 2409.19886)."""

import numpy as np
import torch
from torch.nn.functional import logsigmoid, normalize

from ..base import Router
from ..config import RouterConfig
from ..learning.clusters import kmeans
from ..learning.gradient import Parameters, Whitened, descend, drop, uniform
from ..learning.ridge import Ridge
from ..learning.train_encoder import check_plain, tune
from ..targets import Targets
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table
from .kmeans import block_weights

SIZE, TEMPERATURE, DROPOUT = 64, 1.0, 0.5
MOST_POSITIVE, MOST_NEGATIVE, OTHERS = 3, 3, 3
CLUSTERS = 32
STEPS, RATE, DECAY = 500, 3e-3, 0.1
EPOCHS, TUNING_RATE, BATCH = 2, 5e-5, 32
PENALTY = 1.0


class DcRouterConfig(RouterConfig):
    """Configuration of a `DcRouter`; ``options`` holds the place of each quantity and how it was trained."""

    model_type = "fusion_hf-dc"


class DcRouter(Router):
    """Queries and LLMs as directions in one space; how well an LLM will do follows from the angles.

    Sample and LLM: of a query's best `MOST_POSITIVE` LLMs each is drawn nearer than the worst `MOST_NEGATIVE`. Sample
    and sample: a query is drawn nearer to another one of its cluster than to `OTHERS` of other clusters. Ties among the
    best and worst fall at random in each step, where the published code takes the first.
    Angles only rank; a ridge regression from them to scores, which sees all angles of a query, makes them predictions.
    Costs are predicted apart (see `costs`).

    By default the encoder stays as it is and a projection of the features learns (``layers=0``); with ``layers`` given,
    that many of the encoder's last ones, or all of it (None), go on learning with the projection (see `tune`).
    """

    config_class = DcRouterConfig

    @classmethod
    def learn(
        cls, x: np.ndarray, targets: Targets, seed: int = 0, size: int = SIZE, steps: int = STEPS, rate: float = RATE,
        decay: float = DECAY, temperature: float = TEMPERATURE, cluster_weight: float = 1.0, dropout: float = DROPOUT,
        layers: int | None = 0, epochs: float = EPOCHS, tuning_rate: float = TUNING_RATE, batch: int = BATCH,
        max_length: int | None = None,
    ):  # fmt: skip
        """See `Router.learn`.

        Args:
            x: Features.
            targets: Of the log.
            seed: Of every random choice.
            size: Dimensions of the common space.
            steps, rate, decay: Of the projection: number of batches, largest step size, weight decay.
            temperature: By which cosines are divided.
            cluster_weight: Weight of the loss between queries.
            dropout: Share of the features that is left out of a step.
            layers: Of the encoder that learn: 0 for none, None for all.
            epochs, tuning_rate, batch, max_length: See `train_encoder.tune`.
        """
        if layers != 0:
            check_plain(targets.text_encoder, "layers other than 0")
        inputs, score = Whitened(x), torch.from_numpy(targets.scaled["performance"]).float()
        group = torch.from_numpy(kmeans(x * block_weights(x.shape[1], targets.embedding), min(CLUSTERS, len(x)), seed))

        def loss(p: Parameters, x: torch.Tensor, rows: torch.Tensor, generator=None) -> torch.Tensor:
            vectors = normalize(drop(x, dropout, generator) @ p["project"], dim=1)
            truth = score[rows.cpu()].to(x.device)
            total = llm_loss(vectors @ normalize(p["llm"], dim=1).T / temperature, truth, generator)
            same = group[rows.cpu()].to(x.device)
            return total + cluster_weight * sample_loss(vectors @ vectors.T / temperature, same, generator)

        generator = torch.Generator().manual_seed(seed)
        first = {
            "project": uniform(generator, x.shape[1], x.shape[1], size),
            "llm": uniform(generator, size, score.shape[1], size),
        }
        found = descend(
            first, lambda p, rows, generator: loss(p, inputs.x[rows], rows, generator), len(x), steps=steps,
            generator=generator, rate=rate, decay=decay, label="dc",
        )  # fmt: skip
        if layers != 0:
            tuned, vectors, found = tune(
                targets.text_encoder, targets.texts, inputs, found, loss, layers=layers, epochs=epochs,
                rate=tuning_rate, batch=batch, max_length=max_length, seed=seed,
            )  # fmt: skip
            targets.tuned = tuned, vectors
            x = np.concatenate([vectors, x[:, targets.embedding :]], 1)
        options, buffers = learn_costs(x, targets, seed)
        buffers["project"], buffers["project_bias"] = inputs.unfold(found["project"], torch.zeros(size))
        buffers["llm"] = normalize(found["llm"], dim=1)
        near = _angles(torch.from_numpy(x).float(), buffers["project"], buffers["project_bias"], buffers["llm"])
        places, y = score_table(targets)
        weight, bias = Ridge(near.double().numpy()).solve(y, PENALTY)
        buffers["weight"], buffers["bias"] = (torch.from_numpy(a.astype(np.float32)) for a in (weight, bias))
        return options | {"places": places, "layers": layers, "temperature": temperature}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``similarity`` [n, m], the cosine between query and LLM."""
        near = _angles(x, self.project, self.project_bias, self.llm)
        found = score_outputs(self.config.options["places"], near @ self.weight + self.bias)
        return found | cost_outputs(self, x) | {"similarity": near}


def _angles(x: torch.Tensor, project: torch.Tensor, bias: torch.Tensor, llm: torch.Tensor) -> torch.Tensor:
    return normalize(x @ project + bias, dim=1) @ llm.T


def llm_loss(near: torch.Tensor, score: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Contrast of each query's best LLMs with its worst, from similarities and scores [n, m] (NaN: not measured).

    Mean over queries of ``-log(e^good / (e^good + sum e^bad))``, summed over the best; an LLM counts as bad only
    against those that score higher.
    """
    measured = ~score.isnan()
    noise = 1e-3 * torch.rand(score.shape, generator=generator, device=None if generator else score.device)
    order = score.nan_to_num(0) + noise.to(score.device)
    m = score.shape[1]
    best = order.masked_fill(~measured, -torch.inf).topk(min(MOST_POSITIVE, m), 1).indices
    worst = order.masked_fill(~measured, torch.inf).topk(min(MOST_NEGATIVE, m), 1, largest=False).indices
    good, bad = near.gather(1, best)[:, :, None], near.gather(1, worst)[:, None, :]
    # False where either is NaN, so that what was not measured never counts.
    counts = score.gather(1, best)[:, :, None] > score.gather(1, worst)[:, None, :]
    against = torch.where(counts, bad, -1e4).logsumexp(2)
    return -(logsigmoid(good[:, :, 0] - against) * counts.any(2)).sum(1).mean()


def sample_loss(near: torch.Tensor, group: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Contrast of a query of the same group with `OTHERS` of other groups, from similarities [n, n] and groups [n]."""
    same = group[:, None] == group[None]
    draw = torch.rand(near.shape, generator=generator, device=None if generator else near.device).to(near.device)
    self_ = torch.eye(len(near), dtype=torch.bool, device=near.device)
    friend = draw.masked_fill(~same | self_, -1)
    others = draw.masked_fill(same, -1).topk(min(OTHERS, len(near)), 1)
    good = near.gather(1, friend.argmax(1, keepdim=True))[:, 0]
    against = near.gather(1, others.indices).masked_fill(others.values < 0, -1e4).logsumexp(1)
    counts = (friend.amax(1) >= 0) & (others.values[:, 0] >= 0)
    return -(logsigmoid(good - against) * counts).mean()


ROUTER = DcRouter

"""A text encoder that is trained on the log, with a linear head a candidate."""

import numpy as np
import torch

from ..base import Router
from ..config import RouterConfig
from ..learning.gradient import Parameters, Whitened, descend
from ..learning.train_encoder import check_plain, tune
from ..targets import Targets
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table
from .mlp import score_loss

EPOCHS, RATE, BATCH = 2, 5e-5, 32
HEAD_STEPS, HEAD_RATE, DECAY = 300, 3e-3, 0.1


class EncoderRouterConfig(RouterConfig):
    """Configuration of an `EncoderRouter`; ``options`` holds the place of each quantity and how it was trained."""

    model_type = "fusion_hf-encoder"


class EncoderRouter(Router):
    """First a head on the encoder as it is, then both together, which keeps more of what the encoder knows.

    (Kumar et al., arXiv 2202.10054.) The head also reads surface features and TF-IDF, as that of every kind does. The
    loss is that of `mlp`. The trained encoder lives in the checkpoint. Costs are predicted apart (see `costs`).
    """

    config_class = EncoderRouterConfig

    @classmethod
    def learn(
        cls, x: np.ndarray, targets: Targets, seed: int = 0, layers: int | None = None, epochs: float = EPOCHS,
        rate: float = RATE, batch: int = BATCH, max_length: int | None = None, policy: float = 1.0,
    ):  # fmt: skip
        """See `Router.learn`; ``layers``, ``epochs``, ``rate``, ``batch`` and ``max_length`` as in `tune`.

        `policy` is the weight of the expected reward against the cross-entropy. Raises `UserError` without an encoder.
        """
        check_plain(targets.text_encoder, "kind 'encoder'")
        places, y = score_table(targets)
        inputs, scores = Whitened(x), torch.from_numpy(y).float()

        def loss(p: Parameters, x: torch.Tensor, rows: torch.Tensor, generator=None) -> torch.Tensor:
            logits = x @ p["weight"] + p["bias"]
            return score_loss(logits, scores[rows.cpu()].to(logits.device), places, policy)

        heads = descend(
            {"weight": torch.zeros(x.shape[1], y.shape[1]), "bias": torch.zeros(y.shape[1])},
            lambda p, rows, generator: loss(p, inputs.x[rows], rows), len(x), steps=HEAD_STEPS,
            generator=torch.Generator().manual_seed(seed), rate=HEAD_RATE, decay=DECAY, label="heads",
        )  # fmt: skip
        tuned, vectors, heads = tune(
            targets.text_encoder, targets.texts, inputs, heads, loss, layers=layers, epochs=epochs, rate=rate,
            batch=batch, max_length=max_length, seed=seed,
        )  # fmt: skip
        targets.tuned = tuned, vectors
        options, buffers = learn_costs(np.concatenate([vectors, x[:, targets.embedding :]], 1), targets, seed)
        weight, bias = inputs.unfold(heads["weight"], heads["bias"])
        buffers |= {"weight": weight, "bias": bias.masked_fill(torch.from_numpy(np.isnan(y).all(0)), torch.nan)}
        return options | {"places": places, "layers": layers, "epochs": epochs, "rate": rate}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`."""
        table = (x @ self.weight + self.bias).sigmoid()
        return score_outputs(self.config.options["places"], table) | cost_outputs(self, x)


ROUTER = EncoderRouter

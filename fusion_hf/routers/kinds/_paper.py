"""What the routers with a winner label have in common: kNN, SVM and MLP as in the code that FusionFactory published.

They are kept for comparison. A query's label is its winner, the candidate with the highest reward; each candidate is
scored by how often queries like this one had it as their label. With near-binary scores most queries are ties, and
argmax hands every tie to the candidate that comes first (here: the first name), which is why these routers fall below
the best single candidate. The label holds for one trade-off, so there is one model for each scenario, and no other
trade-off can be asked for. This file is copied beside checkpoints (see `remote_code`).
"""

import numpy as np
import torch

from ..base import Router, keyword_defaults
from ..targets import Targets
from .best_single import averages, everywhere


class PaperRouter(Router):
    """Votes by winner labels (`shares`); what it expects of each candidate is its mean over the log."""

    @classmethod
    def learn_shares(cls, x: np.ndarray, labels: np.ndarray, seed: int, **options) -> dict[str, torch.Tensor]:
        """Buffers for `shares`, from features x [n, d] and labels, float64 [n, trades, m], 1 for the winner."""
        raise NotImplementedError

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """Score of every candidate under every trade-off, [n, trades, m]."""
        raise NotImplementedError

    @classmethod
    def option_defaults(cls) -> dict:
        """See `Router.option_defaults`."""
        return keyword_defaults(cls.learn_shares)

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0, **options):
        """See `Router.learn`. As published, the text embedding is all that is read, where there is one."""
        columns = targets.embedding or x.shape[1]
        buffers = averages(targets) | cls.learn_shares(x[:, :columns], winners(targets), seed, **options)
        return {"columns": columns, "trade_offs": [list(t) for t in trade_offs(targets)]}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``shares`` [n, trades, m]."""
        return everywhere(self, len(x)) | {"shares": self.shares(x[:, : self.config.options["columns"]])}

    def votes(self, output: dict[str, torch.Tensor]) -> dict[tuple, torch.Tensor]:
        """See `Router.votes`: the shares under each trade-off; NaN for a candidate that the log never measured."""
        shares, never = output["shares"], output["performance"].isnan()
        return {
            tuple(t): shares[:, i].masked_fill(never, torch.nan)
            for i, t in enumerate(self.config.options["trade_offs"])
        }


def trade_offs(targets: Targets) -> list[tuple[float, float, str]]:
    """Alpha, beta and score of every scenario that the log can be measured on, each once."""
    return [*dict.fromkeys((t["alpha"], t["beta"], t["score"]) for t in targets.scenarios.values())]


def winners(targets: Targets) -> np.ndarray:
    """1 for the candidate with the highest reward, the first name of several, else 0: float64 [n, trades, m].

    A query without any measured reward has no winner.
    """
    tables = []
    for alpha, beta, score in trade_offs(targets):
        reward = alpha * targets.scaled[score] - (beta * targets.scaled["cost"] if beta else 0.0)
        reward = np.where(np.isnan(reward), -np.inf, reward)
        first = np.eye(reward.shape[1])[reward.argmax(1)]
        tables.append(first * np.isfinite(reward.max(1))[:, None])
    return np.stack(tables, 1)

"""A strong and a weak candidate, and how likely the strong one wins: RouteLLM (arXiv 2406.18665)."""

from collections.abc import Sequence

import numpy as np
import torch

from ...errors import UserError
from ..base import Router
from ..chats import Chat
from ..config import RouterConfig
from ..decisions import Predictions
from ..learning.clusters import group_means
from ..learning.gradient import Parameters, Whitened, cross_entropy, descend
from ..targets import Targets
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table

STEPS, RATE, DECAY = 100, 3e-3, 1.0
GOOD = 0.8  # of the strong candidate's score: what makes a cheap one good enough for the weak side


class PairwiseRouterConfig(RouterConfig):
    """Configuration of a `PairwiseRouter`; ``options`` holds the ``strong`` and the ``weak`` candidate."""

    model_type = "fusion_hf-pairwise"


class PairwiseRouter(Router):
    """``P(strong wins) = sigmoid(query . weight + bias)``, where a tie is half a win for each.

    RouteLLM learns it from votes between many LLMs, by a factorisation that is this logistic model once the two are
    fixed; here every query on which both were measured is a comparison. With scores in 0..1 the expected gain of the
    strong candidate is 2 P - 1, so the choice is a threshold on P, set by trade-off and cost (`route` by scenario) or
    by the caller (`threshold`). What the two have in common on a query is taken as their mean over the log. Costs are
    predicted apart (see `costs`). All other candidates are never chosen.
    """

    config_class = PairwiseRouterConfig

    @classmethod
    def learn(
        cls, x: np.ndarray, targets: Targets, seed: int = 0, strong: str | None = None, weak: str | None = None,
        steps: int = STEPS, rate: float = RATE, decay: float = DECAY,
    ):  # fmt: skip
        """See `Router.learn`.

        Args:
            x: Features.
            targets: Of the log.
            seed: Of initial values and the order of the rows.
            strong: Candidate id; default: the best single one of the log.
            weak: Candidate id; default: the cheapest that reaches `GOOD` of the strong one's score, or, where nothing
                does or the log has no costs, the one that does better than the strong one most often.
            steps: Number of batches.
            rate: Largest step size.
            decay: Weight decay.
        """
        pair = _pair(targets, strong, weak)
        places, y = score_table(targets)
        y = y.reshape(len(x), -1, len(targets.candidates))[:, :, pair]
        inputs, generator = Whitened(x), torch.Generator().manual_seed(seed)
        wins = torch.from_numpy((1 + y[:, :, 0] - y[:, :, 1]) / 2).float()

        def loss(p: Parameters, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return cross_entropy(inputs.x[rows] @ p["win"] + p["win_bias"], wins[rows])

        first = {"win": torch.zeros(x.shape[1], wins.shape[1]), "win_bias": torch.zeros(wins.shape[1])}
        found = descend(first, loss, len(x), steps=steps, generator=generator, rate=rate, decay=decay, label="pairwise")
        options, buffers = learn_costs(x, targets, seed)
        buffers["win_weight"], buffers["win_bias"] = inputs.unfold(found["win"], found["win_bias"])
        both = np.where(np.isnan(y).any(2), np.nan, y.mean(2))
        buffers["middle"] = torch.from_numpy(group_means(both, np.ones((len(x), 1)))[0]).float()
        names = [targets.candidates[c] for c in pair]
        return options | {"places": places, "strong": names[0], "weak": names[1]}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``win`` [n], the probability that the strong candidate wins."""
        options, names = self.config.options, self.learned_candidates
        win = (x @ self.win_weight + self.win_bias).sigmoid()
        table = torch.full((*win.shape, len(names)), torch.nan, dtype=win.dtype, device=win.device)
        table[:, :, names.index(options["strong"])] = self.middle + (win - 0.5)
        table[:, :, names.index(options["weak"])] = self.middle - (win - 0.5)
        found = score_outputs(options["places"], table.flatten(1))
        return found | cost_outputs(self, x) | {"win": win[:, options["places"]["performance_scaled"]]}

    def reasons(self, output: dict[str, torch.Tensor]) -> list[list[str]]:
        """How likely the strong candidate wins."""
        options = self.config.options
        text = f"{options['strong']} wins against {options['weak']} with probability"
        return [[f"{text} {p:.2f}"] for p in output["win"].tolist()]

    def predict(
        self,
        queries: Sequence[str | Chat],
        embeddings: np.ndarray | None = None,
        nearest: int = 0,
        threshold: float | None = None,
    ) -> Predictions:
        """See `Router.predict`.

        With a `threshold` (also in `route`) the strong candidate is chosen where it wins with more than this
        probability, whatever the trade-off, and the weak one elsewhere.
        """
        found = super().predict(queries, embeddings, nearest)
        if threshold is None:
            return found
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold: expected a probability, found {threshold:g}")
        sides = [self.config.options[side] for side in ("strong", "weak")]
        strong, weak = (found.candidates.index(name) for name in sides)
        scaled, votes = found.scaled["performance"], np.full_like(found.performance, np.nan)
        votes[:, strong] = (1 + scaled[:, strong] - scaled[:, weak]) / 2
        votes[:, weak] = threshold
        found.votes = {None: votes}
        return found


def _pair(targets: Targets, strong: str | None, weak: str | None) -> tuple[int, int]:
    """Columns of the strong and the weak candidate."""
    names, score = targets.candidates, targets.scaled["performance"]
    for name in (strong, weak):
        if name is not None and name not in names:
            raise UserError(f"unknown candidate {name!r}: the log has {', '.join(names)}")
    one = np.ones((len(score), 1))
    mean = group_means(score, one)[0]
    measured = [c for c in range(len(names)) if not np.isnan(mean[c])]
    price = np.full(len(names), np.inf)
    if "cost" in targets.raw:
        price = np.nan_to_num(group_means(targets.raw["cost"], one)[0], nan=np.inf)
    order = sorted(measured, key=lambda c: (-mean[c], price[c]))
    top = names.index(strong) if strong else next(c for c in order if names[c] != weak)
    rest = [c for c in measured if c != top]
    if weak is None and not rest:
        raise UserError(f"kind 'pairwise' chooses between two candidates: the log has scores of {names[top]} only")
    if weak is not None:
        bottom = names.index(weak)
    elif good := [c for c in rest if mean[c] >= GOOD * mean[top] and price[c] < price[top]]:
        bottom = min(good, key=lambda c: price[c])
    else:
        bottom = max(rest, key=lambda c: (score[:, c] > score[:, top]).mean())
    if bottom == top:
        raise UserError(f"strong and weak: expected two candidates, found {names[top]} twice")
    return top, bottom


ROUTER = PairwiseRouter

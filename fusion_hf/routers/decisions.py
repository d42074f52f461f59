"""What a router says: predictions for every candidate, and the decision with its reasons.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

TIE = 1e-6  # predicted rewards nearer than this are equal: float32 outputs differ by less from batch to batch


@dataclass
class Predictions:
    """Predicted performance and cost of every candidate for every query.

    Attributes:
        candidates: m candidate ids.
        raw: quantity -> float64 [n, m]: ``performance`` and ``judge`` in 0..1, ``cost`` in USD; all NaN where the
            training log did not have it.
        scaled: quantity -> float64 [n, m] in units of the query's task, in which the reward is computed.
        reasons: n lists of lines on why.
    """

    candidates: list[str]
    raw: dict[str, np.ndarray]
    scaled: dict[str, np.ndarray]
    reasons: list[list[str]] = field(repr=False)

    @property
    def performance(self) -> np.ndarray:
        """Expected performance in 0..1: float64 [n, m]."""
        return self.raw["performance"]

    @property
    def cost(self) -> np.ndarray:
        """Expected cost in USD: float64 [n, m], NaN where the training log had no costs."""
        return self.raw["cost"]

    def select(self, candidates: Sequence[str]) -> "Predictions":
        """The same predictions for these candidates, in this order."""
        columns = [self.candidates.index(c) for c in candidates]
        raw, scaled = ({k: v[:, columns] for k, v in part.items()} for part in (self.raw, self.scaled))
        return Predictions(list(candidates), raw, scaled, self.reasons)

    def reward(self, alpha: float, beta: float, score: str = "performance") -> np.ndarray:
        """Expected alpha * score - beta * cost, both scaled by task: float64 [n, m]."""
        result = alpha * self.scaled[score]
        return result - beta * self.scaled["cost"] if beta else result


@dataclass(frozen=True)
class RoutingDecision:
    """Which candidate should answer a query.

    Attributes:
        candidate: The choice.
        performance: Its expected performance, 0..1.
        cost: Its expected cost in USD; None where the training log had no costs.
        reward: Its expected reward in the scenario.
        runner_up: The second best; None where there is one candidate.
        best: The best three as dicts (candidate, performance, cost, reward).
        reasons: Lines on why: the task it looks like, or the logged queries it is near to.
    """

    candidate: str
    performance: float
    cost: float | None
    reward: float
    runner_up: str | None
    best: list[dict]
    reasons: list[str]

    def explain(self) -> str:
        """A few lines for a person."""
        lines = [
            f"  {place}. {b['candidate']}  performance {b['performance']:.3f}  "
            + ("cost not known" if b["cost"] is None else f"cost {b['cost']:.3g} USD")
            + f"  reward {b['reward']:.3f}"
            for place, b in enumerate(self.best, 1)
        ]
        return "\n".join([*lines, *(f"  because {r}" for r in self.reasons)])

    def to_dict(self) -> dict:
        """The decision as plain JSON types."""
        return asdict(self)


def rank(reward: np.ndarray, cost: np.ndarray, candidates: Sequence[str]) -> np.ndarray:
    """Candidates of each query from best to worst: int [n, m].

    Rewards within `TIE` of the best are equal: the cheaper goes first, then the first name. NaN rewards go last, NaN
    costs count as dearest. The first column agrees with `bench.rewards.pick`.
    """
    reward = np.where(np.isnan(reward), -np.inf, reward)
    cost = np.where(np.isnan(cost), np.inf, cost)
    name = np.broadcast_to(np.argsort(np.argsort(candidates)), reward.shape)
    behind = reward < reward.max(1, keepdims=True) - TIE
    return np.lexsort((name, cost, np.where(behind, -reward, -np.inf), behind), axis=1)

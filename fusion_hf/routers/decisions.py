"""What a router says: predictions for every candidate, and the decision with its reasons.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import UserError

TradeOff = tuple[float, float, str]  # alpha, beta and score of a reward
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
        tasks: n dicts group of queries -> share; None where the kind knows no groups.
        nearest: n lists of similar logged queries (see `examples.nearest_logged`); None where not asked for.
        votes: For kinds that choose without predicting a reward: trade-off (alpha, beta, score) -> float64 [n, m] in
            place of the reward; under the key None for every trade-off. None for all other kinds.
    """

    candidates: list[str]
    raw: dict[str, np.ndarray]
    scaled: dict[str, np.ndarray]
    reasons: list[list[str]] = field(repr=False)
    tasks: list[dict[str, float]] | None = field(default=None, repr=False)
    nearest: list[list[dict]] | None = field(default=None, repr=False)
    votes: dict[TradeOff | None, np.ndarray] | None = field(default=None, repr=False)

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
        votes = self.votes and {k: v[:, columns] for k, v in self.votes.items()}
        return Predictions(list(candidates), raw, scaled, self.reasons, self.tasks, self.nearest, votes)

    def subset(self, rows: np.ndarray) -> "Predictions":
        """The predictions for some of the queries, bool [n]."""
        some = np.flatnonzero(rows)
        raw, scaled = ({k: v[some] for k, v in part.items()} for part in (self.raw, self.scaled))
        lists: list[Any] = [part and [part[i] for i in some] for part in (self.reasons, self.tasks, self.nearest)]
        votes = self.votes and {k: v[some] for k, v in self.votes.items()}
        return Predictions(self.candidates, raw, scaled, lists[0] or [], lists[1], lists[2], votes)

    @property
    def fixed(self) -> bool:
        """Whether only the trade-offs that the router was trained on can be asked for."""
        return self.votes is not None and None not in self.votes

    def reward(self, alpha: float, beta: float, score: str = "performance") -> np.ndarray:
        """Expected alpha * score - beta * cost, both scaled by task: float64 [n, m].

        Raises:
            UserError: The kind learned winners of some trade-offs, and this is none of them.
        """
        if self.votes is not None:
            found = self.votes.get((alpha, beta, score), self.votes.get(None))
            if found is None:
                known = "; ".join(f"{a:g} * {s} - {b:g} * cost" for a, b, s in filter(None, self.votes))
                raise UserError(
                    f"this kind of router learned who wins under fixed trade-offs ({known}): expected one of them, "
                    f"found {alpha:g} * {score} - {beta:g} * cost; other kinds predict performance and cost"
                )
            return found
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
        reasons: Lines on why, where the kind gives any.
        tasks: Share of each task, or group of queries, that it looks like; {} where the kind knows none.
        nearest: Similar logged queries as dicts (query, similarity, scores by candidate); [] unless asked for.
    """

    candidate: str
    performance: float
    cost: float | None
    reward: float
    runner_up: str | None
    best: list[dict]
    reasons: list[str]
    tasks: dict[str, float] = field(default_factory=dict)
    nearest: list[dict] = field(default_factory=list)

    def explain(self) -> str:
        """A few lines for a person."""
        lines = [
            f"  {place}. {b['candidate']}  performance {b['performance']:.3f}  "
            + ("cost not known" if b["cost"] is None else f"cost {b['cost']:.3g} USD")
            + f"  reward {b['reward']:.3f}"
            for place, b in enumerate(self.best, 1)
        ]
        shown = [b["candidate"] for b in self.best]
        near = [
            f"  like ({n['similarity']:.2f}) logged query: {n['query']}\n    there "
            + ", ".join(f"{c} {n['scores'][c]:.2f}" if c in n["scores"] else f"{c} not measured" for c in shown)
            for n in self.nearest
        ]
        return "\n".join([*lines, *(f"  because {r}" for r in self.reasons), *near])

    def to_dict(self) -> dict:
        """The decision as plain JSON types."""
        return asdict(self)


def rank(reward: np.ndarray, cost: np.ndarray, candidates: Sequence[str]) -> np.ndarray:
    """Candidates of each query from best to worst: int [n, m].

    Rewards within `TIE` of the best are equal: the cheaper goes first, then the first name. NaN rewards go last, NaN
    costs count as dearest. The first column agrees with `fusion_hf.logs.rewards.pick`.
    """
    reward = np.where(np.isnan(reward), -np.inf, reward)
    cost = np.where(np.isnan(cost), np.inf, cost)
    name = np.broadcast_to(np.argsort(np.argsort(candidates)), reward.shape)
    behind = reward < reward.max(1, keepdims=True) - TIE
    return np.lexsort((name, cost, np.where(behind, -reward, -np.inf), behind), axis=1)


def within_cost(predictions: Predictions, reward: np.ndarray, columns: Sequence[int], max_cost: float) -> np.ndarray:
    """`reward` [n, columns] with NaN where a candidate is expected to cost more; a `UserError` where all do."""
    if predictions.fixed:
        raise UserError("this kind of router does not predict costs: expected no max_cost; train another kind")
    cost = predictions.cost[:, columns]
    reward = np.where(cost <= max_cost, reward, np.nan)
    for i in np.flatnonzero(np.isnan(reward).all(1)):
        raise UserError(
            f"query {i}: no candidate is expected to cost at most {max_cost:g} USD; the cheapest is expected "
            f"to cost {np.nanmin(cost[i]):.3g}"
        )
    return reward


def decide(predictions: Predictions, reward: np.ndarray, columns: Sequence[int]) -> list[RoutingDecision]:
    """The best candidate of each query among `columns` of the predictions, by `reward` [n, columns]; see `rank`."""
    names = [predictions.candidates[c] for c in columns]
    performance, cost = predictions.performance[:, columns], predictions.cost[:, columns]
    decisions = []
    for i, best in enumerate(rank(reward, cost, names)):
        top = [
            {
                "candidate": names[c],
                "performance": float(performance[i, c]),
                "cost": None if np.isnan(cost[i, c]) else float(cost[i, c]),
                "reward": float(reward[i, c]),
            }
            for c in best[:3]
            if not np.isnan(reward[i, c])
        ]
        decisions.append(
            RoutingDecision(
                **top[0],
                runner_up=top[1]["candidate"] if len(top) > 1 else None,
                best=top,
                reasons=predictions.reasons[i],
                tasks=predictions.tasks[i] if predictions.tasks else {},
                nearest=predictions.nearest[i] if predictions.nearest else [],
            )
        )
    return decisions

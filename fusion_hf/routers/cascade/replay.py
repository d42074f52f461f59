"""A cascade on a log that holds every answer: what following its plans would have brought, every call paid."""

from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from ...logs.arrays import RoutingData
from ..kinds.cascade import CascadeRouter, Outlook, PlanChoice
from .chains import answer_codes, walk
from .replies import apply_replies, reply_features


@dataclass(frozen=True)
class Replay:
    """What came of n queries.

    Attributes:
        performance: Of the answer that is returned, float64 [n]; NaN where it, or a call, was not measured.
        cost: USD of all calls of a query, float64 [n]; NaN likewise (and everywhere for a log without costs).
        calls: Number of calls, int [n].
    """

    performance: np.ndarray
    cost: np.ndarray
    calls: np.ndarray


class AnsweredLog:
    """Log arrays with answers, in the columns of a router.

    Args:
        data: Log arrays that hold the router's candidates.
        answers: Final answers, object [n, m], in the order of `data` (see `answers.log_answers`).
        router: Whose candidates are asked.
    """

    def __init__(self, data: RoutingData, answers: np.ndarray, router: CascadeRouter):
        if answers.shape != data.performance.shape:
            raise UserError(f"expected answers of shape {data.performance.shape}, found {answers.shape}")
        self.column = {name: j for j, name in enumerate(data.candidates)}
        missing = [name for name in router.candidates if name not in self.column]
        if missing:
            raise UserError(f"a replay needs what every candidate answered: the log has nothing of {missing[0]}")
        self.data, self.answers, self.codes = data, answers, answer_codes(answers)

    def __len__(self) -> int:
        return len(self.data)


def replay(router: CascadeRouter, outlook: Outlook, choice: PlanChoice, log: AnsweredLog) -> Replay:
    """Follow what was chosen for every query, one call after the other, seeing only the answers that were paid for.

    It comes to the same as `CascadePlan.next` step by step.
    """
    n = len(log)
    line, data = np.arange(n), log.data
    own = np.array([log.column[name] for name in router.candidates])[choice.single]
    performance, cost, calls = data.performance[line, own], data.cost[line, own], np.ones(n, np.int64)
    learned = np.array([log.column.get(name, -1) for name in router.learned_candidates])  # -1: removed, never asked
    for p in np.unique(choice.plan[choice.plan >= 0]):
        rows = np.flatnonzero(choice.plan == p)
        chain, rules = router.rules(p)
        columns = learned[chain]
        shift, tables = router.shifts(p, outlook)
        said = np.zeros((len(rows), len(chain)))
        if tables is not None:
            features = np.stack([reply_features(log.answers[rows, c]) for c in columns], 1)
            said = apply_replies(tables, features)
        place, made = walk(rules, float(router.plan_cost_weight[p]), log.codes[rows][:, columns], shift[rows], said)
        paid = np.where(np.arange(len(chain)) < made[:, None], data.cost[rows][:, columns], 0.0).sum(1)
        performance[rows], cost[rows], calls[rows] = data.performance[rows, columns[place]], paid, made
    missing = np.isnan(performance) | (np.isnan(cost) & ~np.isnan(data.cost).all())
    return Replay(np.where(missing, np.nan, performance), np.where(missing, np.nan, cost), calls)

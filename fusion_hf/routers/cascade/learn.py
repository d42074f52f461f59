"""What a cascade learns from a log with answers: for every group of queries and weight of cost, whom to ask, in order.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy and torch only.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..kinds.linear import error
from ..learning.ridge import Ridge
from ..targets import Targets
from .chains import LONGEST, SLOTS, Rules, answer_codes, best_chains, by_worth, logit, rules_of, useful, walk
from .replies import COLUMNS, apply_replies, fit_replies, reply_features
from .votes import possible_votes, vote_rules

FOLDS = 4
PENALTIES = (3.0, 10.0, 30.0, 100.0)
COST_WEIGHTS = np.concatenate(
    [[0.0], np.geomspace(0.003, 300.0, 36)]
)  # of a call of the dearest candidate, in performance
FEWEST = 20  # queries of a group below which no chain is learned
LEAST = 0.05  # share of a group below which a query says nothing about it
CAUTION = 2.0  # standard errors by which a chain must be better that is the best of many, which is partly luck
VOTE_CAUTION = 1.0  # the same for a vote, of which there are fewer, and nothing in them was learned
NATURAL = 3  # candidates in the chain of the best ones, which nobody had to look for
# How much of what the query, and of what an answer alone, says about being right is believed; by cross-validation.
NOTHING = (0.0, 0.0)
USUAL = (0.0, 1.0)  # while chains are compared
BELIEFS = (NOTHING, (0.5, 0.0), (1.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0))


@dataclass(frozen=True)
class LearnedPlan:
    """A chain of candidates with rules for stopping, for one group of queries.

    Attributes:
        group: Its number.
        chain: Columns, in the order in which they are asked.
        cost_weight: Performance that a USD is worth.
        quorum: How many have to agree before the last one is left out (see `votes`); 0 where that is learned.
    """

    group: int
    chain: tuple[int, ...]
    cost_weight: float
    quorum: int = 0


def learn_plans(
    x: np.ndarray, targets: Targets, share: np.ndarray, unseen: dict[str, np.ndarray], seed: int = 0,
    calls: int = LONGEST,
) -> tuple[dict, dict]:  # fmt: skip
    """Options and buffers of the plans; empty buffers where no chain is better than a single candidate.

    A plan is a chain of candidates with the rules that say, after each pattern of agreement, whether to stop. What it
    is expected to bring, and how often it asks each member, is measured on held-out folds in its own group of queries,
    and by following it on the logged answers in the others.

    Args:
        x: Features, float64 [n, d].
        targets: Of the log, with answers.
        share: How much each query belongs to each group, float64 [n, G].
        unseen: Performance and cost that routers which did not see a query expect of single candidates, [n, m].
        seed: Of the folds.
        calls: Candidates in a chain, at most.
    """
    log = AnswerArrays(x, targets, share, unseen, seed)
    groups = [Group(log, g) for g in range(share.shape[1])]
    plans = [plan for group in groups for plan in _plans_of(group, calls)]
    belief, gain = _belief(groups, plans)
    options = {"plans": len(plans), "believed": list(belief), "gain": gain, "query_penalty": log.penalty}
    if not plans:
        return options, {}
    buffers = {
        "plan_chain": np.full((len(plans), LONGEST), -1, np.int64),
        "plan_group": np.array([p.group for p in plans], np.int64),
        "plan_cost_weight": np.array([p.cost_weight for p in plans], np.float64),
        "plan_rules": np.zeros((len(plans), LONGEST + 2, SLOTS), np.float32),
        "plan_performance": np.zeros((share.shape[1], len(plans)), np.float32),
        "plan_asks": np.zeros((share.shape[1], len(plans), LONGEST), np.float32),
        "plan_scale": _scale(targets, share).astype(np.float32),
        "plan_spread": log.spread.astype(np.float32),
        "plan_optimism": np.array([[g.optimism(p.cost_weight) for p in plans] for g in groups], np.float32),
    }
    for p, plan in enumerate(plans):
        group = groups[plan.group]
        rules = group.rules(plan)
        buffers["plan_chain"][p, : len(plan.chain)] = plan.chain
        buffers["plan_rules"][p] = [*rules.right, rules.go, rules.dearer]
        everywhere = Group(log, plan.group, every=True).follow(rules, plan, belief)
        buffers["plan_performance"][:, p], buffers["plan_asks"][:, p] = _outcome(everywhere, share)
        # In its own group the plan was chosen for these very outcomes, so there the held-out ones count.
        held = _outcome(_held_out(group, plan, belief), group.weight[:, None])
        buffers["plan_performance"][plan.group, p], buffers["plan_asks"][plan.group, p] = (v[0] for v in held)
    if belief[0]:
        buffers["shift_weight"], buffers["shift_bias"] = (v.astype(np.float32) for v in log.query_ridge)
    if belief[1]:
        buffers["reply_table"] = np.stack([group.reply_tables() for group in groups])
    return options, {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in buffers.items()}


def folds_of(n: int, seed: int) -> list[np.ndarray]:
    """Masks of the held-out queries, bool [n] each."""
    fold = _fold(n, seed)
    return [fold == f for f in range(FOLDS) if 0 < (fold == f).sum() < n - 1]


def _fold(n: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, FOLDS, n)


class AnswerArrays:
    """The arrays of the log, and what the query alone says about being right, on held-out folds (``query``, [n, m])."""

    def __init__(self, x: np.ndarray, targets: Targets, share: np.ndarray, unseen: dict, seed: int):
        self.performance = targets.raw["performance"]
        self.cost = targets.raw.get("cost", np.zeros_like(self.performance))
        self.expected, self.price = unseen["performance"], unseen.get("cost", np.zeros_like(self.performance))
        self.share, self.codes = share, answer_codes(targets.answers)
        self.fold = _fold(len(x), seed)
        seen = ~np.isnan(self.performance)
        weight = share.T @ seen
        mean = share.T @ np.where(seen, self.performance, 0) / np.maximum(weight, 1e-12)  # [G, m]
        self.spread = 1 / np.maximum(mean * (1 - mean), 0.05)  # log-odds of a little more performance
        self.rest, self.odds = self.performance - share @ mean, logit(share @ mean)
        folds = [f for f in range(FOLDS) if 1 < (self.fold != f).sum() < len(x)]
        parts = [(Ridge(x[self.fold != f]), self.fold == f) for f in folds]
        self.penalty = min(PENALTIES, key=lambda p: error(parts, x, self.rest, p))
        self.query, self.query_ridge = np.zeros_like(self.rest), Ridge(x).solve(self.rest, self.penalty)
        for ridge, held in parts:
            weights, bias = ridge.solve(self.rest[~held], self.penalty)
            self.query[held] = np.nan_to_num(x[held] @ weights + bias)
        self.features = np.stack([reply_features(column) for column in targets.answers.T], 1)


class Group:
    """The queries of a log that belong to one group (or, with `every`, all of them), with their ``weight`` in it."""

    def __init__(self, log: AnswerArrays, number: int, every: bool = False):
        self.number = number
        self.rows = np.arange(len(log.share)) if every else np.flatnonzero(log.share[:, number] > LEAST)
        self.weight, self.spread = log.share[self.rows, number], log.spread[number]
        for name in ("codes", "performance", "cost", "expected", "price", "fold", "rest", "odds", "query", "features"):
            setattr(self, name, getattr(log, name)[self.rows])
        self._replies: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def replies(self) -> np.ndarray:
        """What each answer alone says about being right, on held-out folds: [n, m]."""
        if self._replies is None:
            self._replies = np.zeros_like(self.rest)
            for f in range(FOLDS):
                held = self.fold == f
                self._replies[held] = apply_replies(self.reply_tables(~held), self.features[held])
        return self._replies

    def reply_tables(self, rows=slice(None)) -> np.ndarray:
        """`fit_replies` of every candidate on these rows: float32 [m, 3, COLUMNS]."""
        weight = self.weight[rows]
        if len(weight) < FEWEST:
            return np.zeros((self.rest.shape[1], 3, COLUMNS), np.float32)
        return fit_replies(self.features[rows], self.performance[rows], self.odds[rows], weight)

    def optimism(self, cost_weight: float) -> float:
        """How much less the single candidates that look best at this weight of cost earn than they were expected to."""
        hoped = np.nan_to_num(self.expected - cost_weight * self.price, nan=-np.inf)
        best, line = hoped.argmax(1), np.arange(len(hoped))
        lost = hoped[line, best] - (self.performance - cost_weight * self.cost)[line, best]
        return max(0.0, _mean(np.where(np.isfinite(lost), lost, np.nan), self.weight))

    def rules(self, plan: LearnedPlan, rows=slice(None)) -> Rules:
        """Rules of a plan, learned from these rows."""
        arrays = self.codes[rows], self.performance[rows], self.cost[rows], self.weight[rows]
        rules = rules_of(*arrays, plan.chain, plan.cost_weight)
        return vote_rules(rules, len(plan.chain), plan.quorum) if plan.quorum else rules

    def follow(self, rules: Rules, plan: LearnedPlan, belief: tuple[float, float], rows=slice(None)):
        """(performance, cost, calls), each [n], of following rules on the logged answers of these rows.

        Performance and cost are NaN where an answer was returned, or paid, that was not measured.
        """
        c = list(plan.chain)
        nothing = np.zeros((len(self.codes[rows]), len(c)))
        shifts = [
            belief[0] * self.spread[c] * self.query[rows][:, c] if belief[0] else nothing,
            belief[1] * self.replies[rows][:, c] if belief[1] else nothing,
        ]
        place, calls = walk(rules, plan.cost_weight, self.codes[rows][:, c], *shifts)
        cost = np.where(np.arange(len(c)) < calls[:, None], self.cost[rows][:, c], 0.0).sum(1)
        performance = self.performance[rows][np.arange(len(place)), np.array(c)[place]]
        missing = np.isnan(performance) | np.isnan(cost)
        return np.where(missing, np.nan, performance), np.where(missing, np.nan, cost), calls


def _plans_of(group: Group, calls: int) -> list[LearnedPlan]:
    """The plans of a group: at each weight the chain that is clearly better than what is simpler, if any.

    After a single candidate comes the chain of the best ones, in the order of their worth: it asks on only where that
    pays. Then come the best of all chains. Votes are plans beside these.
    """
    if len(group) < FEWEST:
        return []
    dearest = max(_mean(cost, group.weight) for cost in group.cost.T if not np.isnan(cost).all())
    cost_weights = COST_WEIGHTS / dearest if dearest > 0 else np.zeros(1)
    by_length = best_chains(
        group.codes, group.performance, group.cost, group.fold, FOLDS, group.weight, cost_weights, calls
    )
    plans, known = [], set()
    for i, cost_weight in enumerate(cost_weights):
        best = reward = None
        order = by_worth(group.performance, group.cost, group.weight, cost_weight)
        natural = tuple(order[: min(calls, NATURAL)])
        tried = [(by_length[0][i], 0.0), (natural, 0.0), *((chains[i], CAUTION) for chains in by_length[1:])]
        for chain, caution in tried:
            held = _held_out(group, LearnedPlan(group.number, chain, float(cost_weight)), USUAL)
            now = held[0] - cost_weight * held[1]
            if best is None or _better(now, reward, group.weight, caution):
                best, reward = chain, now
        result = (best, np.round(reward, 9).tobytes())
        if len(best) > 1 and result not in known:
            known.add(result)
            plans.append(LearnedPlan(group.number, best, float(cost_weight)))
    return plans + _votes_of(group, calls, cost_weights)


def _votes_of(group: Group, calls: int, cost_weights: np.ndarray) -> list[LearnedPlan]:
    """The best vote at every weight of cost, where it is better than every single candidate."""
    arrays = group.performance, group.cost, group.weight
    votes = [
        LearnedPlan(group.number, chain, 0.0, quorum)
        for chain, quorum in possible_votes(*arrays, useful(*arrays, cost_weights), calls)
    ]
    if not votes:
        return []
    outcomes = [group.follow(group.rules(vote), vote, NOTHING) for vote in votes]
    performance, cost = (np.array([_mean(o[i], group.weight) for o in outcomes]) for i in (0, 1))
    best = {}
    for w in cost_weights:
        i = int((performance - w * cost).argmax())
        single = by_worth(*arrays, w)[0]
        rewards = outcomes[i][0] - w * outcomes[i][1], group.performance[:, single] - w * group.cost[:, single]
        if _better(*rewards, group.weight, VOTE_CAUTION):
            best[i] = float(w)
    return [replace(votes[i], cost_weight=w) for i, w in best.items()]


def _held_out(group: Group, plan: LearnedPlan, belief: tuple[float, float]):
    """`Group.follow` of every row by the rules that the other folds teach."""
    result = np.full((3, len(group)), np.nan)
    for f in range(FOLDS):
        held = group.fold == f
        if held.any() and not held.all():
            result[:, held] = group.follow(group.rules(plan, ~held), plan, belief, held)
    return result


def _better(one: np.ndarray, other: np.ndarray, weight: np.ndarray, caution: float) -> bool:
    more = (one - other) * weight
    more = more[~np.isnan(more)]
    return bool(len(more) and more.mean() > caution * more.std() / len(more) ** 0.5)


def _belief(groups: list[Group], plans: list[LearnedPlan]) -> tuple[tuple[float, float], float]:
    """The best of `BELIEFS`, and what it adds to the reward of a plan, on held-out folds."""
    if not plans:
        return NOTHING, 0.0
    total = {belief: {} for belief in BELIEFS}
    for plan in plans:
        group, cost_weight = groups[plan.group], plan.cost_weight
        for belief, sums in total.items():
            performance, cost, _ = _held_out(group, plan, belief)
            rewards = np.nan_to_num(performance - cost_weight * cost) * group.weight
            sums[group.number] = sums.get(group.number, 0.0) + rewards / len(plans)
    rewards = {belief: np.concatenate(list(sums.values())) for belief, sums in total.items()}
    best = max(BELIEFS, key=lambda belief: rewards[belief].sum())
    return best, float((rewards[best] - rewards[NOTHING]).mean())


def _outcome(followed, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean performance in every group, [G], and how often each of `LONGEST` members is asked, [G, LONGEST]."""
    performance, _, calls = followed
    asked = np.where(np.isnan(performance)[:, None], np.nan, calls[:, None] > np.arange(LONGEST))
    means = np.array([[_mean(v, weight) for v in (performance, *asked.T)] for weight in share.T])
    return means[:, 0], means[:, 1:]


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    seen = ~np.isnan(values)
    total = weight[seen].sum()
    return float((values[seen] * weight[seen]).sum() / total) if total > 0 else 0.0


def _scale(targets: Targets, share: np.ndarray) -> np.ndarray:
    """(intercept, slope) of the scaled performance and cost by the raw ones in every group: float64 [2, G, 2]."""
    result = np.tile(np.array([0.0, 1.0]), (2, share.shape[1], 1))
    for i, name in enumerate(("performance", "cost")):
        if name not in targets.raw:
            continue
        raw, scaled = targets.raw[name], targets.scaled[name]
        seen = ~np.isnan(raw) & ~np.isnan(scaled)
        for g in range(share.shape[1]):
            weight = np.broadcast_to(share[:, g : g + 1], raw.shape)[seen]
            a, b = raw[seen], scaled[seen]
            ma, mb = _mean(a, weight), _mean(b, weight)
            spread = (weight * (a - ma) ** 2).sum()
            slope = (weight * (a - ma) * (b - mb)).sum() / spread if spread > 0 else 0.0
            result[i, g] = mb - slope * ma, slope
    return result

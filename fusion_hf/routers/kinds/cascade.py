"""A cascade: ask cheap candidates first, stop when their agreement is enough, ask a better one otherwise.

The only kind that looks at answers before it decides. What it predicts from the query alone is what the `fusion` router
predicts; on top it learns plans, from logs that hold responses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...errors import UserError
from ..cascade.chains import LONGEST, Rules
from ..cascade.learn import folds_of, learn_plans
from ..cascade.plan import CascadePlan, CascadeStep
from ..chats import Chat
from ..decisions import TIE, Predictions, RoutingDecision, rank
from ..learning.grouping import Grouping, by_label
from ..targets import Targets
from .fusion import FusionRouter, FusionRouterConfig


class CascadeRouterConfig(FusionRouterConfig):
    """Configuration of a `CascadeRouter`; ``options["cascade"]``: number of ``plans``, what is ``believed``."""

    model_type = "fusion_hf-cascade"


@dataclass
class Outlook:
    """What a cascade expects of n queries under every one of P plans, whatever the trade-off.

    Attributes:
        predictions: Of single candidates.
        performance, cost: Of the plans, float64 [n, P]; cost in USD.
        scaled_performance, scaled_cost: The same in units of the task.
        query_shift: What the query says of each learned candidate being right, in log-odds / `plan_spread`, [n, m].
        share: Of the groups, [n, G].
    """

    predictions: Predictions
    performance: np.ndarray
    cost: np.ndarray
    scaled_performance: np.ndarray
    scaled_cost: np.ndarray
    query_shift: np.ndarray
    share: np.ndarray


@dataclass
class PlanChoice:
    """What n queries get.

    Attributes:
        plan: Number of the plan; -1 for a single candidate. int [n].
        single: The best single candidate, a column of the router's candidates, int [n].
        reward: Expected, [n].
    """

    plan: np.ndarray
    single: np.ndarray
    reward: np.ndarray


class CascadeRouter(FusionRouter):
    """Plans over chains of up to four candidates.

    A plan asks its candidates in order and stops as soon as the pattern of agreement makes the best answer so far
    worth more than asking on. Plans are learned for every group of queries (tasks, or clusters where the log does not
    name several) and many weights of cost; which one a query gets follows from the trade-off, the posterior over groups
    and the predicted costs, as a single candidate does in other kinds. Without logged answers, or where no chain pays,
    it is a `fusion` router of these groups.

    Use `plan` and `next` to follow a cascade with live answers; `route` gives the first step.
    """

    config_class = CascadeRouterConfig
    needs_answers = True

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0, calls: int = LONGEST, **options):
        """See `Router.learn`; `Targets.answers` are what is compared.

        `calls` is how many candidates a query may be given to, at most. Raises `UserError`.
        """
        if not isinstance(calls, int) or not 1 <= calls <= LONGEST:
            raise UserError(f"calls: expected 1 to {LONGEST}, found {calls!r}")
        learned, buffers = super().learn(x, targets, seed, **options)
        if targets.answers is None:
            return learned, buffers
        share = cls._head(x, targets, learned, buffers)["tasks"]
        plans, more = learn_plans(x, targets, share, cls._unseen(x, targets, seed, **options), seed, calls)
        return learned | {"cascade": plans}, buffers | more

    @classmethod
    def _groupings(cls, x: np.ndarray, parts, targets: Targets, seed: int) -> list[Grouping]:
        """Labels where there are several; of clusters side by side each would have few queries to learn plans from."""
        if targets.tasks is not None and len(set(targets.tasks)) > 1:
            return [by_label(targets.tasks)]
        return super()._groupings(x, parts, targets, seed)

    @classmethod
    def option_defaults(cls) -> dict:
        """See `Router.option_defaults`."""
        return FusionRouter.option_defaults() | {"calls": LONGEST}

    @classmethod
    def _unseen(cls, x: np.ndarray, targets: Targets, seed: int, **options) -> dict[str, np.ndarray]:
        """What routers that did not see a query expect of single candidates: performance and cost, [n, m]."""
        result = {name: np.full(values.shape, np.nan) for name, values in targets.raw.items() if name != "judge"}
        for held in folds_of(len(x), seed):
            part = targets.subset(np.flatnonzero(~held))
            learned, buffers = super().learn(x[~held], part, seed, **options)
            found = cls._head(x[held], part, learned, buffers)
            for name, values in result.items():
                values[held] = found[name]
        return result

    @classmethod
    def _head(cls, x: np.ndarray, targets: Targets, learned: dict, buffers: dict) -> dict[str, np.ndarray]:
        """`head` of a router that has just been learned, for features x."""
        shapes = {name: [str(b.dtype).removeprefix("torch."), list(b.shape)] for name, b in buffers.items()}
        config = cls.config_class(
            candidates=targets.candidates, options=learned, buffers=shapes, has_cost="cost" in targets.raw,
            has_judge="judge" in targets.raw,
        )  # fmt: skip
        router = cls(config)
        for name, value in buffers.items():
            getattr(router, name).copy_(value)
        with torch.inference_mode():
            return {name: v.double().numpy() for name, v in router.head(torch.from_numpy(x).float()).items()}

    @property
    def has_plans(self) -> bool:
        """Whether any chain was learned."""
        return hasattr(self, "plan_chain")

    @torch.inference_mode()
    def outlook(self, queries: Sequence[str | Chat], embeddings: np.ndarray | None = None) -> Outlook:
        """What is expected of the queries; `pick` chooses from it, for as many trade-offs as wanted."""
        predictions = self.predict(queries, embeddings)
        x = self.features(queries, embeddings)
        output = self.head(x)
        share, n = output["tasks"].double().cpu().numpy(), len(x)
        if not self.has_plans:
            nothing = np.zeros((n, 0))
            return Outlook(predictions, nothing, nothing, nothing, nothing, np.zeros((n, 0)), share)
        chain, asks = self.plan_chain.cpu().numpy(), self.plan_asks.double().cpu().numpy()
        value, scale = self.plan_performance.double().cpu().numpy(), self.plan_scale.double().cpu().numpy()
        cost = np.zeros((n, len(chain)))
        if self.config.has_cost:
            single = output["cost"].double().cpu().numpy()
            for j in range(chain.shape[1]):
                cost += (share @ asks[:, :, j]) * np.where(chain[:, j] < 0, 0.0, single[:, chain[:, j]])
        shift = np.zeros((n, len(self.learned_candidates)))
        if hasattr(self, "shift_weight"):
            shift = np.nan_to_num((x.double() @ self.shift_weight.double() + self.shift_bias.double()).cpu().numpy())
        scaled = share @ (scale[0, :, :1] + scale[0, :, 1:] * value)
        return Outlook(
            predictions, share @ value, cost, scaled, share @ scale[1, :, :1] + (share @ scale[1, :, 1:]) * cost, shift,
            share,
        )  # fmt: skip

    def pick(
        self,
        outlook: Outlook,
        alpha: float = 1.0,
        beta: float = 0.0,
        score: str = "performance",
        *,
        cost_weight: float | None = None,
        max_cost: float | None = None,
        candidates: Sequence[str] | None = None,
    ) -> PlanChoice:
        """The best plan, or single candidate, for every query.

        Args:
            outlook: Of the queries.
            alpha, beta, score: The trade-off; plans are not known to judges, so with ``judge`` single candidates are
                chosen.
            cost_weight: Performance that a USD is worth, in place of alpha and beta, with nothing scaled by task.
            max_cost: USD that all calls of a query together may be expected to cost.
            candidates: Ask these only.

        Raises:
            UserError: Unknown candidate, or no candidate is expected to keep to `max_cost`.
        """
        columns = self.columns_of(candidates)
        predictions, names = outlook.predictions, [self.candidates[c] for c in columns]
        if cost_weight is None:
            reward = predictions.reward(alpha, beta, score)[:, columns]
            plans = alpha * outlook.scaled_performance - (beta * outlook.scaled_cost if beta else 0.0)
        else:
            reward = predictions.performance[:, columns] - (
                cost_weight * predictions.cost[:, columns] if cost_weight else 0.0
            )
            plans = outlook.performance - cost_weight * outlook.cost
        cost = predictions.cost[:, columns]
        if max_cost is not None:
            plans = np.where(outlook.cost <= max_cost, plans, -np.inf)
            reward = np.where(cost <= max_cost, reward, np.nan)
            for i in np.flatnonzero(np.isnan(reward).all(1)):
                raise UserError(
                    f"query {i}: no candidate is expected to cost at most {max_cost:g} USD; the cheapest is expected "
                    f"to cost {np.nanmin(cost[i]):.3g}"
                )
        plans = np.where(self._allowed(names) & (score == "performance"), plans, -np.inf)
        trust = self._optimism(outlook.share, alpha if cost_weight is None else None)
        line = np.arange(len(reward))
        best = rank(reward, cost, names)[:, 0]
        single = reward[line, best]
        if not plans.shape[1]:
            return PlanChoice(np.full(len(line), -1), np.array(columns)[best], single)
        chain = plans.argmax(1)
        better = plans[line, chain] + trust[line, chain] > single + TIE
        return PlanChoice(
            np.where(better, chain, -1), np.array(columns)[best], np.where(better, plans[line, chain], single)
        )

    def _optimism(self, share: np.ndarray, alpha: float | None) -> np.ndarray:
        """By how much single candidates that look best are overrated, at the weight of cost of each plan: [n, P].

        In units of the reward at `alpha`, or of performance (None).
        """
        if not self.has_plans:
            return np.zeros((len(share), 0))
        value = share @ self.plan_optimism.double().cpu().numpy()
        return value if alpha is None else value * alpha * (share @ self.plan_scale[0, :, 1:].double().cpu().numpy())

    def _allowed(self, names: list[str]) -> np.ndarray:
        """Whether every member of a plan is among `names`: bool [P]."""
        if not self.has_plans:
            return np.zeros(0, bool)
        usable = np.array([name in names for name in self.learned_candidates] + [True])  # the last one for no member
        return usable[self.plan_chain.cpu().numpy()].all(1)

    def rules(self, p: int) -> tuple[list[int], Rules]:
        """Columns of the chain of plan p among the learned candidates, and its rules."""
        *right, go, dearer = self.plan_rules[p].double().cpu().numpy()
        return [int(c) for c in self.plan_chain[p] if c >= 0], Rules(np.array(right), go, dearer)

    def shifts(self, p: int, outlook: Outlook) -> tuple[np.ndarray, np.ndarray | None]:
        """What the queries say of each member of plan p, in log-odds, [n, k]; and maps of what its answer says."""
        chain, group = self.rules(p)[0], int(self.plan_group[p])
        believed, spread = self.config.options["cascade"]["believed"], self.plan_spread[group].double().cpu().numpy()
        tables = None
        if hasattr(self, "reply_table"):
            tables = self.reply_table[group].double().cpu().numpy()[chain]
            tables[:, 2] *= believed[1]
        return believed[0] * spread[chain] * outlook.query_shift[:, chain], tables

    def plans(self, outlook: Outlook, choice: PlanChoice) -> list[CascadePlan]:
        """The chosen plans, ready to be followed."""
        known = {int(p): (*self.rules(p), *self.shifts(p, outlook)) for p in np.unique(choice.plan) if p >= 0}
        predictions, result = outlook.predictions, []
        for i, (p, c, reward) in enumerate(zip(choice.plan, choice.single, choice.reward, strict=True)):
            if p < 0:
                usd = None if np.isnan(predictions.cost[i, c]) else float(predictions.cost[i, c])
                expected = float(predictions.performance[i, c]), usd, float(reward)
                result.append(CascadePlan([self.candidates[c]], *expected, [1.0]))
                continue
            chain, rules, shift, tables = known[int(p)]
            asks = outlook.share[i] @ self.plan_asks[:, p, : len(chain)].double().cpu().numpy()
            usd = float(outlook.cost[i, p]) if self.config.has_cost else None
            expected = float(outlook.performance[i, p]), usd, float(reward)
            names, cost_weight = [self.learned_candidates[c] for c in chain], float(self.plan_cost_weight[p])
            result.append(CascadePlan(names, *expected, asks.tolist(), cost_weight, rules, shift[i], tables))
        return result

    def plan(
        self,
        queries: Sequence[str | Chat],
        scenario: str | None = None,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        max_cost: float | None = None,
        candidates: Sequence[str] | None = None,
        embeddings: np.ndarray | None = None,
    ) -> list[CascadePlan]:
        """Whom to ask first for every query, when to stop, and whom to ask otherwise; arguments as in `Router.route`.

        ::

            plans, answers = router.plan(queries, "balance"), [{} for _ in queries]
            steps = router.next(plans, answers)
            while any(step.ask for step in steps):
                for query, step, known in zip(queries, steps, answers):
                    if step.ask:
                        known[step.ask] = read_answer(query, *call(step.ask, query, step.logprobs))
                steps = router.next(plans, answers)
        """
        trade = self.costed_trade_off(scenario, alpha, beta, max_cost)
        outlook = self.outlook(queries, embeddings)
        return self.plans(outlook, self.pick(outlook, **trade, max_cost=max_cost, candidates=candidates))

    @staticmethod
    def next(plans: Sequence[CascadePlan], answers: Sequence[Mapping[str, str | None]]) -> list[CascadeStep]:
        """`CascadePlan.next` of every plan with the answers so far."""
        return [plan.next(known) for plan, known in zip(plans, answers, strict=True)]

    def route(self, queries: Sequence[str | Chat], scenario: str | None = None, **how) -> list[RoutingDecision]:
        """Whom to ask first; see `Router.route`.

        Where a chain is better than any single candidate, ``performance``, ``cost`` and ``reward`` are those of
        following it to its end, ``best`` begins with it, and ``reasons`` tell the plan.
        """
        decisions = super().route(queries, scenario, **how)
        if not self.has_plans or not decisions:
            return decisions
        how.pop("explain", None)
        plans = self.plan(queries, scenario, **how)
        return [d if len(p.chain) == 1 else _first_step(d, p) for d, p in zip(decisions, plans, strict=True)]


def _first_step(single: RoutingDecision, plan: CascadePlan) -> RoutingDecision:
    """The decision to begin with a plan; `single` would be the decision without answers."""
    best = {"performance": plan.performance, "cost": plan.cost, "reward": plan.reward}
    return replace(
        single, candidate=plan.chain[0], **best, runner_up=single.candidate,
        best=[{"candidate": " > ".join(plan.chain)} | best, *single.best[:2]],
        reasons=[*single.reasons, "plan: " + "; ".join(plan.describe())],
    )  # fmt: skip


ROUTER = CascadeRouter

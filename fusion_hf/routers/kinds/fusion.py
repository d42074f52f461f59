"""The task-posterior router: which task does the query come from, and who is good at that task.

``score[q, m] = sum_t p(t|q) (mean[t, m] + beyond[t, q, m])``: nearly all that can be known before an answer is which
task a query belongs to, so that is learned first (see `grouping`), and then, task by task, what is worth knowing beyond
it (see `within_task`). As far as a query is unlike all that was trained on, it is the mean over the whole log instead
(see `unlike`).
"""

import numpy as np
import torch

from ..base import Router
from ..config import RouterConfig
from ..learning.clusters import group_means
from ..learning.grouping import CLUSTER_PRIOR, POWER, Grouping, by_cluster, by_label, expected_scores
from ..learning.ridge import Ridge
from ..learning.unlike import learn_trust
from ..learning.within_task import learn_beyond
from ..targets import Targets
from ._score_table import score_outputs, score_table
from .linear import error, log_cost, smear

FOLDS = 4
CLUSTERS = ((4, 8, 16), (32, 64, 128))  # ways to cluster queries that are tried
COST_PENALTIES = (0.3, 1.0, 10.0)
COST_GAINS = (0.0, 0.25, 0.5, 1.0)


class FusionRouterConfig(RouterConfig):
    """Configuration of a `FusionRouter`; ``options`` holds groups, their ``blocks`` and ``gains``, penalties, and
    ``trust``: intercept and slope of how far groups are trusted (see `unlike.learn_trust`); None for always."""

    model_type = "fusion_hf-fusion"


class FusionRouter(Router):
    """Task posterior, task means, and what a query says beyond its task as far as it pays.

    Groups are the log's tasks or clusters of queries, whichever earn more in cross-validation: so labels may be
    missing, too coarse or too fine. The cost is predicted apart: a ridge on its logarithm, where a query's length
    enters; what of it is used in the scaled cost of the reward is chosen by squared error.
    """

    config_class = FusionRouterConfig

    @classmethod
    def learn(cls, x: np.ndarray, targets: Targets, seed: int = 0):
        """See `Router.learn`."""
        fold = np.random.RandomState(seed).randint(0, FOLDS, len(x))
        parts = [(Ridge(x[fold != f]), fold == f) for f in range(FOLDS) if (fold == f).any() and (fold != f).any()]
        whole = Ridge(x)
        score = targets.scaled["performance"]
        grouping, earned = _choose(cls._groupings(x, parts, targets, seed), parts, x, score)
        places, quantities = score_table(targets)
        gains, content, table = learn_beyond(x, parts, whole, grouping, score, quantities)
        options = {
            "groups": grouping.names, "blocks": grouping.blocks, "gains": gains, "cv_reward": earned, "places": places,
            "trust": learn_trust(x, parts, grouping, score, targets.tasks),
        }  # fmt: skip
        linear, tables = {"tasks": grouping.recognise(whole), "content": content}, {"score": table}
        tables["score_mean"] = group_means(quantities, np.ones((len(x), 1)))[0]
        if "cost" in targets.raw:
            options["cost"], costs, tables["cost_scaled_mean"] = _learn_cost(parts, whole, x, targets, grouping)
            linear |= costs
            tables["cost_mean"] = group_means(targets.scaled["cost"], np.ones((len(x), 1)))[0]
        options["columns"] = [len(bias) for _, bias in linear.values()]
        tables["weight"] = np.concatenate([weight for weight, _ in linear.values()], 1)
        tables["bias"] = np.concatenate([bias for _, bias in linear.values()])
        return options, {n: torch.from_numpy(np.ascontiguousarray(t, np.float32)) for n, t in tables.items()}

    @classmethod
    def _groupings(cls, x: np.ndarray, parts, targets: Targets, seed: int) -> list[Grouping]:
        """What the groups may be, the preferred one first."""
        found = [] if targets.tasks is None else [by_label(targets.tasks)]
        expected = expected_scores(parts, x, targets.scaled["performance"])
        for sizes in CLUSTERS:
            if max(sizes) <= len(x) / 8:
                found.append(by_cluster(x, expected, sizes, targets.embedding, seed))
        return found or [Grouping(["all"], np.ones((len(x), 1)), [1], CLUSTER_PRIOR)]

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``tasks`` [n, groups], the posterior, and ``trust`` [n, 1] in it."""
        options = self.config.options
        likely, content, *costs = torch.addmm(self.bias, x, self.weight).split(options["columns"], 1)
        odds = options.get("trust")
        blocks = likely.split(options["blocks"], 1) if len(options["blocks"]) > 1 else [likely]
        sure = [block.amax(1, keepdim=True) for block in blocks] if odds else []
        # A query unlike all tasks gets the same share of each.
        blocks = [block.clamp(min=0) ** POWER + 1e-9 for block in blocks]
        share = torch.cat([b / (b.sum(1, keepdim=True) * len(blocks)) for b in blocks], 1)
        if len(blocks) > 1:
            score = share @ self.score[:, 0] + content[:, 1:] @ self.score[0, 1:]
        else:
            score = (share[:, :, None] * content[:, None]).flatten(1) @ self.score.flatten(0, 1)
        scaled = share @ self.cost_scaled_mean + costs[1] if costs else None
        result = {"tasks": share}
        if odds:
            mean = sure[0] if len(sure) == 1 else torch.cat(sure, 1).mean(1, keepdim=True)
            result["trust"] = trust = mean.mul_(odds[1]).add_(odds[0]).sigmoid_()
            score = torch.lerp(self.score_mean, score, trust)
            scaled = None if scaled is None else torch.lerp(self.cost_mean, scaled, trust)
        result |= score_outputs(options["places"], score)
        if costs:
            result["cost"], result["cost_scaled"] = costs[0].exp(), scaled
        return result

    def reasons(self, output: dict[str, torch.Tensor]) -> list[list[str]]:
        """See `Router.reasons`; also how far the query is unlike the training queries."""
        lines = super().reasons(output)
        if "trust" in output:
            for line, share in zip(lines, output["trust"][:, 0].tolist(), strict=True):
                if share < 0.5:
                    line.append(f"unlike the training queries ({100 * (1 - share):.0f} %): their overall means count")
        return lines


def _choose(found: list[Grouping], parts, x: np.ndarray, score: np.ndarray) -> tuple[Grouping, float]:
    """The grouping that earns most in cross-validation, and what it earns.

    Against the first one a gain of less than half a standard error does not count.
    """
    rewards = []
    for grouping in found:
        got = np.full(len(x), np.nan)
        for ridge, held in parts:
            share = grouping.share(x[held], *grouping.recognise(ridge, ~held))
            pick = np.nan_to_num(share @ grouping.means(score, ~held), nan=-9).argmax(1)
            got[held] = score[held][np.arange(held.sum()), pick]
        rewards.append(got[~np.isnan(got)])
    earned = [float(r.mean()) if len(r) else 0.0 for r in rewards]
    best = int(np.argmax(earned))
    more = rewards[best] - rewards[0] if len(rewards[best]) == len(rewards[0]) else np.zeros(1)
    if not more.mean() > 0.5 * more.std() / len(more) ** 0.5:
        best = 0
    return found[best], earned[best]


def _learn_cost(parts, whole: Ridge, x: np.ndarray, targets: Targets, grouping: Grouping):
    """Cost in USD by a ridge on its logarithm; scaled cost by task means plus as much beyond as lowers the error.

    Options, (weights, intercepts) of both, and the task means of the scaled cost.
    """
    logs, scaled = log_cost(targets.raw["cost"]), targets.scaled["cost"]
    penalty = min(COST_PENALTIES, key=lambda p: error(parts, x, logs, p))
    weight, bias = whole.solve(logs, penalty)
    losses: dict[tuple[float, float], float] = {}
    for ridge, held in parts:
        share = grouping.share(x[held], *grouping.recognise(ridge, ~held))
        means = grouping.means(scaled, ~held)
        for p in COST_PENALTIES:
            w, b = ridge.solve(grouping.beyond(scaled, means)[~held], p)
            for gain in COST_GAINS:
                off = scaled[held] - share @ means - gain * (x[held] @ w + b)
                losses[p, gain] = losses.get((p, gain), 0.0) + float(np.nansum(off**2))
    p, gain = min(losses, key=losses.get) if losses else (COST_PENALTIES[-1], 0.0)
    means = grouping.means(scaled)
    w, b = whole.solve(grouping.beyond(scaled, means), p)
    linear = {
        "cost": (weight, bias + smear(logs - x @ weight - bias)),
        "cost_scaled": (gain * w, gain * np.nan_to_num(b)),
    }
    return {"log_penalty": penalty, "penalty": p, "gain": gain}, linear, means


ROUTER = FusionRouter

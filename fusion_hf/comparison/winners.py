"""Which configuration to trust on each task: one rule, for `compare` and `autofuse`, from train and validation scores.

Fifty validation queries a task and dozens of configurations: the one that scored best is partly the luckiest one. So
the best logged candidate, by all rows on which nothing was fitted, stays until another configuration is expected to
gain more than half a standard error. What that one gained on a task is shrunk towards what it gained on all tasks, the
more so the less its gains differ from task to task beyond chance. One that scored the same on every query of a task is
no reason to change there.

`benchmarks/README.md` has the cross-validation, on three logs, that chose this rule among others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..logs.rewards import pick
from ..logs.stats import mean
from .systems import Splits, System

CAUTION = 0.5  # standard errors by which an expected gain must exceed zero
DOUBT = 0.02  # added to the variance of differences: fifty equal answers are no proof that the next is equal
BETWEEN = 0.01  # variance of gains from task to task that is assumed for the mean over tasks
LEAST = 1e-4  # variance of gains from task to task that is always allowed


@dataclass(frozen=True)
class Evidence:
    """Scores without any of the test split.

    Attributes:
        task: Task of each of n queries.
        scores: Name of each configuration -> performance, float64 [n]; NaN where it says nothing (not asked, or fitted
            on the query).
        costs: The same in USD.
        incumbents: Names of those that need no proof: logged candidates with scores on all rows.
    """

    task: np.ndarray
    scores: dict[str, np.ndarray]
    costs: dict[str, np.ndarray]
    incumbents: Sequence[str]


@dataclass(frozen=True)
class Winner:
    """What was chosen for a task.

    Attributes:
        system: Name of the configuration.
        incumbent: The best logged candidate, which it replaces where the two differ.
        performance, queries: Mean score of `system`, and on how many queries.
        gain: Expected gain over `incumbent`, shrunk; 0 where it stays.
        gain_se: Its standard error; 0 likewise.
        gain_seen: The gain as it was seen on `gain_queries`.
    """

    system: str
    incumbent: str
    performance: float
    queries: int
    gain: float = 0.0
    gain_se: float = 0.0
    gain_seen: float = 0.0
    gain_queries: int = 0


def choose_by_task(splits: Splits, systems: Mapping[str, System]) -> dict[str, Winner]:
    """The configuration of each task among `systems` that were run on the validation split; test scores are not read.

    Rows of train count for logged candidates, on which nothing was fitted. Routers learned from them, and other logs
    may hold models that did: for those only validation counts.

    Args:
        splits: With a validation split.
        systems: Name -> configuration with `System.validation`.
    """
    train, checked = splits.train, splits.validation
    assert checked is not None
    scores, costs, incumbents = {}, {}, []
    for name, s in systems.items():
        assert s.validation is not None and s.validation_cost is not None
        if s.candidate in train.candidates:
            column = train.candidates.index(s.candidate)
            before = train.performance[:, column], train.cost[:, column]
            incumbents.append(name)
        else:
            before = (np.full(len(train), np.nan),) * 2
        scores[name] = np.concatenate([before[0], s.validation])
        costs[name] = np.concatenate([before[1], s.validation_cost])
    if not incumbents:  # the pool reaches no LLM of the bench itself
        incumbents = [n for n, s in systems.items() if s.candidate]
    return winners(Evidence(np.array([*train.tasks, *checked.tasks]), scores, costs, incumbents))


def winners(evidence: Evidence) -> dict[str, Winner]:
    """The configuration of each task."""
    tasks = sorted(set(evidence.task.tolist()))
    rows = {task: evidence.task == task for task in tasks}
    best = {task: _best(evidence, rows[task]) for task in tasks}
    others = sorted(set(evidence.scores) - set(evidence.incumbents))
    gains = {
        name: [_known(evidence.scores[name][rows[t]] - evidence.scores[best[t]][rows[t]]) for t in tasks]
        for name in others
    }
    expected = {name: shrink(values) for name, values in gains.items()}
    result = {}
    for i, task in enumerate(tasks):
        # (minus what is expected for certain, price, name)
        proven = [
            (CAUTION * error[i] - gain[i], _mean(evidence.costs[name][rows[task]], np.inf), name)
            for name, (gain, error) in expected.items()
            if gains[name][i].any() and gain[i] > CAUTION * error[i]
        ]
        name = min(proven)[2] if proven else best[task]
        scores = _known(evidence.scores[name][rows[task]])
        found = Winner(name, best[task], float(scores.mean()), len(scores))
        if proven:
            gain, error = (float(part[i]) for part in expected[name])
            seen = gains[name][i]
            found = replace(found, gain=gain, gain_se=error, gain_seen=float(seen.mean()), gain_queries=len(seen))
        result[task] = found
    return result


def _best(evidence: Evidence, rows: np.ndarray) -> str:
    """The incumbent candidate with the best mean score; equals: the cheaper, then by name."""
    names = sorted(evidence.incumbents)
    score = np.array([_mean(evidence.scores[n][rows]) for n in names])
    cost = np.array([_mean(evidence.costs[n][rows]) for n in names])
    return names[int(pick(score[None], cost[None], names)[0])]


def shrink(gains: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Expected gain on each task, and its standard error, from the gains seen query by query.

    Empirical Bayes: gains of tasks lie around a common mean; how far is read from how much they differ beyond chance. A
    task without any query gets minus infinity.
    """
    seen = np.array([g.mean() if len(g) else np.nan for g in gains])
    noise = np.array([(g.var() + DOUBT) / len(g) if len(g) else 1.0 for g in gains])
    some = ~np.isnan(seen)
    if not some.any():
        return np.full(len(seen), -np.inf), np.zeros(len(seen))
    weight = 1 / (noise[some] + BETWEEN)
    common = float((seen[some] * weight).sum() / weight.sum())
    between = max(float(((seen[some] - common) ** 2 - noise[some]).mean()), LEAST)
    trust = between / (between + noise)
    expected = np.where(some, common + trust * (np.nan_to_num(seen) - common), -np.inf)
    return expected, np.sqrt(trust * noise)


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _mean(values: np.ndarray, nothing: float = np.nan) -> float:
    value = float(mean(values))
    return nothing if np.isnan(value) else value

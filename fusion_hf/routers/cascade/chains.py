"""Chains of candidates that are asked one after the other, and when to stop: learned from who agreed with whom.

After k answers all that counts is the pattern of their agreement (``ab`` they differ, ``aba`` the third agrees with the
first, …). For every pattern the log tells how often each answer was right, so the best moment to stop at a given
weight of cost follows by backward induction. This file is copied beside checkpoints (see `remote_code`), so it uses
numpy only.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

LONGEST = 4  # candidates in a chain
PATTERNS = (1, 2, 6, 24)  # codes of patterns after 1, 2, … answers; a few of them cannot occur
OFFSET = (0, 1, 3, 9)  # place of the first code in a table of all patterns
SLOTS = sum(PATTERNS)
PRIOR = 3.0  # pseudo-queries that pull what is known of a pattern to the candidate's mean
CONSIDERED = 9  # candidates of which all triples are tried
EXTENDED = 2  # triples that a fourth candidate is tried on, at each weight of cost


def answer_codes(answers: np.ndarray) -> np.ndarray:
    """Answers [n, m] as numbers that are equal where answers are: int [n, m]; unread and missing ones equal nothing."""
    n, m = answers.shape
    result = np.empty((n, m), np.int64)
    for i, row in enumerate(answers):
        seen: dict[str, int] = {}
        result[i] = [seen.setdefault(str(a), len(seen)) if a else -1 - j for j, a in enumerate(row)]
    return result


def first_equal(codes: np.ndarray) -> np.ndarray:
    """Place of the first answer that each answer agrees with (its own, if with none): int [..., k]."""
    result = np.empty(codes.shape, np.int64)
    for j in range(codes.shape[-1]):
        result[..., j] = j
        for i in range(j - 1, -1, -1):
            result[..., j] = np.where(codes[..., j] == codes[..., i], i, result[..., j])
    return result


def pattern_code(first: np.ndarray) -> np.ndarray:
    """Number of the pattern of `first_equal` [..., k]: int [...]. Modulo `PATTERNS` it is that of the first answers."""
    return sum(first[..., j] * PATTERNS[j - 1] for j in range(1, first.shape[-1])) + np.zeros(
        first.shape[:-1], np.int64
    )


def pattern_name(code: int, k: int) -> str:
    """A pattern in letters, such as ``aba``."""
    letters = ""
    for j in range(k):
        first = code // PATTERNS[j - 1] % (j + 1) if j else 0
        letters += letters[first] if first < j else chr(ord("a") + len(set(letters)))
    return letters


@dataclass
class Rules:
    """What to do after each pattern at one weight of cost; a chain of k uses the first few of `SLOTS` patterns.

    Attributes:
        right: Expected performance of each member's answer, [`LONGEST`, `SLOTS`]; 0 of one that is not asked yet.
        go: Expected performance of asking on, [`SLOTS`].
        dearer: USD that asking on is expected to cost more, [`SLOTS`].
    """

    right: np.ndarray
    go: np.ndarray
    dearer: np.ndarray


def tables(codes, performance, cost, fold, folds: int, weight, chains: np.ndarray) -> np.ndarray:
    """Sums over the log by chain, fold and pattern: float64 [C, folds, PATTERNS[k-1], 1 + 2k].

    The last axis is the count, the performance of each member, the cost of each member. A query that lacks a
    measurement of a member is left out for that chain.

    Args:
        codes: Of the answers (`answer_codes`), int [n, m].
        performance, cost: float64 [n, m].
        fold: int [n].
        folds: Their number.
        weight: Of the queries, float64 [n].
        chains: Columns, int [C, k].
    """
    size = PATTERNS[chains.shape[1] - 1]
    result = np.empty((len(chains), folds, size, 1 + 2 * chains.shape[1]))
    for c, chain in enumerate(chains):
        values = np.concatenate([np.ones((len(codes), 1)), performance[:, chain], cost[:, chain]], 1)
        seen = ~np.isnan(values).any(1)
        place = fold * size + pattern_code(first_equal(codes[:, chain]))
        for s in range(values.shape[1]):
            sums = np.bincount(place[seen], weight[seen] * values[seen, s], minlength=folds * size)
            result[c, :, :, s] = sums.reshape(folds, size)
    return result


def _prefix(table: np.ndarray, j: int) -> np.ndarray:
    """Sums by the pattern of the first j answers: [C, PATTERNS[j-1], S] of [C, patterns, S]."""
    return table.reshape(len(table), -1, PATTERNS[j - 1], table.shape[-1]).sum(1)


def learn_rules(table: np.ndarray, cost_weights: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Backward induction, for the patterns after 1, 2, …, k answers: whose answer is best, and whether to ask on.

    Args:
        table: Sums, [C, patterns, 1 + 2k].
        cost_weights: Performance that a USD is worth, [L].

    Returns:
        A dict for each number of answers j: ``right`` [C, patterns, j], and ``member`` (whose is highest), ``go``,
        ``dearer`` and ``on``, each [C, L, patterns].
    """
    k, steps = (table.shape[-1] - 1) // 2, []
    total = table.sum(1)
    mean = total[:, 1:] / np.maximum(total[:, :1], 1e-9)  # [C, 2k]
    shape = (len(table), len(cost_weights), 1)
    value = paid = None
    for j in range(k, 0, -1):
        sums = _prefix(table, j)
        count = sums[..., :1]
        right = (sums[..., 1 : 1 + j] + PRIOR * mean[:, None, :j]) / (count + PRIOR)
        member = np.broadcast_to(right.argmax(-1)[:, None], (*shape[:2], PATTERNS[j - 1]))
        stop = np.broadcast_to(right.max(-1)[:, None], member.shape)
        go, dearer, on = np.full(member.shape, -1.0), np.zeros(member.shape), np.zeros(member.shape, bool)
        if j < k:
            following = _prefix(table, j + 1)[..., 0].reshape(len(table), 1, j + 1, PATTERNS[j - 1]) + 1e-6
            chance = following / following.sum(2, keepdims=True)
            split = (*member.shape[:2], j + 1, PATTERNS[j - 1])
            go = (value.reshape(split) * chance).sum(2)
            next_cost = (sums[..., 1 + k + j] + PRIOR * mean[:, None, k + j]) / (count[..., 0] + PRIOR)
            dearer = (paid.reshape(split) * chance).sum(2) + next_cost[:, None]
            on = go - cost_weights[:, None] * dearer > stop + 1e-12
        value, paid = np.where(on, go, stop), np.where(on, dearer, 0.0)
        steps.append({"right": right, "member": member, "go": go, "dearer": dearer, "on": on})
    return steps[::-1]


def outcome(table: np.ndarray, steps: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of performance and cost [C, L], and count [C], that rules would have had on the queries of `table`."""
    k = len(steps)
    shape = (*steps[0]["member"].shape[:2], table.shape[1])
    performance, cost = np.zeros(shape[:2]), np.zeros(shape[:2])
    going = np.ones(shape, bool)
    for j, step in enumerate(steps):
        cost += (going * table[:, None, :, 1 + k + j]).sum(-1)
        member, on = (np.tile(step[key], (1, 1, shape[2] // PATTERNS[j])) for key in ("member", "on"))
        for i in range(j + 1):
            performance += ((going & ~on & (member == i)) * table[:, None, :, 1 + i]).sum(-1)
        going &= on
    return performance, cost, table[..., 0].sum(1)


def best_chains(
    codes, performance, cost, fold, folds: int, weight, cost_weights: np.ndarray, calls: int = LONGEST
) -> list[list[tuple[int, ...]]]:
    """For 1, 2, … `calls` candidates: the best chain (columns, in order) at each weight, by cross-validation.

    All ordered pairs and triples of useful candidates are tried, and the best triples with a fourth one put in.
    Arguments are as in `tables`. Lengths that the log has too few candidates for are left out.
    """
    candidates, found = useful(performance, cost, weight, cost_weights), []

    def attempt(chains: list[tuple[int, ...]]) -> np.ndarray:
        table = tables(codes, performance, cost, fold, folds, weight, np.array(chains, np.int64))
        score = _held_out(table, cost_weights)
        found.append([chains[i] for i in score.argmax(0)])
        return score

    for k in range(1, min(len(candidates), calls, 3) + 1):
        chains = list(permutations(candidates, k))  # of equal ones the first counts: cheap candidates go first
        score = attempt(chains)
    if min(len(candidates), calls) >= LONGEST:
        good = sorted({int(i) for column in (-score).T for i in column.argsort(kind="stable")[:EXTENDED]})
        longer = {
            (*chains[i][:at], c, *chains[i][at:])
            for i in good
            for c in candidates
            if c not in chains[i]
            for at in range(LONGEST)
        }
        attempt(sorted(longer))
    return found


def _held_out(table: np.ndarray, cost_weights: np.ndarray) -> np.ndarray:
    """Mean of performance - cost_weight * cost on held-out folds: [C, L]; -inf without a measurement."""
    whole, total, count = table.sum(1), 0.0, 0.0
    for f in range(table.shape[1]):
        performance, cost, n = outcome(table[:, f], learn_rules(whole - table[:, f], cost_weights))
        total, count = total + performance - cost_weights * cost, count + n[:, None]
    return np.where(count > 0, total / np.maximum(count, 1e-9), -np.inf)


def by_worth(performance, cost, weight, cost_weight: float) -> list[int]:
    """Columns of the candidates that were measured, the one with the highest performance - cost_weight * cost first."""
    seen = ~np.isnan(performance) & ~np.isnan(cost)
    total = (seen * weight[:, None]).sum(0)
    value = np.where(seen, performance - cost_weight * cost, 0) * weight[:, None]
    order = (-value.sum(0) / np.maximum(total, 1e-12)).argsort(kind="stable")
    return [int(c) for c in order if total[c] > 0]


def useful(performance, cost, weight, cost_weights: np.ndarray) -> list[int]:
    """At most `CONSIDERED` columns, the cheapest first: the best at every weight, then the next best, and so on."""
    seen = ~np.isnan(performance) & ~np.isnan(cost)
    with np.errstate(invalid="ignore"):
        mean, price = (
            (np.where(seen, v, 0) * weight[:, None]).sum(0) / (seen * weight[:, None]).sum(0)
            for v in (performance, cost)
        )
    value = np.nan_to_num(mean - cost_weights[:, None] * price, nan=-np.inf)  # [L, m]
    ranks = (-value).argsort(1, kind="stable")
    order = dict.fromkeys(int(c) for c in ranks.T.ravel() if not np.isnan(mean[c]))
    return sorted(list(order)[:CONSIDERED], key=lambda c: (price[c], c))


def rules_of(codes, performance, cost, weight, chain: tuple[int, ...], cost_weight: float) -> Rules:
    """The rules of one chain at one weight of cost, learned from these queries."""
    fold = np.zeros(len(codes), np.int64)
    table = tables(codes, performance, cost, fold, 1, weight, np.array([chain], np.int64))[:, 0]
    rules = Rules(np.zeros((LONGEST, SLOTS)), *np.zeros((2, SLOTS)))
    for j, step in enumerate(learn_rules(table, np.array([cost_weight]))):
        place = slice(OFFSET[j], OFFSET[j] + PATTERNS[j])
        rules.right[: j + 1, place] = step["right"][0].T
        rules.go[place], rules.dearer[place] = step["go"][0, 0], step["dearer"][0, 0]
    return rules


def logit(p):
    p = np.clip(p, 0.005, 0.995)
    return np.log(p / (1 - p))


def best_answer(rules: Rules, slot, known):
    """(place of the answer that is most likely right, how likely), each [n], for patterns `slot` [n].

    `known` [n, j] shifts the log-odds of each of the j answers so far.
    """
    odds = logit(rules.right[: known.shape[1], slot].T) + known
    member = odds.argmax(1)
    return member, 1 / (1 + np.exp(-odds[np.arange(len(odds)), member]))


def is_enough(rules: Rules, cost_weight: float, slot, stop, unknown):
    """Whether the best answer so far, which is right with a chance of `stop`, is worth more than asking on.

    `unknown` shifts the log-odds that the last member of the chain is right.
    """
    go = 1 / (1 + np.exp(-logit(rules.go[slot]) - unknown))
    return stop >= go - cost_weight * rules.dearer[slot] - 1e-12


def walk(rules: Rules, cost_weight: float, codes: np.ndarray, query_shift: np.ndarray, answer_shift: np.ndarray):
    """Follow the rules on logged answers: (place of the answer that is returned, number of calls), int [n] each.

    Args:
        rules: Of the chain.
        cost_weight: Performance that a USD is worth.
        codes: Of the answers of the chain's members, int [n, k].
        query_shift: What the query says about each member: shift of the log-odds that it is right, [n, k].
        answer_shift: What its answer says, [n, k].
    """
    n, k = codes.shape
    code = pattern_code(first_equal(codes))
    place, calls, going = np.zeros(n, np.int64), np.zeros(n, np.int64), np.ones(n, bool)
    for j in range(k):
        slot = OFFSET[j] + code % PATTERNS[j]
        member, stop = best_answer(rules, slot, query_shift[:, : j + 1] + answer_shift[:, : j + 1])
        enough = is_enough(rules, cost_weight, slot, stop, query_shift[:, -1]) if j < k - 1 else np.ones(n, bool)
        calls += going
        place = np.where(going & enough, member, place)
        going &= ~enough
    return place, calls

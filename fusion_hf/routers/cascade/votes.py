"""Votes: cheap candidates are asked until enough of them agree, and the best one where they do not.

Rules that nobody has to estimate: which pattern of agreement is enough is given, so that a few hundred of them can be
compared on a log on which thresholds cannot be learned well. Consistency of answers as the sign to stop, as in "Large
Language Model Cascades with Mixture of Thoughts Representations" (arXiv 2310.03094), here over several LLMs. This file
is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np

from .chains import LONGEST, OFFSET, PATTERNS, Rules, by_worth, pattern_name

QUORUMS = {2: (2,), 3: (2, 3)}  # by the number of voters: how many of them have to agree
SURE = 0.9  # performance below the one that asking on is given


def possible_votes(
    performance, cost, weight, candidates: list[int], calls: int = LONGEST
) -> list[tuple[tuple[int, ...], int]]:
    """(chain, quorum) of every vote of these candidates that are cheaper than the best one, which comes last.

    Args:
        performance, cost: float64 [n, m].
        weight: Of the queries, float64 [n].
        candidates: Columns that may be asked, the cheapest first.
        calls: Candidates in a chain, at most.
    """
    best, seen = by_worth(performance, cost, weight, 0.0)[:1], ~np.isnan(cost)
    if not best:
        return []
    mean = (np.where(seen, cost, 0) * weight[:, None]).sum(0) / np.maximum((seen * weight[:, None]).sum(0), 1e-12)
    voters = [c for c in candidates if mean[c] < mean[best[0]]]
    return [
        ((*some, *best), quorum)
        for k, quorums in QUORUMS.items()
        if k < calls
        for some in combinations(voters, k)
        for quorum in quorums
    ]


def vote_rules(rules: Rules, members: int, quorum: int) -> Rules:
    """The rules of a chain of so many members, changed so that its first ones decide by vote."""
    right, go = rules.right.copy(), rules.go.copy()
    for k in range(1, members + 1):
        for code in range(PATTERNS[k - 1]):
            slot, votes = OFFSET[k - 1] + code, pattern_name(code, k)
            if k == members:
                agreed = np.arange(members) == k - 1
            else:
                most = max(votes, key=votes.count)
                agreed = np.array([v == most for v in votes])
                enough = agreed.sum() >= quorum
                go[slot] = 0.0 if enough else 1.0
                if not enough:
                    right[:, slot] = np.minimum(right[:, slot], SURE)
                    continue
            right[:k, slot] = np.where(agreed, right[:k, slot], 0.0)
    return replace(rules, right=right, go=go, dearer=np.zeros_like(rules.dearer))

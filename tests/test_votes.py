"""Votes among cheap candidates: which there are, how they are followed, and that they become plans."""

import numpy as np
from test_cascade import SAID, TEST, TRAIN

from fusion_hf.routers import fit_router
from fusion_hf.routers.cascade import chains, learn
from fusion_hf.routers.cascade.votes import possible_votes, vote_rules


def test_votes_among_cheap_candidates():
    """On a log too short for thresholds, a vote is still found, and followed as it says, live and replayed."""
    performance, cost, weight = TRAIN.performance, TRAIN.cost, np.ones(len(TRAIN))
    votes = possible_votes(performance, cost, weight, [0, 1, 3, 2])
    assert ((0, 1, 2), 2) in votes and ((0, 1, 3, 2), 2) in votes and ((0, 1, 3, 2), 3) in votes and len(votes) == 5
    assert not possible_votes(performance, cost, weight, [0, 1, 3, 2], calls=2)
    assert not possible_votes(performance, np.zeros_like(cost), weight, [0, 1, 3, 2])  # nothing is cheaper
    codes = chains.answer_codes(SAID)
    for chain, quorum in votes:
        learned = chains.rules_of(codes, performance, cost, weight, chain, 0.0)
        rules, nothing = vote_rules(learned, len(chain), quorum), np.zeros((len(codes), len(chain)))
        place, calls = chains.walk(rules, 0.0, codes[:, chain], nothing, nothing)
        for row, p, k in zip(SAID[:, chain], place, calls, strict=True):
            most = max(list(row[:k]).count(a) for a in row[:k])
            early = [max(list(row[:j]).count(a) for a in row[:j]) >= quorum for j in range(1, len(chain))]
            assert k == (early.index(True) + 1 if True in early else len(chain))
            assert p == k - 1 if k == len(chain) else (list(row[:k]).count(row[p]) == most == quorum)


def test_a_vote_is_a_plan_where_no_chain_was_found(monkeypatch):
    few = TRAIN.subset(np.arange(120))
    monkeypatch.setattr(learn, "CAUTION", 1e9)
    monkeypatch.setattr(learn, "NATURAL", 1)
    router = fit_router("cascade", few, encoder="none", answers=SAID[:120])
    choice = router.pick(router.outlook(TEST.queries), cost_weight=30.0)
    plan = next(p for p in router.plans(router.outlook(TEST.queries), choice) if len(p.chain) == 3)
    first, second, last = plan.chain
    assert last == "cow" and plan.next({}).ask == first
    agreed = plan.next({first: "yes", second: "yes"})
    assert agreed.ask is None and agreed.answer == "yes" and agreed.confidence > 0.5
    assert plan.next({first: "yes", second: "no 1"}).ask == last
    assert plan.next({first: "yes", second: "no 1", last: "no 2"}).candidate == last
    assert plan.next({first: None, second: "no 1", last: None}).candidate == second  # the only one that answered

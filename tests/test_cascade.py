"""Cascades: patterns of agreement, stopping rules, plans followed step by step, on logs with known structure."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.schema import query_id, rows_to_table, validate
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.cascade import chains
from fusion_hf.routers.cascade.answers import log_answers
from fusion_hf.routers.cascade.replay import AnsweredLog, replay
from fusion_hf.routers.cascade.replies import Answer, apply_replies, fit_replies, reply_features
from fusion_hf.routers.measuring.cascade_report import evaluate_cascade, format_cascade
from fusion_hf.routers.measuring.operating_points import cheapest, cost_share

NAMES = ["ant", "bee", "cow", "dog"]
RIGHT = {"sums": (0.8, 0.8, 0.97, 0.5), "words": (0.5, 0.75, 0.97, 0.75)}  # by task, of each candidate
USD = np.array([1e-4, 2e-4, 5e-3, 3e-4])
TRADE = {"alpha": 0.9, "beta": 0.1}  # chains pay under it


def answered(n=300, seed=0, split="train") -> tuple[RoutingData, np.ndarray]:
    """Two tasks; ant, bee and dog err independently, each in its own way, and cow is nearly always right, but dear."""
    rng = np.random.default_rng([seed, split == "train"])
    tasks = [("sums", "words")[i % 2] for i in range(n)]
    queries = [
        f"{rng.integers(999)} + {rng.integers(999)}?" if t == "sums" else f"Who wrote the {i} letters of {i + 7}?"
        for i, t in enumerate(tasks)
    ]
    right = rng.random((n, 4)) < np.array([RIGHT[t] for t in tasks])
    wrong = rng.integers(0, 4, (n, 4))
    answers = np.array(
        [["yes" if r else f"no {w}" for r, w in zip(*row, strict=True)] for row in zip(right, wrong, strict=True)],
        object,
    )
    nothing = np.full((n, 4), np.nan)
    ids = [query_id(t, f"{split}-{i}", q) for i, (t, q) in enumerate(zip(tasks, queries, strict=True))]
    cost = USD * (1 + 0.1 * rng.random((n, 1)))
    return RoutingData(ids, queries, tasks, list(NAMES), right.astype(float), cost, nothing), answers


TRAIN, SAID = answered()
TEST, TEST_SAID = answered(split="test")


@pytest.fixture(scope="module")
def router():
    return fit_router("cascade", TRAIN, encoder="none", answers=SAID)


@pytest.fixture(scope="module")
def outlook(router):
    return router.outlook(TEST.queries)


def follow(plan, row):
    """(answer, candidate, names asked) of a plan on one row of answers, step by step."""
    known, step = {}, plan.next({})
    while step.ask:
        known[step.ask] = row[NAMES.index(step.ask)]
        step = plan.next(known)
    return step.answer, step.candidate, list(known)


def test_patterns_have_names():
    assert [chains.pattern_name(c, 2) for c in range(2)] == ["aa", "ab"]
    for said in itertools.product("xyz", repeat=4):
        codes = chains.answer_codes(np.array([said], object))
        code = int(chains.pattern_code(chains.first_equal(codes))[0])
        letters = {}
        name = "".join(letters.setdefault(s, chr(97 + len(letters))) for s in said)
        assert chains.pattern_name(code, 4) == name
        # A code says what the first answers looked like, too.
        assert chains.pattern_name(code % chains.PATTERNS[2], 3) == name[:3]
        assert chains.pattern_name(code % chains.PATTERNS[1], 2) == name[:2]


def test_unread_and_missing_answers_agree_with_nothing():
    codes = chains.answer_codes(np.array([["", "", None, None, "x", "x"]], object))[0]
    assert len(set(codes[:4])) == 4 and codes[4] == codes[5] and codes[4] not in codes[:4]


@pytest.mark.parametrize("price", [0.0, 20.0, 60.0, 200.0, 3000.0])
@pytest.mark.parametrize("chain", [(0, 1), (0, 2), (1, 0, 2)])
def test_no_rule_is_better_than_the_learned_ones(monkeypatch, chain, price):
    """Backward induction against every possible policy, on the log it is learned from."""
    monkeypatch.setattr(chains, "PRIOR", 1e-9)
    codes, n, k = chains.answer_codes(SAID), len(SAID), len(chain)
    table = chains.tables(codes, TRAIN.performance, TRAIN.cost, np.zeros(n, int), 1, np.ones(n), np.array([chain]))[
        :, 0
    ]
    performance, cost, count = chains.outcome(table, chains.learn_rules(table, np.array([price])))
    got = (performance - price * cost)[0, 0] / count[0]
    first = chains.first_equal(codes[:, list(chain)])
    names = [["".join(map(str, row[: j + 1])) for row in first] for j in range(k)]
    paid = np.cumsum(TRAIN.cost[:, list(chain)], 1)

    def best(rows, j):  # of all policies from step j on, for rows that show the same pattern so far
        stop = max(TRAIN.performance[rows, chain[i]].sum() for i in range(j + 1)) - price * paid[rows, j].sum()
        if j == k - 1:
            return stop
        groups = {}
        for row in rows:
            groups.setdefault(names[j + 1][row], []).append(row)
        return max(stop, sum(best(g, j + 1) for g in groups.values()))

    assert got == pytest.approx(best(list(range(n)), 0) / n, abs=1e-9)


def test_walk_does_what_the_tables_say():
    codes, n, chain, price = chains.answer_codes(SAID), len(SAID), (0, 1, 2), 20.0
    rules = chains.rules_of(codes, TRAIN.performance, TRAIN.cost, np.ones(n), chain, price)
    nothing = np.zeros((n, 3))
    place, calls = chains.walk(rules, price, codes[:, chain], nothing, nothing)
    table = chains.tables(codes, TRAIN.performance, TRAIN.cost, np.zeros(n, int), 1, np.ones(n), np.array([chain]))[
        :, 0
    ]
    performance, cost, _ = chains.outcome(table, chains.learn_rules(table, np.array([price])))
    assert TRAIN.performance[np.arange(n), np.array(chain)[place]].sum() == pytest.approx(performance[0, 0])
    assert sum(TRAIN.cost[i, chain[:c]].sum() for i, c in enumerate(calls)) == pytest.approx(cost[0, 0])
    assert set(calls) == {2, 3}  # both that agree are enough, both that differ are not


def test_agreement_reaches_the_dear_ones_quality_for_less(router):
    log, outlook = AnsweredLog(TEST, TEST_SAID, router), router.outlook(TEST.queries)
    singles = TEST.performance.mean(0)
    choice = router.pick(outlook, cost_weight=5.0)
    found = replay(router, outlook, choice, log)
    assert (choice.plan >= 0).mean() > 0.9
    assert found.performance.mean() > 0.99 * singles[2]
    assert found.cost.mean() < 0.75 * TEST.cost[:, 2].mean()
    # Without looking at answers nothing reaches that for less.
    alone = fit_router("fusion", TRAIN, encoder="none").predict(TEST.queries)
    line = np.arange(len(TEST))
    for price in (1.0, 5.0, 20.0, 50.0, 100.0):
        picks = (alone.performance - price * alone.cost).argmax(1)
        if TEST.performance[line, picks].mean() > 0.99 * singles[2]:
            assert TEST.cost[line, picks].mean() > 1.2 * found.cost.mean()


def test_a_vote_among_the_best_under_a_budget_is_a_plan():
    """Three candidates of equal quality and price: the majority is better than any, and asked for within a budget."""
    rng = np.random.default_rng(1)
    data, _ = answered(300)
    right = rng.random((300, 4)) < [0.7, 0.7, 0.7, 0.1]
    answers = np.where(right, "yes", "no").astype(object)
    answers[:, 3] = "?"
    data = RoutingData(
        data.query_ids, data.queries, data.tasks, NAMES, right.astype(float), np.full((300, 4), 1e-3), data.judge
    )
    router = fit_router("cascade", data, encoder="none", answers=answers)
    plans = router.plan(data.queries, max_cost=3.5e-3)
    assert np.mean([len(p.chain) == 3 for p in plans]) > 0.9 and all(p.cost <= 3.5e-3 for p in plans)
    plan = next(p for p in plans if len(p.chain) == 3)
    for said in itertools.product(["yes", "no"], repeat=3):
        known = dict(zip(plan.chain, said, strict=True))
        first, second, third = plan.chain
        step = plan.next(known)
        assert step.answer == max(said, key=said.count)
        # Two that agree have won the vote, so the third is not asked.
        assert (
            plan.next({first: "yes", second: "yes"}).ask is None
            and plan.next({first: "yes", second: "no"}).ask == third
        )
    assert all(len(p.chain) == 1 for p in router.plan(data.queries, max_cost=1.5e-3))


@pytest.mark.parametrize("price", [0.0, 3.0, 30.0, 300.0])
def test_replay_is_the_plan_step_by_step(router, outlook, price):
    choice = router.pick(outlook, cost_weight=price)
    found = replay(router, outlook, choice, AnsweredLog(TEST, TEST_SAID, router))
    for i, plan in enumerate(router.plans(outlook, choice)):
        _, candidate, asked = follow(plan, TEST_SAID[i])
        assert asked == plan.chain[: len(asked)] and len(asked) == found.calls[i]
        assert TEST.performance[i, NAMES.index(candidate)] == found.performance[i]
        assert sum(TEST.cost[i, NAMES.index(a)] for a in asked) == pytest.approx(found.cost[i])


def test_what_a_plan_promises_is_what_comes(router, outlook):
    for price in (3.0, 30.0):
        choice = router.pick(outlook, cost_weight=price)
        plans = router.plans(outlook, choice)
        found = replay(router, outlook, choice, AnsweredLog(TEST, TEST_SAID, router))
        assert np.mean([p.performance for p in plans]) == pytest.approx(found.performance.mean(), abs=0.04)
        assert np.mean([p.cost for p in plans]) == pytest.approx(found.cost.mean(), rel=0.15)
        assert np.mean([sum(p.asks) for p in plans]) == pytest.approx(found.calls.mean(), rel=0.1)


def test_scenarios_budgets_and_candidates(router):
    def spent(**how):
        return sum(p.cost for p in router.plan(TEST.queries, **how))

    assert spent(**TRADE) >= spent(scenario="balance") >= spent(scenario="cost") > 0
    assert all(p.cost <= 2e-3 for p in router.plan(TEST.queries, max_cost=2e-3))
    some = router.plan(TEST.queries, **TRADE, candidates=["ant", "bee", "dog"])
    assert {name for p in some for name in p.chain} <= {"ant", "bee", "dog"}
    with pytest.raises(UserError, match="no candidate is expected to cost at most 1e-09"):
        router.plan(TEST.queries, max_cost=1e-9)
    with pytest.raises(UserError, match="this router knows ant, bee, cow, dog"):
        router.plan(TEST.queries, candidates=["cat"])
    assert router.plan([]) == [] and router.route([]) == []


def test_route_gives_the_first_step_and_tells_the_plan(router):
    plans, decisions = router.plan(TEST.queries, **TRADE), router.route(TEST.queries, **TRADE, explain=True)
    assert any(len(p.chain) > 1 for p in plans)
    for plan, decision in zip(plans, decisions, strict=True):
        assert decision.candidate == plan.chain[0]
        assert (decision.performance, decision.cost) == pytest.approx((plan.performance, plan.cost))
        if len(plan.chain) > 1:
            assert decision.best[0]["candidate"] == " > ".join(plan.chain)
            assert "plan: ask" in decision.explain() and "after ab: ask cow" in decision.explain()
    json.dumps([p.to_dict() for p in plans])


def test_a_failed_call_is_not_an_answer(router):
    plan = next(p for p in router.plan(TEST.queries, **TRADE) if len(p.chain) == 3)
    a, b, c = plan.chain
    assert plan.next({a: None}).ask == b and plan.next({a: None, b: "x"}).ask == c
    assert plan.next({a: "x", b: None, c: "y"}).candidate in (a, c)
    nobody = plan.next({a: None, b: None, c: None})
    assert nobody.ask is None and nobody.answer is None and nobody.candidate is None
    assert plan.next({a: "", b: ""}).ask == c  # two that could not be read do not agree
    for wrong in ({b: "x"}, {a: "x", "cat": "y"}):
        with pytest.raises(UserError, match="expected answers of the first members"):
            plan.next(wrong)


def test_without_answers_it_is_the_fusion_router():
    plain, cascade = (fit_router(kind, TRAIN, encoder="none") for kind in ("fusion", "cascade"))
    for scenario in ("performance", "balance", "cost"):
        a, b = plain.route(TEST.queries, scenario), cascade.route(TEST.queries, scenario)
        assert [d.to_dict() for d in a] == [d.to_dict() for d in b]
    assert not cascade.has_plans and all(len(p.chain) == 1 for p in cascade.plan(TEST.queries))


def test_plans_are_learned_by_task_even_where_clusters_choose_single_candidates_better():
    performance, sums = TRAIN.performance.copy(), np.array(TRAIN.tasks) == "sums"
    performance[:, 0], performance[:, 3], performance[::5, 2] = sums, ~sums, 0.0
    halves = replace(TRAIN, tasks=[("x", "y")[i // 150] for i in range(300)], performance=performance)  # empty labels
    assert fit_router("fusion", halves, encoder="none").config.options["blocks"] == [4, 8, 16]
    assert fit_router("cascade", halves, encoder="none", answers=SAID).config.options["groups"] == ["x", "y"]
    one = replace(halves, tasks=["all"] * 300)
    assert fit_router("cascade", one, encoder="none", answers=SAID).config.options["groups"] != ["all"]


def test_answers_that_say_nothing_teach_no_chain():
    noise = np.random.default_rng(2).integers(0, 3, SAID.shape).astype(str).astype(object)
    router = fit_router("cascade", TRAIN, encoder="none", answers=noise)
    log, outlook = AnsweredLog(TEST, noise, router), router.outlook(TEST.queries)
    for price in (1.0, 10.0, 100.0):
        choice = router.pick(outlook, cost_weight=price)
        found = replay(router, outlook, choice, log)
        picks = outlook.predictions.performance - price * outlook.predictions.cost
        line, best = np.arange(len(TEST)), picks.argmax(1)
        alone = TEST.performance[line, best] - price * TEST.cost[line, best]
        gap = found.performance - price * found.cost - alone
        assert gap.mean() > -2 * gap.std() / len(gap) ** 0.5 - 1e-9


def test_order_of_rows_and_candidates_is_irrelevant(router, outlook):
    rows, columns = np.random.default_rng(1).permutation(len(TRAIN)), [2, 0, 3, 1]
    shuffled = TRAIN.subset(rows).select([NAMES[c] for c in columns])
    other = fit_router("cascade", shuffled, encoder="none", answers=SAID[rows][:, columns])
    for price in (3.0, 30.0):
        one, two = router.pick(outlook, cost_weight=price), other.pick(other.outlook(TEST.queries), cost_weight=price)
        assert [p.chain for p in router.plans(outlook, one)] == [
            p.chain for p in other.plans(other.outlook(TEST.queries), two)
        ]


def test_missing_scores_and_answers_are_not_zeros():
    rng = np.random.default_rng(3)
    holes = rng.random(SAID.shape) < 0.2
    said = np.where(holes, None, SAID)
    data = RoutingData(
        TRAIN.query_ids, TRAIN.queries, TRAIN.tasks, NAMES, np.where(holes, np.nan, TRAIN.performance),
        np.where(holes, np.nan, TRAIN.cost), TRAIN.judge,
    )  # fmt: skip
    router = fit_router("cascade", data, encoder="none", answers=said)
    plans = [p for p in router.plan(TEST.queries, **TRADE) if len(p.chain) > 1]
    assert plans and np.mean([p.performance for p in plans]) > 0.88  # a hole read as zero would take a fifth off


def test_saved_loaded_and_followed_without_our_package(router, tmp_path):
    router.save_pretrained(tmp_path / "router")
    assert not [p for p in (tmp_path / "router").iterdir() if p.suffix in (".bin", ".pkl", ".pt")]
    loaded = load_router(tmp_path / "router")
    for one, two in zip(*(r.plan(TEST.queries, **TRADE) for r in (router, loaded)), strict=True):
        assert one.to_dict() == two.to_dict()
    (tmp_path / "run.py").write_text(SCRIPT)
    (tmp_path / "in.json").write_text(
        json.dumps([TEST.queries[:40], [dict(zip(NAMES, r, strict=True)) for r in TEST_SAID[:40]]])
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-I", "run.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "out.json").read_text())
    for i, plan in enumerate(router.plan(TEST.queries[:40], **TRADE)):
        assert found[i] == list(follow(plan, TEST_SAID[i]))


SCRIPT = """
import json, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fusion_hf":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
from transformers import AutoModel
queries, said = json.load(open("in.json"))
router = AutoModel.from_pretrained("router", trust_remote_code=True)
plans, answers = router.plan(queries, alpha=0.9, beta=0.1), [{} for _ in queries]
steps = router.next(plans, answers)
while any(step.ask for step in steps):
    for step, known, row in zip(steps, answers, said):
        if step.ask:
            known[step.ask] = row[step.ask]
    steps = router.next(plans, answers)
json.dump([[s.answer, s.candidate, list(a)] for s, a in zip(steps, answers)], open("out.json", "w"))
"""


def test_what_an_answer_alone_says():
    rng = np.random.default_rng(4)
    answers = [
        Answer.of(a, "x" * n) for a, n in zip(rng.choice(["A", "B"], 600), rng.integers(5, 300, 600), strict=True)
    ]
    is_a = np.array([a == "A" for a in answers])
    right = (rng.random(600) < np.where(is_a, 0.9, 0.5)).astype(float)
    features, odds = reply_features(answers)[:, None], np.full((600, 1), np.log(0.7 / 0.3))
    table = fit_replies(features, right[:, None], odds, np.ones(600))
    said = apply_replies(table[0], features[:, 0])
    chance = 1 / (1 + np.exp(-odds[:, 0] - said))
    assert chance[is_a].mean() == pytest.approx(0.9, abs=0.05) and chance[~is_a].mean() == pytest.approx(0.5, abs=0.07)
    # Of a bare string only the answer itself is known; of a missing one nothing.
    alone = apply_replies(table[0], reply_features(["A", None]))
    assert alone[0] > 0.1 and alone[1] == 0
    assert (fit_replies(features, np.full((600, 1), np.nan), odds, np.ones(600)) == 0).all()


def test_what_is_written_is_learned_from_all_candidates():
    """A candidate with three answers of its own is judged by what holds for the others."""
    rng = np.random.default_rng(5)
    answers = np.array([[Answer.of(rng.choice(["['a']", '["a"]']), "x") for _ in range(3)] for _ in range(100)], object)
    right = np.array([[float(a == "['a']") for a in row] for row in answers])
    right[3:, 2] = np.nan
    features = np.stack([reply_features(column) for column in answers.T], 1)
    tables = fit_replies(features, right, np.zeros((100, 3)), np.ones(100))
    good, bad = (apply_replies(tables[2], reply_features([Answer.of(a, "x")]))[0] for a in ("['b']", '["b"]'))
    assert good > 1 > -1 > bad


def test_the_answer_is_taken_that_is_written_like_right_ones():
    """Three candidates never agree; whoever writes a literal with single quotes is right."""
    rng = np.random.default_rng(6)
    data, _ = answered(200)
    who = rng.integers(0, 3, 200)
    answers = np.array(
        [[f"['{i}{c}']" if c == who[i] else f'["{i}{c}"]' for c in range(4)] for i in range(200)], object
    )
    for i, c in np.ndindex(answers.shape):
        answers[i, c] = Answer.of(answers[i, c], "an answer")
    right = (np.arange(4) == who[:, None]).astype(float)
    data = RoutingData(data.query_ids, data.queries, data.tasks, data.candidates, right, np.zeros((200, 4)), data.judge)
    half, other = np.arange(100), np.arange(100, 200)
    router = fit_router("cascade", data.subset(half), encoder="none", answers=answers[half])
    outlook = router.outlook(data.subset(other).queries)
    found = replay(router, outlook, router.pick(outlook), AnsweredLog(data.subset(other), answers[other], router))
    assert right[other].mean(0).max() < 0.5 and found.performance.mean() > 0.95
    for i, plan in zip(other[:20], router.plans(outlook, router.pick(outlook))[:20], strict=True):  # live, the same
        known: dict = {}
        while (step := plan.next(known)).ask:
            known[step.ask] = answers[i, data.candidates.index(step.ask)]
        assert step.answer == f"['{i}{who[i]}']"


def test_calls_are_limited():
    router = fit_router("cascade", TRAIN, encoder="none", answers=SAID, calls=3)
    assert (router.plan_chain >= 0).sum(1).max() == 3
    assert router.config.training["settings"]["option"]["calls"] == 3
    alone = fit_router("cascade", TRAIN, encoder="none", answers=SAID, calls=1)
    assert not alone.has_plans
    for wrong in (0, 5, 2.5):
        with pytest.raises(UserError, match="calls: expected 1 to 4"):
            fit_router("cascade", TRAIN, encoder="none", answers=SAID, calls=wrong)


def test_a_plan_is_measured_against_what_single_candidates_bring_and_not_against_what_is_hoped_of_them(router):
    assert router.plan_optimism.shape == router.plan_performance.shape and (router.plan_optimism >= 0).all()
    outlook = router.outlook(TEST.queries)
    assert (router.pick(outlook, **TRADE).plan >= 0).all()
    kept = router.plan_optimism.clone()
    router.plan_optimism -= 1  # as if single candidates were underrated
    assert (router.pick(outlook, **TRADE).plan < 0).all()
    router.plan_optimism.copy_(kept)


def test_figures_of_a_cascade(router):
    found = evaluate_cascade(router, TEST, TRAIN, TEST_SAID)
    assert set(found["scenarios"]) == {"performance", "balance", "cost"} and found["unmeasured"] == 0
    for s in found["scenarios"].values():
        assert s["ci95"][0] <= s["reward"] <= s["ci95"][1] and s["calls"] >= 1
    assert found["cost_share_at"]["0.99"]["cost_share"] < 0.75 and 0 < found["aiq"] <= 1
    text = format_cascade(json.loads(json.dumps(found, allow_nan=False)))
    assert "| balance" in text and "99 %" in text
    with pytest.raises(UserError, match="expected answers of shape"):
        evaluate_cascade(router, TEST, TRAIN, TEST_SAID[:3])
    with pytest.raises(UserError, match="the log has nothing of ant"):
        evaluate_cascade(router, TEST.select(["bee", "cow", "dog"]), TRAIN, TEST_SAID[:, 1:])


def rows_of(data, said, split):
    """Log rows whose responses are the answers."""
    return validate(
        rows_to_table(
            [
                {"query_id": data.query_ids[i], "task": data.tasks[i], "source_id": f"{split}-{i}", "llm": name,
                 "query": data.queries[i], "ground_truth": ["yes"], "metric": "cem", "mode": "direct",
                 "response": said[i, j], "performance": data.performance[i, j], "cost": data.cost[i, j]}
                for i in range(len(data))
                for j, name in enumerate(NAMES)
            ]
        )
    )  # fmt: skip


def test_commands_train_measure_and_calibrate(tmp_path, capsys):
    bench, out = str(tmp_path / "bench"), str(tmp_path / "router")
    write_bench({"train": rows_of(TRAIN, SAID, "train"), "test": rows_of(TEST, TEST_SAID, "test")}, bench)
    assert main(["train-router", bench, "--kind", "cascade", "--encoder", "none", "--out", out]) == 0
    assert load_router(out).has_plans
    assert main(["eval-router", out, bench, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert "| cascade" in capsys.readouterr().out and figures["cascade"]["cost_share_at"]["0.99"]["cost_share"] < 0.75
    budget = 0.5 * float(USD[2])
    found = ["calibrate", out, bench, "--max-cost", str(budget), "--out", out, "--name", "half"]
    assert main([*found, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["cost_usd"] <= budget and found["quality"] > 0.97
    router = load_router(out)
    outlook = router.outlook(TEST.queries)
    # As the command reads them: how a response is written says something, too.
    log = AnsweredLog(TEST, log_answers(rows_of(TEST, TEST_SAID, "test"), TEST), router)
    assert replay(router, outlook, router.pick(outlook, **router.config.scenarios["half"]), log).cost.mean() == (
        pytest.approx(found["cost_usd"], rel=1e-6)
    )
    assert router.route(TEST.queries[:1], "half")[0].candidate in NAMES


def test_cost_shares_are_plain_arithmetic():
    performance = np.array([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, np.nan]])
    cost = np.array([[4.0, 4, 4, 4], [2, 2, 2, 2], [1, 1, 1, 1]])
    single, price = np.array([1.0, 1, 1, 0]), np.full(4, 8.0)
    assert cheapest(performance, cost, single, 1.0) == 1 and cheapest(performance, cost, single, 1.5) is None
    found = cost_share(performance, cost, single, price, 1.0)
    assert found["cost_share"] == 0.25 and found["performance_share"] == 1.0
    fixed = cost_share(performance, cost, single, price, 1.0, point=2)
    assert fixed["cost_share"] == 0.125 and fixed["performance_share"] == pytest.approx(1 / 3 / 0.75)
    assert cost_share(performance, cost, single, price, 1.5)["cost_share"] is None

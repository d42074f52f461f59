"""Whatever is asked is routed: chats, very long prompts, empty strings, other languages, many queries at once."""

import json
import re

import numpy as np
import pytest
from tiny_bert import tiny_bert
from toy_log import CANDIDATES, FORMS, GOOD, toy_data

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.routers import fit_router, load_router

TEST = toy_data(45, split="test")
BEST = [CANDIDATES[GOOD[t]] for t in TEST.tasks]
ODD = [
    "", " \n\t ", "?", "a" * 100_000, "word " * 50_000, "\x00\x01", "\ud800 lone surrogate", "é" * 3000,
    "Сколько будет два плюс два?", "二加二等于几？", "كم يساوي اثنان زائد اثنان؟", "दो और दो कितने होते हैं?",
    "🤖" * 500, "1e400 9" * 200,
]  # fmt: skip


@pytest.fixture(scope="module")
def router():
    return fit_router("fusion", toy_data(240), encoder="none")


@pytest.fixture(scope="module")
def bert_router(tmp_path_factory):
    return fit_router("fusion", toy_data(150), encoder=tiny_bert(tmp_path_factory.mktemp("bert")), progress=False)


def picks(router, queries, **options):
    return [d.candidate for d in router.route(queries, **options)]


@pytest.mark.parametrize("with_encoder", [False, True])
def test_odd_queries_get_a_decision_each(with_encoder, router, bert_router):
    router = bert_router if with_encoder else router
    for scenario in ("performance", "balance", "cost"):
        decisions = router.route(ODD, scenario=scenario, explain=True)
        assert len(decisions) == len(ODD)
        for decision in decisions:
            assert decision.candidate in CANDIDATES and np.isfinite([decision.reward, decision.cost]).all()
            json.dumps(decision.to_dict(), allow_nan=False)
            decision.explain().encode("utf-8", "surrogatepass")
    # What else is asked does not matter.
    assert [router.route([q])[0].candidate for q in ODD] == picks(router, ODD)


def test_a_log_of_odd_queries_is_learned(router):
    data = toy_data(len(ODD) * 3)
    data = RoutingData(data.query_ids, ODD * 3, ["odd"] * len(data), *list(vars(data).values())[3:])
    for kind in ("fusion", "knn", "mlp"):
        assert len(picks(fit_router(kind, data, encoder="none"), ODD)) == len(ODD)


def chat(text: str) -> list[dict]:
    return [{"role": "system", "content": ""}, {"role": "user", "content": [{"type": "text", "text": text}]}]


def test_chats_are_routed_like_their_text(router):
    assert picks(router, [chat(q) for q in TEST.queries]) == picks(router, TEST.queries)
    mixed = [TEST.queries[0], chat(TEST.queries[1]), []]
    assert picks(router, mixed)[:2] == picks(router, TEST.queries[:2])
    turns = [
        {"role": "user", "content": "Hello there"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": TEST.queries[2]},
    ]
    assert picks(router, [turns]) == picks(router, [f"Hello there\n\n{TEST.queries[2]}"])
    for wrong, message in (
        ([["hi"]], "query 0: expected a text or a list of messages"),
        (["hi", [{"role": "user"}]], "query 1: expected a text or a list of messages"),
        (chat("hi"), "found one chat: put it in a list"),
        ([7], "query 0: expected a text or a list of messages .*found int"),
    ):
        with pytest.raises(UserError, match=message):
            router.route(wrong)


def test_the_end_of_a_very_long_prompt_counts(router, bert_router):
    """Long few-shot prompts end with the question itself."""
    rng = np.random.default_rng(0)
    shots = {t: "\n\n".join(FORMS[t].format(a=1, b=2, c=3) for _ in range(80)) for t in FORMS}
    noise = "".join(rng.choice(list("abcdefgh \n"), 60_000))
    for each in (router, bert_router):
        state = each.features([shots["sums"], shots["sums"] + "\n\n" + shots["code"]])
        assert (state[0] - state[1]).norm() > 0.2
        one, two = each.features([noise + " " + "A. city " * 200, noise + " " + "def f(x): return x\n" * 100])
        assert (one - two).norm() > 0.2


def test_ten_thousand_queries_with_many_candidates():
    few, rng = toy_data(60), np.random.default_rng(0)
    names = [f"llm-{i:03d}" for i in range(100)]
    performance = (rng.random((60, 100)) < 0.3).astype(float)
    performance[:, 41] = 1.0
    cost = np.full((60, 100), 1e-4) * np.arange(1, 101)
    data = RoutingData(few.query_ids, few.queries, few.tasks, names, performance, cost, np.full((60, 100), np.nan))
    router = fit_router("fusion", data, encoder="none")
    queries = [FORMS[list(FORMS)[i % 3]].format(a=i, b=i + 1, c=i + 2) for i in range(10_000)]
    decisions = router.route(queries)
    assert len(decisions) == 10_000 and np.mean([d.candidate == "llm-041" for d in decisions]) > 0.99
    cheap = router.route(queries[:100], candidates=names[:3], max_cost=2.5e-4)
    assert {d.candidate for d in cheap} <= set(names[:2])


def test_a_trade_off_of_ones_own(router):
    assert picks(router, TEST.queries, alpha=1.0) == picks(router, TEST.queries)
    assert set(picks(router, TEST.queries, beta=1.0)) == {"bee"}
    spent = [np.mean([d.cost for d in router.route(TEST.queries, alpha=1.0, beta=b)]) for b in (0.0, 0.3, 1.0, 10.0)]
    assert spent == sorted(spent, reverse=True) and spent[0] > spent[-1]
    with pytest.raises(UserError, match="alpha and beta: expected finite numbers, found nan and None"):
        router.route(TEST.queries, alpha=float("nan"))


def test_explanation_shows_the_best_three_the_task_and_logged_queries(router, tmp_path):
    router.save_pretrained(tmp_path)
    decision = load_router(tmp_path).route(TEST.queries[:1], scenario="balance", explain=True)[0]
    text = decision.explain()
    assert [b["candidate"] for b in decision.best] == sorted(CANDIDATES, key=text.index)
    assert all(f"performance {b['performance']:.3f}  cost {b['cost']:.3g} USD" in text for b in decision.best)
    task = max(decision.tasks, key=decision.tasks.get)
    assert task == TEST.tasks[0] and sum(decision.tasks.values()) <= 1 + 1e-6
    assert f"looks like {task} ({100 * decision.tasks[task]:.0f} %)" in text
    for near in decision.nearest:
        assert near["query"] in text and set(near["scores"]) == set(CANDIDATES)
    assert np.all(np.diff([n["similarity"] for n in decision.nearest]) <= 0)


def test_on_the_command_line(router, tmp_path, capsys):
    router.save_pretrained(tmp_path / "router")
    lines = [json.dumps(q) for q in (*TEST.queries[:5], chat(TEST.queries[5]))]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    command = ["route", str(tmp_path / "router")]
    assert main([*command, "--file", str(tmp_path / "q.jsonl"), "--json", str(tmp_path / "d.json"), "--explain"]) == 0
    out = capsys.readouterr().out
    assert out.count("logged query") == 18 and out.count("looks like") == 6
    found = json.loads((tmp_path / "d.json").read_text())
    assert [d["candidate"] for d in found] == picks(router, TEST.queries[:6])
    assert main([*command, "--alpha", "1", "--beta", "20", "--candidates", "cat,dog", *TEST.queries[:3]]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["cat"] * 3
    for text, message in (("{oops", "line 1: expected JSON"), ('"hi"\n7', "line 2: .* list of messages, found int")):
        (tmp_path / "wrong.jsonl").write_text(text)
        assert main([*command, "--file", str(tmp_path / "wrong.jsonl")]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert re.search(message, err), err

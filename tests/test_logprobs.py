"""Log-probabilities of answers: asked for, read, kept in the log, imported, and used by cascades."""

import asyncio
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from backend_contract import MANY_ENDS, answer, ask
from loopback_llm import Act, LoopbackLLM
from tgi_double import TGI
from tiny_llm import make_tiny_llm

from fusion_hf import UserError, read_log
from fusion_hf.llms.backends import BackendError, Reply, open_backend
from fusion_hf.llms.collect import collect
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.llms.requests import make_requests
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.importers import read
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.logprobs import LEAST, mean_logprob, token_logprobs
from fusion_hf.logs.schema import SchemaError, rows_to_table, validate
from fusion_hf.logs.shards import latest_rows
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.cascade.answers import log_answers, read_answer
from fusion_hf.routers.cascade.replay import AnsweredLog, replay
from fusion_hf.routers.cascade.replies import COLUMNS, LOGPROB, Answer, apply_replies, fit_replies, reply_features
from fusion_hf.tasks import Example

CHAT = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5, "top_logprobs": []}]}


@pytest.mark.parametrize(
    "said, expected",
    [
        (CHAT, [-0.5, -1.5]),
        (CHAT["content"], [-0.5, -1.5]),
        ({"tokens": ["a", "b"], "token_logprobs": [None, -2.0]}, [-2.0]),
        ({"content": [{"logprob": -9999.0}, {"logprob": 1e-9}]}, [LEAST, 0.0]),
        *((odd, []) for odd in (None, True, 3, "x", {}, {"content": "x"}, {"content": [None, {"logprob": "x"}]})),
        ({"content": [{"logprob": float("nan")}, {"logprob": True}, [1]]}, []),
    ],
)
def test_what_servers_say_of_tokens(said, expected):
    assert token_logprobs(said) == expected
    assert mean_logprob(expected) == (sum(expected) / len(expected) if expected else None)


def far(url, **options):
    return LLM("far", "small", 1.0, 1.0, base_url=url, options=options)


def test_an_endpoint_is_asked_for_them_and_a_stream_says_the_same():
    with LoopbackLLM(lambda prompt, times: Act(text="It is 42 .", logprobs=-0.25)) as server:
        assert answer(far(server.url)).mean_logprob is None
        for options in ({}, {"stream": True}):
            assert answer(far(server.url, logprobs=True, **options)).mean_logprob == -0.25
    asked = [seen.body for seen in server.seen]
    assert "logprobs" not in asked[0]
    # One further token is the least that llama.cpp sends: unasked it sends twenty.
    assert all((body["logprobs"], body["top_logprobs"]) == (True, 1) for body in asked[1:])


def test_odd_ones_end_no_answer():
    body = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop", "logprobs": {"content": 7}}]}
    with LoopbackLLM(lambda prompt, times: Act(body=json.dumps(body))) as server:
        assert answer(far(server.url, logprobs=True)).mean_logprob is None
    for wrong in (0.1, float("nan"), float("-inf"), "x", True):
        with pytest.raises(BackendError, match="expected mean_logprob to be a number of at most 0"):
            Reply("a", "stop", 1, 1, None, 0.1, mean_logprob=wrong)


def test_text_generation_inference_says_them_unasked(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with TGI() as server:
        options = {"api": "text_generation", "max_tokens": 8}
        llm = LLM("tgi", "small", 0, 0, base_url=server.url, backend="inference_client", options=options)
        found = answer(llm).mean_logprob
    tokens = server.sent[-1][1]["details"]["tokens"]
    assert found == pytest.approx(np.mean([token["logprob"] for token in tokens]), abs=1e-6)


def test_a_local_model_measures_what_it_thinks_of_its_own_tokens(tmp_path):
    tiny = make_tiny_llm(tmp_path, ends=MANY_ENDS)
    llm = LLM("near", "small", 0, 0, backend="transformers", model=str(tiny), options={"max_tokens": 12})
    backend = open_backend(llm)
    chats = [ask(f"{'more ' * (i % 5)}apples {i}?") for i in range(12)]
    plain = backend.generate_batch(chats)
    measured = backend.generate_batch(chats, logprobs=True)
    assert [r.text for r in plain] == [r.text for r in measured] and all(r.mean_logprob is None for r in plain)
    assert len({r.output_tokens for r in measured}) > 2  # some leave the batch before others
    for prompt, reply in zip(backend.encode(chats), measured, strict=True):
        with torch.inference_mode():
            ids = torch.tensor([prompt])
            new = backend.model.generate(ids, do_sample=False, max_new_tokens=12)[:, len(prompt) :]
            logits = backend.model(torch.cat([ids, new], 1)).logits[0, len(prompt) - 1 : -1].float()
        expected = logits.log_softmax(-1)[range(new.shape[1]), new[0]].mean()
        assert reply.mean_logprob == pytest.approx(float(expected), abs=1e-4)
    asyncio.run(backend.close())


# -- the log


def test_collected_built_and_read_beside_rows_that_have_none(tmp_path):
    example = Example("1", "What is 1 + 1?", ["2"], "gsm8k")
    with LoopbackLLM(lambda prompt, times: Act(text="#### 2", logprobs=-0.5)) as server:
        pool = Pool([far(server.url, logprobs=True)])
        collect(pool, make_requests(pool, {"gsm8k": [example]}, ["direct"]), tmp_path / "logs")
    (row,) = latest_rows(tmp_path / "logs")
    assert row["mean_logprob"] == -0.5
    table = validate(rows_to_table([row]))
    old = validate(rows_to_table([{k: v for k, v in row.items() if k != "mean_logprob"} | {"llm": "old"}]))
    write_bench({"train": old.drop_columns(["mean_logprob"])}, tmp_path / "bench")
    write_bench({"train": table}, tmp_path / "bench")
    found = {r["llm"]: r["mean_logprob"] for r in read_log(tmp_path / "bench", "train").to_pylist()}
    assert found == {"old": None, "far": -0.5}


def test_a_file_from_before_the_column_is_read(log_table, tmp_path):
    pq.write_table(log_table.drop_columns(["mean_logprob"]), tmp_path / "old.parquet")
    table = read_log(tmp_path / "old.parquet")
    assert table["mean_logprob"].null_count == table.num_rows > 0


@pytest.mark.parametrize("wrong", [0.5, float("nan"), float("-inf")])
def test_a_probability_is_no_log_probability(log_table, wrong):
    column = pa.array([wrong] * log_table.num_rows, pa.float32())
    place = log_table.column_names.index("mean_logprob")
    with pytest.raises(SchemaError, match="column 'mean_logprob': expected at most 0 or null"):
        validate(log_table.set_column(place, "mean_logprob", column))


def lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def imported(format, path, **options):
    return [row["mean_logprob"] for row in read(format, path, **options).table.to_pylist()]


def test_imported_from_replies_and_from_columns(tmp_path):
    base = {"query": "q", "llm": "a", "response": "r"}
    choice = {"message": {"content": "r"}, "logprobs": CHAT}
    rows = [
        base | {"query": "1", "avg_logprob": -0.75},
        {"query": "2", "llm": "a", "choices": [choice]},
        base | {"query": "3", "logprobs": True},  # that they were asked for
        base | {"query": "4"},
    ]
    assert imported("jsonl", lines(tmp_path / "a.jsonl", *rows)) == [-0.75, -1.0, None, None]
    assert imported("jsonl", lines(tmp_path / "b.jsonl", rows[0])) == [-0.75]  # by Arrow's parser
    told = lines(tmp_path / "c.jsonl", base | {"surprise": {"mean": -2.0}})
    assert imported("jsonl", told, mapping={"mean_logprob": "surprise.mean"}) == [-2.0]
    pair = {"request": {"model": "a", "messages": ask("q"), "logprobs": True}, "response": {"choices": [choice]}}
    assert imported("openai-log", lines(tmp_path / "d.jsonl", pair)) == [-1.0]
    (tmp_path / "e.csv").write_text("query,llm,response,avg_logprob\nq,a,r,-0.5\n", encoding="utf-8")
    assert imported("csv", tmp_path / "e.csv") == [-0.5]
    (tmp_path / "e.csv").write_text("query,llm,response,mean_logprob\nq,a,r,0.9\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"expected a mean log-probability of at most 0, found '0\.9'"):
        read("csv", tmp_path / "e.csv")


# -- cascades


def sure_log(n=400, seed=0, known=1.0):
    """Two candidates that never agree: bee is right where it is sure, cow nearly always, but dear."""
    rng = np.random.default_rng(seed)
    sure = rng.random(n) < 0.5
    right = np.stack([sure, rng.random(n) < 0.95], 1).astype(float)
    rows = []
    for i in range(n):
        for c, llm in enumerate(("bee", "cow")):
            logprob = -0.05 if c == 1 or sure[i] else -0.6
            rows.append({
                "query_id": f"{seed:08d}{i:08d}", "task": "who", "source_id": str(i), "query": f"Who is no. {i + 7}?",
                "ground_truth": [""], "metric": "", "llm": llm, "mode": "direct", "response": f"{llm} {i} says",
                "cost": [1e-4, 1e-2][c], "performance": right[i, c],
                "mean_logprob": logprob - 0.02 * rng.random() if rng.random() < known else None,
            })  # fmt: skip
    table = validate(rows_to_table(rows))
    data = RoutingData.from_table(table)
    return data, log_answers(table, data), sure


TRADE = {"alpha": 0.9, "beta": 0.1}


def test_a_cascade_stops_where_the_cheap_one_is_sure(tmp_path):
    data, answers, _ = sure_log()
    test, said, sure = sure_log(seed=1)
    router = fit_router("cascade", data, encoder="none", answers=answers)
    outlook = router.outlook(test.queries)
    choice = router.pick(outlook, **TRADE)
    found = replay(router, outlook, choice, AnsweredLog(test, said, router))
    assert found.calls[sure].mean() < 1.05 and found.calls[~sure].mean() > 1.95
    assert found.performance.mean() > 0.95
    router.save_pretrained(tmp_path)
    plans = load_router(tmp_path).plan(test.queries[:20], **TRADE)
    for plan, row, calls in zip(plans, said, found.calls, strict=False):
        known = {}
        while (step := plan.next(known)).ask:
            assert step.logprobs  # live they have to be asked for
            known[step.ask] = row[test.candidates.index(step.ask)]
        assert len(known) == calls
    # Without them the same answers tell nothing, and every plan that asks on does so always.
    bare = np.vectorize(lambda a: Answer.of(str(a), "x"), otypes=[object])(answers)
    plain = fit_router("cascade", data, encoder="none", answers=bare)
    outlook = plain.outlook(test.queries)
    blind = replay(plain, outlook, plain.pick(outlook, **TRADE), AnsweredLog(test, said, plain))
    assert (blind.performance - TRADE["beta"] * 100 * blind.cost).mean() < (
        found.performance - TRADE["beta"] * 100 * found.cost
    ).mean() - 0.03
    assert not any(plan.next({}).logprobs for plan in plain.plan(test.queries[:5], **TRADE))


def features(values):
    return reply_features([Answer.of("x", "x", value) for value in values])[:, None]


def test_what_is_not_measured_is_neutral_and_a_few_teach_nothing():
    rng = np.random.default_rng(0)
    sure = rng.random(200) < 0.5
    values = [-0.1 if s else -1.5 for s in sure]
    right, even, weight = sure[:, None].astype(float), np.zeros((200, 1)), np.ones(200)
    table = fit_replies(features(values), right, even, weight)[0]
    high, low, none = (apply_replies(table, features([v]))[0, 0] for v in (-0.1, -1.5, None))
    assert high > 1 > 0 > low and none == pytest.approx((high + low) / 2, abs=1.0)
    assert abs(none) < abs(low)
    few = fit_replies(features([*values[:19], *[None] * 181]), right, even, weight)[0]
    assert apply_replies(few, features([-0.1]))[0, 0] == apply_replies(few, features([None]))[0, 0]
    # Checkpoints from before this sign have maps without it.
    assert table.shape == (3, COLUMNS) and LOGPROB == COLUMNS - 1
    assert apply_replies(table[:, :LOGPROB], features([-1.5]))[0, 0] == pytest.approx(none)


def test_each_llm_is_sure_in_its_own_way():
    """That one is always surer than another says nothing of either."""
    rng = np.random.default_rng(1)
    sure = rng.random((300, 2)) < 0.5
    values = np.where(sure, -0.05, -0.3) - np.array([0.0, 1.0])
    table = fit_replies(
        np.concatenate([features(values[:, 0]), features(values[:, 1])], 1), sure.astype(float), np.zeros((300, 2)),
        np.ones(300),
    )  # fmt: skip
    for c in (0, 1):
        high, low = (apply_replies(table[c], features([v - c])[0, 0]) for v in (-0.05, -0.3))
        assert high > 1 > -1 > low and high + low == pytest.approx(0, abs=0.3)


def test_an_answer_keeps_it():
    assert read_answer("Who?", "Ada.", -0.5).mean_logprob == -0.5 and read_answer("Who?", "Ada.").mean_logprob is None

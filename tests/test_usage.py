"""Token counts and costs of a reply: every form that servers are known to send, after public reports and beside them.

A case with a `source` was made after that report about some tool of this field.
"""

import json
from pathlib import Path

import pytest
from backend_contract import answer, ask
from loopback_llm import Act, LoopbackLLM

from fusion_hf.llms.backends import BackendError, Reply
from fusion_hf.llms.backends._usage import count_usage, reported_cost, usage_of
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.llms.recosting import recost
from fusion_hf.logs.schema import rows_to_table

CASES = json.loads((Path(__file__).parent / "usage_cases.json").read_text(encoding="utf-8"))
LLM_ = LLM("far", "small", 1, 2, base_url="http://x/v1")


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_counts_are_those_that_the_server_bills(case):
    counts = count_usage(LLM_, case["usage"], ask("What is 2 + 2?"), "four", case.get("reasoning", ""))
    expected = case["expected"]
    source = expected.pop("usage_source", "server")
    assert {name: counts[name] for name in expected} == expected, case
    assert counts["usage_source"] == source
    assert 0 <= (counts["reasoning_tokens"] or 0) <= counts["output_tokens"] < 2**31
    assert 0 <= (counts["cached_tokens"] or 0) <= counts["input_tokens"] < 2**31


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"cost": 0.0125}, 0.0125),  # OpenRouter
        ({"cost": 0}, 0.0),
        ({"cost": "0.0125"}, 0.0125),  # a decimal number as a text
        ({"cost": "1.2e-05"}, 1.2e-05),
        ({"cost": {"total_cost": 0.006, "input_tokens_cost": 0.001}}, 0.006),  # Perplexity
        ({"estimated_cost": 0.25}, 0.25),  # DeepInfra
        ({"total_cost": 0.5, "cost": None}, 0.5),
        ({"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}, 1.5),  # OpenRouter, own key
        ({"cost": 0.5, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.4}}, 0.5),
        ({"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, 0.5),
        ({"cost": 0.5, "is_byok": True, "cost_details": []}, 0.5),
        *(({"cost": bad}, None) for bad in ("-0.1", "0.1 USD", "", "1e999", "٣")),
        *(({"cost": bad}, None) for bad in (-1, True, None, [], {}, float("nan"), float("inf"), 10**400)),
        *((bad, None) for bad in (None, [], "x", 5, {})),
    ],
)
def test_the_servers_own_cost_is_a_sum_or_nothing(usage, usd):
    assert reported_cost(usage) == usd


def test_cached_and_reasoning_tokens_have_prices_of_their_own():
    dear = LLM("a", "small", 1.0, 10.0, cached_input_price=0.25, reasoning_price=20.0, base_url="http://x/v1")
    plain = LLM("b", "small", 1.0, 10.0, base_url="http://x/v1")
    pool = Pool([dear, plain])
    assert pool.cost("a", 100, 50, 80, 30) == pytest.approx((20 * 1 + 80 * 0.25 + 20 * 10 + 30 * 20) / 1e6)
    assert pool.cost("a", 100, 50) == pool.cost("b", 100, 50, 80, 30) == pytest.approx((100 + 500) / 1e6)
    assert pool.cost("a", None, 50, 80, 30) is None
    rows = [
        {"query_id": "q", "task": "t", "source_id": "s", "query": "?", "ground_truth": [], "metric": "cem", "llm": llm,
         "mode": "direct", "input_tokens": sent, "output_tokens": 50, "cached_tokens": cached, "reasoning_tokens": 30}
        for llm, sent, cached in (("a", 100, 80), ("a", 100, None), ("b", 100, 80), ("a", None, None))
    ]  # fmt: skip
    table = recost(rows_to_table(rows), pool)
    assert table["cost"].to_pylist() == [
        pytest.approx(pool.cost("a", 100, 50, 80, 30)), pytest.approx(pool.cost("a", 100, 50, None, 30)),
        pytest.approx(pool.cost("b", 100, 50)), None,
    ]  # fmt: skip
    old = table.drop_columns(["cached_tokens"])  # a log of before there was such a column
    assert recost(old, pool)["cost"].to_pylist()[2] == pytest.approx(pool.cost("b", 100, 50))


@pytest.mark.parametrize(
    ("act", "text", "reasoning"),
    [
        (Act(message={"reasoning_content": "hm"}), "It is 42.", "hm"),
        (Act(message={"reasoning": "hm"}), "It is 42.", "hm"),
        (Act(message={"thinking": "hm"}), "It is 42.", "hm"),
        (Act(message={"reasoning_details": [{"type": "reasoning.text", "text": "h"}, {"summary": "m"}]}), "It is 42.",
         "hm"),
        (Act(message={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                                  {"type": "text", "text": "4"}]}), "4", "hm"),
        (Act(message={"reasoning": None, "reasoning_content": "", "reasoning_details": "x"}), "It is 42.", None),
        (Act(message={"reasoning": {"odd": 1}}), "It is 42.", None),
        (Act(text="<think>hm</think>42"), "<think>hm</think>42", None),  # stays as it was written
        (Act(text=None, message={"reasoning_content": "hm"}, finish_reason="length"), "", "hm"),
    ],
)  # fmt: skip
def test_reasoning_beside_the_answer_is_kept_apart(act, text, reasoning):
    with LoopbackLLM(lambda *_: act) as server:
        reply = answer(LLM("far", "small", 0, 0, base_url=server.url))
    assert (reply.text, reply.reasoning) == (text, reasoning)


def test_the_model_that_served_and_its_own_cost_are_told():
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "cost": 0.5, "prompt_tokens_details": {"cached_tokens": 4}}
    with LoopbackLLM(lambda *_: Act(usage=usage)) as server:
        reply = answer(LLM("far", "small", 0, 0, model="org/far-1", base_url=server.url))
    assert (reply.served_model, reply.reported_cost, reply.cached_tokens) == ("org/far-1", 0.5, 4)


GOOD = {"text": "a", "finish_reason": "stop", "input_tokens": 1, "output_tokens": 1, "reasoning_tokens": None,
        "latency_s": 0.1}  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        *({"text": value} for value in (None, 5, b"x", ["a"], {})),
        *({"finish_reason": value} for value in (5, {}, ["stop"], True)),
        *({name: value} for name in ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
          for value in (-1, 1.5, "7", True, 2**31, 10**400)),
        *({"latency_s": value} for value in (-1, float("nan"), float("inf"), None, "1")),
        *({"reported_cost": value} for value in (-1, float("nan"), "1", True)),
        *({name: value} for name in ("reasoning", "served_model") for value in (5, [], {})),
    ],
)  # fmt: skip
def test_a_reply_of_any_backend_is_one_that_the_log_can_hold(bad):
    with pytest.raises(BackendError, match="expected") as error:
        Reply(**(GOOD | bad))
    assert error.value.kind == "bad_reply" and error.value.may_retry


def test_half_characters_and_long_words_of_a_server_are_mended():
    reply = Reply(**(GOOD | {"text": "a\ud800b", "finish_reason": "x\udfff" * 1000, "reasoning": "\ud83d"}))
    assert reply.text == "a\ufffdb" and reply.reasoning == "\ufffd" and len(reply.finish_reason) == 100
    reply.finish_reason.encode()


COUNTS = {"prompt_tokens": 7, "completion_tokens": 3}


@pytest.mark.parametrize(
    "reply",
    [
        {"usage": COUNTS},
        {"usage": None, "x_groq": {"id": "r", "usage": COUNTS}},  # Groq's streams
        {"choices": [{"usage": COUNTS}]},  # Moonshot's streams
        {"usage": {}, "timings": {"prompt_n": 5, "cache_n": 2, "predicted_n": 3, "predicted_ms": 9.5}},  # llama.cpp
        {"usage": COUNTS, "timings": {"prompt_n": 1, "predicted_n": 1}, "x_groq": 5, "choices": [None]},
    ],
)
def test_counts_are_found_where_servers_put_them(reply):
    counts = count_usage(LLM_, usage_of(reply), ask("?"), "four")
    assert (counts["input_tokens"], counts["output_tokens"], counts["usage_source"]) == (7, 3, "server")


@pytest.mark.parametrize("reply", [{}, {"usage": []}, {"x_groq": {}, "choices": []}, {"timings": "x", "choices": {}}])
def test_no_counts_are_nothing(reply):
    assert usage_of(reply) is None

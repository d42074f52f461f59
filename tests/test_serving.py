"""The endpoint as clients see it: the openai package, streams, headers, choices, and what stands in for what fails."""

import json
import math
import socket
import time

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra serve")

import openai
from loopback_llm import Act, LoopbackLLM
from served import CODE, SUM, rows, two, wait_for

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.fixture(scope="module")
def world():
    """A server over bee and dog that always answer, with no log."""
    with LoopbackLLM() as bee, LoopbackLLM(lambda prompt, times: Act(text="I am dog.")) as dog, two(bee, dog) as server:
        yield server, bee, dog


def client_of(server, **options):
    return openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, **options)


def test_the_openai_client_works_unchanged(world):
    server, bee, _ = world
    client = client_of(server)
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": SUM}], temperature=0.5, seed=3
    )
    reply = raw.parse()
    assert reply.model == "bee" and reply.choices[0].message.content == "It is 42." and reply.usage.total_tokens == 15
    assert raw.headers["x-fusion-candidate"] == "bee" and raw.headers["x-fusion-attempts"] == "1"
    assert float(raw.headers["x-fusion-expected-score"]) > 0.5 and float(raw.headers["x-fusion-cost"]) == 20e-6
    assert raw.headers["x-request-id"].startswith("req-")
    sent = bee.seen[-1].body
    assert sent["model"] == "bee" and sent["temperature"] == 0.5 and sent["seed"] == 3 and sent["max_tokens"] == 8
    names = [m.id for m in client.models.list()]
    assert names == ["auto", "auto:performance", "auto:balance", "auto:cost", "bee", "dog"]


def test_a_stream_comes_chunk_by_chunk_with_usage_where_it_is_asked_for():
    slow = lambda prompt, times: Act(text="one two three four", pause=0.1)  # noqa: E731
    with LoopbackLLM(slow) as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        how = {"model": "auto", "messages": [{"role": "user", "content": SUM}], "stream": True}
        arrived, text = [], ""
        for chunk in client_of(server).chat.completions.create(**how):
            assert chunk.model == "bee" and chunk.choices
            text += chunk.choices[0].delta.content or ""
            arrived.append(time.monotonic())
        assert text == "one two three four" and arrived[-1] - arrived[0] > 0.25
        assert bee.seen[-1].body["stream_options"] == {"include_usage": True}
        *_, last = client_of(server).chat.completions.create(**how, stream_options={"include_usage": True})
        assert last.usage.total_tokens == 15 and not last.choices


def test_tools_images_and_unknown_fields_pass_through(world):
    server, bee, _ = world
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    bee.behave = lambda prompt, times: Act(text=None, message={"tool_calls": [call]}, finish_reason="tool_calls")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    content = [{"type": "text", "text": SUM}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    how = {"model": "bee", "messages": [{"role": "user", "content": content}], "tools": tools}
    more = {"extra_body": {"guided_regex": "a+", "new_field": {"a": [1]}}, "response_format": {"type": "json_object"}}
    reply = client_of(server).chat.completions.create(**how, **more)
    assert reply.choices[0].message.tool_calls[0].function.name == "f"
    body = bee.seen[-1].body
    assert body["messages"][0]["content"] == content and body["tools"] == tools and body["new_field"] == {"a": [1]}
    assert body["response_format"] == {"type": "json_object"} and "fusion" not in body
    streamed = list(client_of(server).chat.completions.create(**how, stream=True))
    assert any(c.choices[0].delta.tool_calls for c in streamed)
    bee.behave = lambda prompt, times: Act()


def test_images_are_told_of_once_and_not_at_all_where_the_pool_knows(caplog, recwarn):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    parts = [{"type": "text", "text": SUM}, image]
    sees = {name: {"abilities": ["images"]} for name in ("bee", "dog")}
    for fields, told in (({}, 1), (sees, 0)):
        caplog.clear()
        with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog, fields=fields) as server:
            for _ in range(3):
                assert server.chat(parts).json["model"] == "bee"
        assert sum("take images" in r.message for r in caplog.records) == told
    assert not [w for w in recwarn if "only its text is read" in str(w.message)]


def test_model_and_fusion_options_choose(world):
    server, *_ = world
    assert server.chat().json["model"] == "bee" and server.chat(CODE).status == 200
    assert server.chat(model="dog").json["model"] == "dog"
    assert server.chat(model="auto:cost").json["model"] == "bee"
    assert server.chat(fusion={"candidates": ["dog"]}).json["model"] == "dog"
    assert server.chat(fusion={"max_cost": 1e-9}).json["error"]["code"] == "no_candidate"
    for wrong, words in (
        ({"fusion": {"maxcost": 1}}, "unknown option 'maxcost': options are scenario, max_cost"),
        ({"fusion": {"candidates": ["eel"]}}, "unknown 'eel': expected one of bee, dog"),
        ({"fusion": {"scenario": "thrift"}}, "fusion.scenario: expected one of performance, balance, cost"),
        ({"fusion": {"max_cost": "cheap"}}, "fusion.max_cost: expected USD as a number"),
        ({"model": "gpt"}, "unknown model 'gpt': expected one of auto, auto:performance"),
    ):
        refused = server.chat(**wrong)
        assert refused.status in (400, 404) and words in refused.json["error"]["message"], refused.text
    for body in (b"{", b"[]", b"{}", b'{"messages": []}', b'{"messages": [{"role": 1}]}', b"[" * 100_000):
        assert server.call("/v1/chat/completions", body).status == 400
    assert server.call("/v1/nothing").status == 404


def test_a_client_chooses_no_address(world):
    server, bee, dog = world
    before = len(bee.seen)
    fields = {"base_url": dog.url, "api_base": dog.url, "extra_headers": {"Host": "elsewhere"}}
    assert server.chat(**fields).json["model"] == "bee" and len(bee.seen) == before + 1
    assert bee.seen[-1].headers["Host"] in bee.url


def test_the_decision_alone_and_why(world):
    server, bee, _ = world
    before = len(bee.seen)
    told = server.call("/v1/route", {"query": SUM, "explain": True}).json
    assert told["candidate"] == "bee" and [o["candidate"] for o in told["ranking"]] == ["bee", "dog"]
    assert told["nearest"][0]["query"].startswith("What is") and len(bee.seen) == before
    assert server.call("/v1/route", {"messages": [{"role": "user", "content": SUM}]}).json["nearest"] == []
    assert server.call("/v1/route", {"query": SUM, "fusion": {"candidates": ["dog"]}}).json["candidate"] == "dog"


def test_health_readiness_and_figures(world):
    server, *_ = world
    server.chat()
    assert server.call("/health").json == {"status": "ok"} and server.call("/ready").json == {"status": "ready"}
    text = server.call("/metrics").text
    for name in ("fusion_requests_total", "fusion_tokens_total", "fusion_usd_total", "fusion_latency_seconds_bucket",
                 "fusion_routing_seconds_count", "fusion_fallbacks", "fusion_first_token_seconds"):  # fmt: skip
        assert name in text
    stats = server.call("/v1/stats").json
    assert stats["llms"]["bee"]["calls"] >= 1 and stats["best_single"]["candidate"] in ("bee", "dog")


def test_what_fails_before_the_first_token_is_answered_by_the_next_best(tmp_path):
    acts = {
        "server": Act(status=503), "busy": Act(status=429, headers={"Retry-After": "0"}), "cut": Act(cut="before"),
        "half": Act(cut="middle"), "broken": Act(body="{no json"), "empty": Act(body='{"choices": []}'),
        "long": Act(status=400, body='{"error": {"message": "maximum context length is 10", "code": 400}}'),
        "key": Act(status=401), "slow": Act(delay=5.0),
    }  # fmt: skip
    failing = lambda prompt, times: acts[prompt.split()[-1]]  # noqa: E731
    limits = {"timeout_s": 1.0, "first_token_s": 1.0}
    with LoopbackLLM(failing) as bee, LoopbackLLM() as dog, two(bee, dog, tmp_path, **limits) as server:
        for name in acts:
            for stream in (False, True):
                if name in ("half", "broken", "empty") and stream:
                    continue  # a stream that begins so is not whole JSON anyway
                server.engine.breaker.success("bee")  # this is about one failure, not about many
                wait_for(lambda: not server.engine.breaker.wait("bee"))
                reply = server.chat(f"{SUM} {name}", stream=stream)
                assert reply.status == 200 and "It" in reply.text, (name, reply.text)
                assert reply.headers["x-fusion-candidate"] == "dog" and reply.headers["x-fusion-attempts"] == "2"
        refused = server.chat(f"{SUM} server", fusion={"candidates": ["bee"]})
        assert refused.status == 502 and refused.json["error"]["code"] == "server"
    failed = [r for r in rows(tmp_path) if r["llm"] == "bee"]
    assert {r["error"].split(":")[0] for r in failed} == {
        "server", "rate_limit", "connection", "bad_reply", "context_length", "auth", "timeout",
    }  # fmt: skip
    assert all(r["attempt"] == 1 and r["propensity"] == 1.0 for r in failed)
    assert all(r["attempt"] == 2 and "propensity" not in r for r in rows(tmp_path) if r["llm"] == "dog")


def test_a_wrong_request_goes_to_nobody_else():
    with LoopbackLLM(lambda prompt, times: Act(status=400)) as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        reply = server.chat()
        assert reply.status == 400 and reply.json["error"]["code"] == "bad_request" and not dog.seen


def test_after_the_first_token_nothing_is_switched_in_silence(tmp_path):
    acts = {"cut": Act(cut="middle"), "chunk": Act(bad_chunk=2), "stall": Act(stall=5.0)}
    broken = lambda prompt, times: acts[prompt.split()[-1]]  # noqa: E731
    with LoopbackLLM(broken) as bee, LoopbackLLM() as dog, two(bee, dog, tmp_path, stall_s=0.5) as server:
        for name in acts:
            server.engine.breaker.success("bee")
            reply = server.chat(f"{SUM} {name}", stream=True)
            events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
            assert reply.status == 200 and "[DONE]" not in events and not dog.seen
            assert json.loads(events[-1])["error"]["type"] in ("upstream_error", "timeout")
            with pytest.raises(openai.APIError):
                list(client_of(server).chat.completions.create(
                    model="auto", stream=True, messages=[{"role": "user", "content": f"{SUM} {name}"}]
                ))  # fmt: skip
    kept = rows(tmp_path)
    assert len(kept) == 6 and all(r["error"] and r["response"].startswith("It") and r["cost"] > 0 for r in kept)
    assert all(r["usage_source"].startswith("estimated/") for r in kept)


def test_an_llm_that_fails_again_and_again_rests_and_is_tried_once_more():
    good = []
    failing = lambda prompt, times: Act() if good else Act(status=500)  # noqa: E731
    with LoopbackLLM(failing) as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        for _ in range(8):
            assert server.chat().json["model"] == "dog"
        assert len(bee.seen) == 5
        only = server.chat(fusion={"candidates": ["bee"]})
        assert (
            only.status == 503 and 0 < int(only.headers["retry-after"]) <= 5 and only.json["error"]["code"] == "resting"
        )
        good.append(1)
        server.engine.breaker._states["bee"].open_at = 0.0
        assert server.chat().json["model"] == "bee" and server.engine.breaker.wait("bee") == 0


def test_retry_after_is_heeded():
    busy = lambda prompt, times: Act(status=429, headers={"Retry-After": "30"})  # noqa: E731
    with LoopbackLLM(busy) as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        assert [server.chat().json["model"] for _ in range(3)] == ["dog"] * 3 and len(bee.seen) == 1
        alone = server.chat(model="bee")
        assert alone.status == 503 and 25 <= int(alone.headers["retry-after"]) <= 30


def test_who_cannot_take_a_request_is_out_before_routing():
    fields = {"bee": {"abilities": ["json"], "context_window": 50}}
    with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog, fields=fields) as server:
        tools = [{"type": "function", "function": {"name": "f"}}]
        assert server.chat(tools=tools).json["model"] == "dog" and server.chat(SUM * 10).json["model"] == "dog"
        assert server.chat(response_format={"type": "json_object"}).json["model"] == "bee"
        assert server.chat(max_tokens=60).json["model"] == "dog"
        refused = server.chat(tools=tools, fusion={"candidates": ["bee"]}).json["error"]
        assert refused["reasons"] == {"bee": "it does not take tools"}
        assert "context window of 50" in server.chat(SUM * 10, model="bee").json["error"]["message"]
        assert not bee.seen[0].body.get("tools")


def test_a_session_stays_while_its_cached_prompt_is_worth_more():
    prices = {"input_price": 10.0, "output_price": 1.0, "cached_input_price": 0.1}
    long = {"prompt_tokens": 50_000, "completion_tokens": 5, "total_tokens": 50_005}
    counted = lambda prompt, times: Act(usage=long)  # noqa: E731
    with LoopbackLLM() as bee, LoopbackLLM(counted) as dog:
        from served import Server, toy_router

        from fusion_hf.fused.routed import RoutedSystem
        from fusion_hf.llms.pool import LLM, Pool

        pool = Pool([
            LLM("bee", "small", 1.0, 1.0, base_url=bee.url), LLM("dog", "small", base_url=dog.url, **prices)
        ])  # fmt: skip
        with Server(RoutedSystem(toy_router(), pool)) as server:
            text = f"{SUM} " + "word " * 40_000
            first = server.chat(text, model="dog", fusion={"session": "s"})
            assert first.json["model"] == "dog"
            assert server.chat(text, fusion={"session": "s", "scenario": "cost"}).json["model"] == "dog"
            assert server.chat(text, fusion={"session": "other", "scenario": "cost"}).json["model"] == "bee"
            assert server.chat(text, fusion={"scenario": "cost"}).json["model"] == "bee"


def test_a_client_that_hangs_up_cancels_its_request_upstream(tmp_path):
    slow = lambda prompt, times: Act(text="a b c d", delay=0.0 if "stream" in prompt else 20.0, pause=2.0)  # noqa: E731
    with LoopbackLLM(slow, notices=True) as bee, LoopbackLLM() as dog, two(bee, dog, tmp_path) as server:
        for number, extra in enumerate(({}, {"stream": True}), 1):
            text = SUM + (" stream" if extra else "")
            body = json.dumps({"messages": [{"role": "user", "content": text}], "model": "auto", **extra}).encode()
            host, port = server.base.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as raw:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
                raw.sendall(head.encode() + body)
                wait_for(lambda: bee.in_flight == 1)
                if extra:
                    raw.recv(100)
            wait_for(lambda: bee.in_flight == 0, 10)
            wait_for(lambda number=number: len(rows(tmp_path)) == number)
    assert [r["error"].split(":")[0] for r in rows(tmp_path)] == ["client_gone"] * 2 and not dog.seen
    assert server.engine.metrics.in_flight._value.get() == 0


def test_bodies_and_heads_have_limits(world):
    server, *_ = world
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {10**9}\r\n\r\n".encode())
        assert b"413" in raw.recv(100)
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"a" * 70_000)
        assert b"431" in raw.recv(100)
    assert server.call("/health").status == 200


def test_no_key_of_ours_reaches_a_client(monkeypatch, tmp_path):
    monkeypatch.setenv("BEE_KEY", "sk-very-secret-1234")
    leaks = lambda prompt, times: Act(text=f"my key is sk-very-secret-1234{' ' * times}")  # noqa: E731
    with LoopbackLLM(leaks) as bee, LoopbackLLM() as dog:
        with two(bee, dog, tmp_path, fields={"bee": {"api_key_env": "BEE_KEY"}}) as server:
            assert "secret" not in server.chat().text and bee.seen[0].headers["Authorization"].endswith("1234")
            bee.behave = lambda prompt, times: Act(status=400, body='{"error": "sk-very-secret-1234 is wrong"}')
            assert "secret" not in server.chat().text
        monkeypatch.delenv("BEE_KEY")
        with two(bee, dog, fields={"bee": {"api_key_env": "BEE_KEY"}}) as server:
            assert server.chat().json["model"] == "dog"
            refused = server.chat(model="bee")
            assert refused.status == 502 and "this server has no key" in refused.text and "BEE_KEY" not in refused.text
    assert "secret" not in json.dumps(rows(tmp_path))


def test_exploring_says_so_with_its_probability(tmp_path):
    with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog, tmp_path, explore=0.5) as server:
        for _ in range(60):
            assert server.chat().status == 200
        assert server.chat(model="dog").status == 200
    *routed, named = rows(tmp_path)
    assert "propensity" not in named and named["explored"] is False
    for row in routed:
        assert math.isclose(row["propensity"], 0.75 if row["llm"] == "bee" else 0.25)
        assert row["explored"] or row["llm"] == "bee"
    share = sum(r["llm"] == "dog" for r in routed) / 60
    assert 0.08 < share < 0.45  # 0.25 expected; five standard deviations

"""The backend `openai` against a real server on this machine that answers as it is told."""

import asyncio
import datetime
import email.utils
import json

import pytest
from backend_contract import answer, ask, chat_all
from loopback_llm import Act, LoopbackLLM, free_port
from raw_server import RawServer, completion, http

from fusion_hf.errors import UserError
from fusion_hf.llms.backends import KINDS, BackendError, open_backend, openai
from fusion_hf.llms.backends._http import retry_seconds
from fusion_hf.llms.pool import LLM


def endpoint(url, **fields):
    return LLM("far", "small", 0, 0, base_url=url, **fields)


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (Act(status=429), "rate_limit", "HTTP 429: status 429 as told"),
        (Act(status=500), "server", "HTTP 500"),
        (Act(status=503, body="<html>busy</html>"), "server", "HTTP 503: <html>busy"),
        (Act(status=401), "auth", "HTTP 401"),
        (Act(status=403), "auth", "HTTP 403"),
        (Act(status=404), "bad_request", "HTTP 404"),
        (Act(status=408), "timeout", "HTTP 408"),
        (Act(status=307, headers={"Location": "https://elsewhere/v1"}), "bad_request", "use that base_url"),
        (
            Act(status=400, body='{"error": {"message": "maximum context length is 9"}}'),
            "context_length",
            "length is 9",
        ),
        (Act(status=422, body='{"error": "no such field"}'), "bad_request", "HTTP 422: no such field"),
        (Act(body='{"error": {"code": 429, "message": "slow"}}'), "rate_limit", "HTTP 429: slow"),
        (Act(body='{"error": "odd"}'), "bad_reply", "odd"),
        (Act(body="<html>hello</html>"), "bad_reply", "found '<html>hello"),
        (Act(body="[]"), "bad_reply", r"expected choices\[0\].message.content"),
        (Act(body='{"choices": []}'), "bad_reply", "expected choices"),
        (Act(body=""), "bad_reply", "expected choices"),
        (Act(cut="before"), "connection", "ServerDisconnected"),
        (Act(cut="middle"), "connection", "ClientPayloadError"),
        (Act(delay=5), "timeout", "no answer within 0.2 s"),
    ],
)
def test_openai_names_what_went_wrong(act, kind, message):
    with LoopbackLLM(lambda *_: act) as server, pytest.raises(BackendError, match=message) as error:
        answer(endpoint(server.url), timeout=0.2 if act.delay else 5)
    assert error.value.kind == kind in KINDS and len(server.seen) == 1


def test_openai_connection_refused():
    with pytest.raises(BackendError, match="Connect") as error:
        answer(endpoint(f"http://127.0.0.1:{free_port()}/v1"))
    assert error.value.kind == "connection"


def test_openai_sends_key_and_options_and_never_shows_the_key(monkeypatch):
    llm = endpoint("http://x/v1", api_key_env="EXAMPLE_KEY", options={"max_tokens": 9, "top_p": 0.5, "timeout": 7})
    monkeypatch.delenv("EXAMPLE_KEY", raising=False)
    with pytest.raises(UserError, match="far: expected its key in the environment variable EXAMPLE_KEY, found none"):
        open_backend(llm)
    monkeypatch.setenv("EXAMPLE_KEY", "sk-secret\n")
    body = '{"error": {"message": "Incorrect key sk-secret"}}'
    with LoopbackLLM(lambda p, n: Act(status=401, body=body) if n else Act()) as server:
        llm = endpoint(server.url + "/", model="org/far", api_key_env="EXAMPLE_KEY", options=llm.options)
        answer(llm, "hello", max_tokens=3)
        with pytest.raises(BackendError, match=r"Incorrect key \*\*\*"):
            answer(llm, "hello")
    seen = server.seen[0]
    assert seen.headers["Authorization"] == "Bearer sk-secret"
    assert seen.body == {"model": "org/far", "messages": ask("hello"), "max_tokens": 3, "top_p": 0.5}


def test_openai_counts_come_from_the_server_or_say_that_they_are_estimates():
    usage = {"prompt_tokens": 7, "completion_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 21}}
    acts = {
        "full": Act(usage=usage, message={"reasoning_content": "hm"}),
        "none": Act(usage=None),
        "odd": Act(usage={"prompt_tokens": "seven", "completion_tokens": None, "completion_tokens_details": None}),
        "cut": Act(text=None, finish_reason="length"),
        "empty": Act(text=""),
        "refusal": Act(text=None, message={"refusal": "I will not."}),
        "parts": Act(message={"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        "half": Act(body='{"choices": [{"message": {"content": "ok \\ud83d"}, "finish_reason": null}]}'),
    }
    with LoopbackLLM(lambda prompt, _: acts[prompt]) as server:
        replies = dict(zip(acts, chat_all(open_backend(endpoint(server.url)), acts), strict=True))
    assert (replies["full"].input_tokens, replies["full"].output_tokens, replies["full"].reasoning_tokens) == (
        7,
        30,
        21,
    )
    assert replies["full"].text == "It is 42."
    assert replies["full"].usage_source == replies["empty"].usage_source == "server"
    for name in ("none", "odd", "half"):  # what the server does not count is estimated, and says so
        reply = replies[name]
        bytes_of = lambda text: -(-len(text.encode()) // 4)  # noqa: E731
        counts = (reply.input_tokens, reply.output_tokens, reply.reasoning_tokens)
        assert counts == (bytes_of(name), bytes_of(reply.text), None) and reply.usage_source == "estimated/bytes/4"
    assert (replies["cut"].text, replies["cut"].finish_reason) == ("", "length")
    assert replies["empty"].text == "" and replies["refusal"].text == "I will not." and replies["parts"].text == "ab"
    assert replies["half"].text == "ok �" and replies["half"].finish_reason is None


def test_openai_llms_behind_one_address_share_connections():
    async def go(url):
        backends = [open_backend(LLM(f"m{i}", "small", 0, 0, base_url=url)) for i in range(3)]
        for _ in range(2):
            for backend in backends:
                await backend.chat(ask("hello"))
        await backends[0].close()
        await backends[1].chat(ask("still open"))
        await asyncio.gather(*(b.close() for b in backends))

    with LoopbackLLM() as server:
        asyncio.run(go(server.url))
        asyncio.run(go(server.url))  # in another event loop
    assert len(server.seen) == 14 and len(server.clients) == 2


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_openai_asks_again_where_the_server_closes_a_connection_that_it_had_kept(dead, stream):
    """As llama.cpp's server does after a stream: the next request on that connection ends without a word."""

    def behave(prompt, headers):
        fresh = server.seen.count("again") > 1 and not dead
        return [http(json.dumps(completion()))] if prompt == "first" or fresh else ["abort"]

    async def go():
        backend = open_backend(endpoint(server.url, options={"stream": stream}))
        try:
            await backend.chat(ask("first"))
            return await backend.chat(ask("again"))
        finally:
            await backend.close()

    with RawServer(behave) as server:
        if dead:
            with pytest.raises(BackendError, match=r"ServerDisconnected|reset") as error:
                asyncio.run(go())
            assert error.value.kind == "connection"
        else:
            assert asyncio.run(go()).text == "ok"
    assert server.seen == ["first", "again", "again"]  # the second time on a new connection


def test_openai_does_not_pay_twice_where_the_server_had_worked_before_it_left(monkeypatch):
    monkeypatch.setattr(openai, "STALE_S", 0.1)

    async def go():
        backend = open_backend(endpoint(server.url))
        try:
            await backend.chat(ask("first"))
            await backend.chat(ask("again"))
        finally:
            await backend.close()

    behave = lambda prompt, headers: [http(json.dumps(completion()))] if prompt == "first" else [0.4, "abort"]  # noqa: E731
    with RawServer(behave) as server, pytest.raises(BackendError, match=r"ServerDisconnected|reset"):
        asyncio.run(go())
    assert server.seen == ["first", "again"]


def test_retry_after_is_seconds_or_a_date():
    assert retry_seconds("1.5") == 1.5 and retry_seconds("-3") == 0
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    assert 27 < retry_seconds(email.utils.format_datetime(soon, usegmt=True)) <= 30
    assert retry_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_seconds(x) for x in (None, "", "later", "nan", "inf")] == [None] * 5


def test_openai_reasoning_outside_of_the_completion_is_counted_once():
    details = {"completion_tokens_details": {"reasoning_tokens": 21}}
    acts = {
        "inside": Act(usage={"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37} | details),
        "outside": Act(usage={"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 37} | details),
    }
    with LoopbackLLM(lambda prompt, _: acts[prompt]) as server:
        replies = chat_all(open_backend(endpoint(server.url)), acts)
    assert [(r.output_tokens, r.reasoning_tokens) for r in replies] == [(30, 21), (30, 21)]


def test_openai_options_beyond_the_protocol_are_named_or_go_into_extra_body():
    with pytest.raises(UserError, match=r"far: unknown option 'max_token' .did you mean 'max_tokens'"):
        open_backend(endpoint("http://x/v1", options={"max_token": 3}))
    with LoopbackLLM() as server:
        answer(endpoint(server.url, options={"extra_body": {"mirostat": 2}}), "hello")
        with pytest.raises(UserError, match="far: unknown option 'temprature'"):
            answer(endpoint(server.url), "hello", temprature=1)
    assert [seen.body for seen in server.seen] == [{"model": "far", "messages": ask("hello"), "mirostat": 2}]

"""What users of OpenAI-compatible servers try besides a plain chat."""

import gzip
import json
import socket

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra serve")

import openai
from loopback_llm import Act, LoopbackLLM
from served import SUM, rows, two

ASKED = [{"role": "user", "content": SUM}]
TWO = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
         "logprobs": {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": []}]}}
        for n, text in enumerate(("first", "second"))
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, "system_fingerprint": "fp",
}  # fmt: skip


def events(*chunks):
    """A body of server-sent events."""
    common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return "".join(f"data: {json.dumps(common | chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def delta(index, text=None, reason=None):
    return {"choices": [{"index": index, "delta": {} if text is None else {"content": text}, "finish_reason": reason}]}


STREAM = events(delta(0, "fir"), delta(1, "sec"), delta(0, "st"), delta(1, "ond"), delta(0, None, "stop"),
                delta(1, None, "stop"), {"choices": [], "usage": TWO["usage"]})  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server over bee and dog, with a log; prompts say what bee does."""

    def behave(prompt, times):
        if "two streams" in prompt:
            return Act(body=STREAM, headers={"Content-Type": "text/event-stream"})
        return Act(body=json.dumps(TWO)) if "two" in prompt else Act()

    folder = tmp_path_factory.mktemp("served")
    with LoopbackLLM(behave) as bee, LoopbackLLM() as dog, two(bee, dog, folder) as server:
        yield server, bee, folder


def client_of(server, base=None):
    return openai.OpenAI(base_url=base or server.url, api_key="none", max_retries=0)


def test_several_choices_and_logprobs(world):
    server, bee, folder = world
    how = {
        "model": "bee",
        "messages": [{"role": "user", "content": "two"}],
        "n": 2,
        "logprobs": True,
        "top_logprobs": 1,
    }
    reply = client_of(server).chat.completions.create(**how)
    assert [c.message.content for c in reply.choices] == ["first", "second"]
    assert reply.choices[1].logprobs.content[0].logprob == -0.1 and reply.system_fingerprint == "fp"
    sent = bee.seen[-1].body
    assert sent["n"] == 2 and sent["logprobs"] is True and rows(folder)[-1]["output_tokens"] == 5
    how = {"model": "bee", "messages": [{"role": "user", "content": "two streams"}], "n": 2, "stream": True}
    texts = {0: "", 1: ""}
    for chunk in client_of(server).chat.completions.create(**how, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
        usage = chunk.usage
    assert texts == {0: "first", 1: "second"} and usage.completion_tokens == 5


def test_functions_of_old_and_fields_of_the_future(world):
    server, bee, _ = world
    old = {"functions": [{"name": "f", "parameters": {"type": "object"}}], "function_call": "auto"}
    fields = {"store": True, "metadata": {"a": "b"}, "user": "u", "reasoning_effort": "low", "prediction": None,
              "parallel_tool_calls": False, "logit_bias": {"1": -1}, "service_tier": "auto"}  # fmt: skip
    assert server.chat(**old, **fields).json["model"] == "bee"
    sent = bee.seen[-1].body
    assert {name: sent[name] for name in (*old, *fields)} == old | fields
    turns = [
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": SUM},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "79"},
    ]  # fmt: skip
    reply = server.call("/v1/chat/completions", {"model": "auto", "messages": turns})
    assert reply.status == 200 and bee.seen[-1].body["messages"] == turns


def test_other_endpoints_are_refused_in_words(world):
    server, *_ = world
    client = client_of(server)
    for ask in (
        lambda: client.completions.create(model="auto", prompt="x"),
        lambda: client.embeddings.create(model="auto", input="x"),
        lambda: client.responses.create(model="auto", input="x"),
        lambda: client.moderations.create(input="x"),
        lambda: client.images.generate(prompt="x"),
    ):
        with pytest.raises(openai.NotFoundError, match="this server answers chats at /v1/chat/completions"):
            ask()
    wrong = server.call("/v1/chat/completions")
    assert wrong.status == 405 and wrong.headers["allow"] == "POST" and "expected POST, found GET" in wrong.text
    assert wrong.json["error"]["code"] == "method_not_allowed"


def test_models_by_name(world):
    server, *_ = world
    client = client_of(server)
    assert client.models.retrieve("auto:cost").id == "auto:cost" and client.models.retrieve("bee").owned_by
    with pytest.raises(openai.NotFoundError, match="unknown model 'gpt'"):
        client.models.retrieve("gpt")


def test_base_urls_as_people_write_them(world):
    server, *_ = world
    for base in (server.base, server.base + "/", server.url + "/", server.url + "/v1", server.base + "//v1"):
        client = client_of(server, base)
        assert client.chat.completions.create(model="auto", messages=ASKED).model == "bee", base
        assert client.models.list().data[0].id == "auto"
    for path in ("/v1/chat/completions/", "//v1//chat/completions", "/chat/completions", "/v1/chat/completions?x=1"):
        assert server.call(path, {"model": "auto", "messages": ASKED}).status == 200, path


def raw(server, head, body=b""):
    """(status line, the rest) of a request as bytes."""
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as wire:
        wire.sendall(head.replace("HOST", f"{host}:{port}").encode("latin-1") + body)
        wire.settimeout(20)
        got = b""
        while part := wire.recv(65536):
            got += part
    first, _, rest = got.partition(b"\r\n")
    return first.decode(), rest


def test_methods_that_browsers_and_probes_send(world):
    server, *_ = world
    for path in ("/health", "/v1/models", "/"):
        line, rest = raw(server, f"HEAD {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
        assert " 200 " in line and rest.endswith(b"\r\n\r\n"), path
    ask = "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\nOrigin: https://a.example\r\nConnection: close\r\n"
    line, rest = raw(server, ask + "Access-Control-Request-Method: POST\r\n\r\n")
    assert " 405 " in line and b"access-control" not in rest.lower()  # no page of another site may ask


def test_long_prompts_and_the_expectations_of_curl(world):
    server, bee, _ = world
    long = "word " * 400_000  # 2 MB
    body = json.dumps({"model": "bee", "messages": [{"role": "user", "content": long}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    line, rest = raw(server, head + "Expect: 100-continue\r\n\r\n", body)
    assert " 100 " in line and b" 200 OK" in rest and bee.seen[-1].prompt == long
    assert server.chat("x" * (33 << 20)).status == 413


def test_headers_and_texts_in_any_alphabet(world):
    server, bee, folder = world
    body = json.dumps({"model": "auto", "messages": ASKED, "fusion": {"session": "сессия 🎈"}}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    line, _ = raw(server, head + "X-Title: d\u00e9j\u00e0 vu\r\nAuthorization: Bearer \u00fcber\r\n\r\n", body)
    assert " 200 " in line and rows(folder)[-1]["session"] == "сессия 🎈"
    for text in ("日本語で 7 + 8?", "\ud83d half of a pair", "nul \x00 here", "‮right to left"):
        assert server.chat(text).status == 200, text
    assert "X-Title" not in bee.seen[-1].headers and "User-Agent" in bee.seen[-1].headers


def test_bodies_that_are_nearly_json(world):
    server, bee, _ = world
    before = len(bee.seen)
    good = json.dumps({"model": "auto", "messages": ASKED})
    for body in (
        good.replace("}]", "}],").encode(), gzip.compress(good.encode()), b"\xff" + good.encode(),
        good.replace('"auto"', '"auto", "temperature": NaN').encode(), b"", b"null",
    ):  # fmt: skip
        refused = server.call("/v1/chat/completions", body or b" ")
        assert refused.status == 400 and refused.json["error"]["message"], body
    assert len(bee.seen) == before
    assert server.call("/v1/chat/completions", good.encode("utf-8-sig")).status in (200, 400)
    assert server.call("/v1/chat/completions", good.replace('"auto"', "null").encode()).json["model"] == "bee"

"""Odd replies of a server: none ends a run, makes a folder that cannot be built, fills the memory or keeps the key."""

import asyncio
import base64
import gzip
import io
import json
import logging
import time
import tracemalloc
import urllib.parse
import zlib

import pytest
from raw_server import RawServer, completion, http

from fusion_hf.llms.backends import KINDS, BackendError
from fusion_hf.llms.backends import _body as body_module
from fusion_hf.llms.backends._body import LARGEST, Body
from fusion_hf.llms.backends._secrets import clean, hide
from fusion_hf.llms.collect import collect
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.llms.requests import make_requests
from fusion_hf.logs.log import read_log
from fusion_hf.logs.shards import latest_rows
from fusion_hf.tasks import Example

KEY = "sk-canary 5f1e/two+blanks=="
BACKENDS = ("openai", "inference_client")


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("EXAMPLE_KEY", KEY)


def run(url, out, backend="openai", n=2, **options):
    """(summary, rows, log table) of a run of `n` questions; whatever the server sent, the run ends and builds."""
    pool = Pool([LLM("m", "small", 1, 2, backend=backend, base_url=url, api_key_env="EXAMPLE_KEY",
                     options={"max_tokens": 20})])  # fmt: skip
    examples = {"gsm8k": [Example(str(i), f"What is {i}?", [str(i)]) for i in range(n)]}
    options = {"retries": 0, "timeout": 5, "max_usd": 1.0, "progress": False} | options
    summary = collect(pool, make_requests(pool, examples, ("direct",)), out, **options)
    assert summary.read == n == summary.kept + summary.dropped.total() and set(summary.dropped) <= set(KINDS)
    return summary, latest_rows(out), read_log(out)


def sent(reply, **options):
    return http(json.dumps(reply), **options)


def say(**more):
    return sent(completion(**more))


def usage(**counts):
    return say(usage={"prompt_tokens": 10, "completion_tokens": 5} | counts)


PACKED = gzip.compress(json.dumps(completion()).encode())
GOOD, BAD = "kept", "bad_reply"
REPLIES = {
    # content
    **{f"content {value!r}": (say(text=value), BAD) for value in (42, True, 1.5, {"a": 1}, 0, False)},
    "content of text parts": (say(text=[{"type": "text", "text": "x"}]), GOOD),
    "content of text parts without a type": (say(text=[{"text": "x"}, "y"]), GOOD),
    "content of output parts": (say(text=[{"type": "output_text", "text": "x"}]), GOOD),
    "content of text and a picture": (say(text=[{"type": "text", "text": "x"}, {"type": "image_url"}]), GOOD),
    "content of a picture": (say(text=[{"type": "image_url", "image_url": {"url": "x"}}]), BAD),
    "content of numbers": (say(text=[5]), BAD),
    "content of a part of a number": (say(text=[{"type": "text", "text": 5}]), BAD),
    "content of a part of a mapping": (say(text=[{"text": {}}]), BAD),
    "content of parts that are null": (say(text=[None]), BAD),
    "content of no parts": (say(text=[]), GOOD),
    "content null": (say(text=None), GOOD),
    "content empty": (say(text=""), GOOD),
    "content null and a tool call": (say(text=None, message={"tool_calls": [{"id": "1"}]}, finish="tool_calls"), GOOD),
    "no content but a tool call": (sent({"choices": [{"message": {"tool_calls": [{"id": "1"}]}}]}), GOOD),
    "no content but reasoning": (sent({"choices": [{"message": {"reasoning": "hm"}}]}), GOOD),
    "no content at all": (sent({"choices": [{"message": {"role": "assistant"}}]}), BAD),
    "refusal": (say(text=None, message={"refusal": "No."}), GOOD),
    "refusal of a number": (say(text=None, message={"refusal": 5}), BAD),
    "half a character": (say(text="a\ud800b", finish="\ud83d"), GOOD),
    "NUL and control characters": (say(text="a\x00b\x1b]0;x\x07"), GOOD),
    "line separators": (http(json.dumps(completion("a\u2028b\r\nc\x85d"), ensure_ascii=False)), GOOD),
    # the frame
    **{f"body {body[:20]}": (http(body), BAD) for body in (
        "[]", '"x"', "NaN", "", "null", "5", '{"choices": []}', '{"choices": {}}', '{"choices": null}',
        '{"choices": ["x"]}', '{"choices": [{"message": null}]}', '{"choices": [{"message": []}]}',
        '{"choices": [[]]}', '{"choices": "x"}', "<html>x</html>", "[" * 100_000 + "]" * 100_000,
        '{"choices":' + "[" * 100_000, '{"a":' * 50_000)},
    "invalid UTF-8": (http(b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'), BAD),
    "a number of 5,000 digits": (
        http('{"choices":[{"message":{"content":"x"}}],"usage":{"a":' + "9" * 5000 + "}}"), BAD),
    "UTF-16": (http(json.dumps(completion()).encode("utf-16")), GOOD),
    "a mark of byte order": (http(b"\xef\xbb\xbf" + json.dumps(completion()).encode()), GOOD),
    "another type of content": (sent(completion(), kind="text/html; charset=evil"), GOOD),
    # other fields
    **{f"finish_reason {value!r}"[:40]: (say(finish=value), BAD) for value in ({"a": 1}, 5, ["stop"], True, 1.5)},
    "finish_reason null": (say(finish=None), GOOD),
    "finish_reason of a megabyte": (say(finish="x" * 10**6), GOOD),
    **{f"served model {value!r}"[:40]: (sent(completion(model=value)), GOOD)
       for value in (None, 5, {}, "x" * 10**6, "a\ud800")},
    **{f"reasoning {value!r}"[:40]: (say(message={"reasoning_content": value}), GOOD)
       for value in (5, {}, [1], "\ud83d")},
    **{f"usage {value!r}"[:40]: (say(usage=value), GOOD) for value in (None, [], "x", 5, {}, True)},
    **{f"prompt_tokens {value!r}"[:40]: (usage(prompt_tokens=value), GOOD)
       for value in (-10**6, float("nan"), float("inf"), 12.0, "12", True, {}, 2**40, 10**30)},
    "completion_tokens over the log": (usage(completion_tokens=2**31), GOOD),
    "completion_tokens of 400 digits": (usage(completion_tokens=10**400), GOOD),
    "reasoning_tokens over the log": (usage(completion_tokens_details={"reasoning_tokens": 2**40}), GOOD),
    "details of a list": (usage(completion_tokens_details=[], prompt_tokens_details="x"), GOOD),
    **{f"cost {value!r}"[:40]: (usage(cost=value), GOOD) for value in (-1, "x", {}, float("nan"), 10**400, True)},
    # failures under status 200
    "error beside no choice": (sent({"error": {"message": "x", "code": 429}}), "rate_limit"),
    "error beside a choice": (sent(completion() | {"error": {"message": "x", "code": 502}}), "server"),
    "error in a choice": (
        say(text="", finish="error", choice={"error": {"code": 502, "message": "upstream died"}}), "server"),
    "error in a choice, of a text": (say(text="", choice={"error": "upstream died"}), "server"),
    "error in a choice, too many": (say(text="", choice={"error": {"code": 429, "message": "x"}}), "rate_limit"),
    "error in a choice, too long": (
        say(text="", choice={"error": {"code": 400, "message": "maximum context length"}}), "context_length"),
    "error in a choice without a message": (sent({"choices": [{"error": {"code": 503, "message": "x"}}]}), "server"),
    "error as the reason, without a message": (sent({"choices": [{"finish_reason": "ERROR"}]}), "server"),
    "error in the message": (say(text=None, message={"error": {"message": "x"}}), "server"),
    "error as the reason": (say(text="", finish="error"), "server"),
    "abort as the reason": (say(text="half an ans", finish="abort"), "server"),
    **{f"error code {code!r}"[:40]: (sent({"error": {"message": "x", "code": code}}), BAD)
       for code in ("9" * 5000, "\u00b2", {}, [1], 1.5, -1, 10**400, None, "x")},
    **{f"error {value!r}"[:40]: (sent({"error": value}, status="500 E"), "server")
       for value in ([1, 2], {"message": {"a": [1]}}, 5, True, {"message": 5}, "x")},
    "a slow pattern": (sent({"error": {"message": "maximum " * 200_000}}, status="400 E"), "bad_request"),
    # packed bodies
    "gzip": (http(PACKED, headers=[("Content-Encoding", "gzip")]), GOOD),
    "gzip in two members": (http(gzip.compress(b" ") + PACKED, headers=[("Content-Encoding", "x-gzip")]), GOOD),
    "deflate": (http(zlib.compress(gzip.decompress(PACKED)), headers=[("Content-Encoding", "deflate")]), GOOD),
    "bare deflate": (
        http(zlib.compress(gzip.decompress(PACKED))[2:-4], headers=[("Content-Encoding", "Deflate")]), GOOD),
    "identity": (http(json.dumps(completion()), headers=[("Content-Encoding", "identity")]), GOOD),
    **{f"{name} of garbage": (http(b"xxxx", headers=[("Content-Encoding", name)]), BAD)
       for name in ("gzip", "deflate", "br", "zstd", "evil", "gzip, gzip")},
    "gzip that is cut": (http(PACKED[:-12], headers=[("Content-Encoding", "gzip")]), BAD),
    "gzip of nothing": (http(b"", headers=[("Content-Encoding", "gzip")]), BAD),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_reply_ends_a_run_or_spoils_its_folder(tmp_path, backend, subtests):
    for name, (reply, expected) in REPLIES.items():
        with subtests.test(name), RawServer(lambda *_, reply=reply: [reply]) as server:
            out = tmp_path / str(abs(hash(name)))
            summary, rows, table = run(server.url, out, backend)
            found = GOOD if summary.kept == 2 else "".join(summary.dropped)
            assert (found, table.num_rows) == (expected, 2), rows[0]


BROKEN = {
    "no HTTP": [b"EVIL\r\n\r\n", "close"],
    "HTTP/0.9": [b"hello", "close"],
    "TLS": [b"\x16\x03\x01\x02\x00", "close"],
    "chunks of garbage": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "close"],
    "a length that is too long": [http("{}", length=1000), 0.1, "abort"],
    "a negative length": [http("{}", length=-5), "close"],
    "a length in words": [http("{}", length="ten"), "close"],
    "two lengths": [http("{}", headers=[("Content-Length", "3")]), "close"],
    "a status of letters": [http("{}", status="abc Odd"), "close"],
    "status 999": [http("{}", status="999 Odd"), "close"],
    "status 204": [b"HTTP/1.1 204 No Content\r\n\r\n", "close"],
    "status 304": [b"HTTP/1.1 304 Not Modified\r\n\r\n", "close"],
    "status 101": [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx", "close"],
    "a header of 100 KB": [http("{}", headers=[("X", "a" * 100_000)]), "close"],
    "a header with NUL": [http("{}", headers=[("X", "a\x00b")]), "close"],
    "nothing": ["abort"],
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_broken_connection_ends_a_run(tmp_path, backend, subtests):
    for name, acts in BROKEN.items():
        with subtests.test(name), RawServer(lambda *_, acts=acts: acts) as server:
            summary, _, table = run(server.url, tmp_path / name.replace(" ", "-").replace("/", "-"), backend, timeout=1)
            assert summary.kept == 0 and table.num_rows == 2


WAITS = ("1e308", "nan", "-5", "soon\x01", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
         "Thu, 01 Jan 2020 00:00:00 -0000", "Thu, 01 Jan 2020 00:00:00 +99999999999", "Thu, 01 Jan 0000 00:00:00 GMT",
         "9" * 400)  # fmt: skip


def test_no_wait_that_a_server_asks_for_ends_a_run(tmp_path, subtests):
    for number, wait in enumerate(WAITS):
        reply = http("{}", status="429 T", headers=[("Retry-After", wait)])
        with subtests.test(wait), RawServer(lambda *_, reply=reply: [reply]) as server:
            assert run(server.url, tmp_path / str(number))[0].dropped == {"rate_limit": 2}


# ---------------------------------------------------------------- sizes


def bomb(megabytes):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        for _ in range(megabytes):
            file.write(b" " * (1 << 20))
    return packed.getvalue()


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3000):
        writer.write(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("status", ["200 OK", "400 E"])
def test_no_body_fills_the_memory(tmp_path, backend, status):
    packed = bomb(300)
    acts = {
        "What is 0?": [http(packed, status=status, headers=[("Content-Encoding", "gzip")]), "close"],
        "What is 1?": [endless],
        "What is 2?": [http(" " * (20 << 20), status=status), "close"],
    }
    with RawServer(lambda prompt, _: acts[prompt]) as server:
        tracemalloc.start()
        try:
            summary, rows, _ = run(server.url, tmp_path, backend, n=3, concurrency=1, timeout=60)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert summary.dropped == {"bad_reply": 3} and all("more than 16 MiB" in row["error"] for row in rows)
    assert peak < 8 * LARGEST, f"{peak >> 20} MiB"  # the server is in this process too


def test_the_limit_is_on_what_comes_and_on_what_it_unpacks_to(monkeypatch):
    monkeypatch.setattr(body_module, "_PART", 10)
    for coding, data in ((None, b"x" * 99), ("gzip", gzip.compress(b"x" * 99)), ("deflate", zlib.compress(b"x" * 99))):
        for size in (1, 7, 200):
            whole = Body(coding, most=99)
            for start in range(0, len(data), size):
                whole.feed(data[start : start + size])
            assert whole.finish() == b"x" * 99
            with pytest.raises(BackendError, match="more than"):  # noqa: PT012
                less = Body(coding, most=98)
                for start in range(0, len(data), size):
                    less.feed(data[start : start + size])
                less.finish()


# ---------------------------------------------------------------- keys


def u_escaped(text):
    return "".join(f"\\u{ord(c):04x}" for c in text)


ECHOES = {
    "in an error": lambda key: [sent({"error": {"message": f"bad key {key}"}}, status="401 U")],
    "in an error of plain text": lambda key: [http(f"trace: {key}", status="500 E")],
    "in an error, letter by letter": lambda key: [sent({"error": " ".join(key)}, status="401 U")],
    "in an error, line by line": lambda key: [sent({"error": "\n".join(key)}, status="401 U")],
    "in an error, at its end": lambda key: [http("x" * 280 + key, status="500 E")],
    "in an error, after many blanks": lambda key: [http(" " * 65_526 + key, status="500 E")],
    "in an error, as base64": lambda key: [sent({"error": base64.b64encode(key.encode()).decode()}, status="401 U")],
    "in a redirect": lambda key: [http("", status="301 M", headers=[("Location", f"http://127.0.0.1:9/?k={key}")])],
    "in a redirect, quoted": lambda key: [
        http("", status="301 M", headers=[("Location", "http://127.0.0.1:9/?k=" + urllib.parse.quote_plus(key))])],
    "in an answer": lambda key: [say(text=f"your header was {key}")],
    "in an answer, as base64": lambda key: [say(text=base64.b64encode(f"Bearer {key}".encode()).decode())],
    "in the reasoning": lambda key: [say(message={"reasoning": f"the key {key}"})],
    "in a refusal": lambda key: [say(text=None, message={"refusal": key})],
    "in the reason": lambda key: [say(finish=key)],
    "in the model": lambda key: [sent(completion(model=f"org/{key}"))],
    "in a body without choices": lambda key: [http(f'{{"x": "{u_escaped(key)}"}}')],
    "in a body that is no JSON": lambda key: [http(f"<html>{key}")],
    "in an error inside a choice": lambda key: [say(choice={"error": {"message": key}})],
    "in the status line": lambda key: [http("", status=f"500 {key}")],
    "in a broken header": lambda key: [http("{}", length=f"{key}"), "close"],
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", [KEY, "secretkey-5f1e-canary", "hf_" + "A1b2" * 9])
def test_the_key_is_in_no_file_and_no_message(tmp_path, backend, key, monkeypatch, caplog, capfd, subtests):
    monkeypatch.setenv("EXAMPLE_KEY", key)
    caplog.set_level(logging.DEBUG, "fusion_hf")
    for name, echo in ECHOES.items():
        behave = lambda _, headers, echo=echo: echo(headers["authorization"].removeprefix("Bearer "))  # noqa: E731
        out = tmp_path / name.replace(" ", "-")
        with subtests.test(name), RawServer(behave) as server:
            run(server.url, out, backend, n=1)
            kept = [path.read_bytes().decode() for path in out.rglob("*") if path.is_file()]
            for text in (*kept, caplog.text, *capfd.readouterr()):
                squeezed = "".join(text.split())
                assert "".join(key.split()) not in squeezed and key.replace("/", "%2F") not in squeezed, text[:500]
                assert base64.b64encode(key.encode()).decode()[4:-4] not in text


def test_a_key_is_hidden_however_it_is_written():
    key = "abcd efgh/1234"
    forms = [key, "abcd  efgh/1234", "abcd\nefgh/1234", "abcdefgh/1234", "a b c d e f g h / 1 2 3 4",
             "abcd+efgh%2F1234", "abcd%20efgh%2f1234",
             u_escaped(key),
             "abcd efgh\\/1234", "".join(f"&#{ord(c)};" for c in key)]  # fmt: skip
    for text in forms:
        assert hide(f"<{text}>", key) == "<***>", text
    for before in ("", "x", "xy", "Bearer "):
        packed = base64.b64encode(f"{before}{key}z".encode()).decode()
        assert hide(packed, key) != packed and len(hide(packed, key)) <= len(packed) - 8
    assert hide("abcd efgh/123", key) == "abcd efgh/123" and hide("x", None) == "x"
    # A short one stands for no key at servers that want none: it is no secret, and a word of answers.
    assert hide("EMPTY set", "EMPTY") == "EMPTY set" and clean("bad key EMPTY", "EMPTY") == "bad key ***"
    assert clean("a\x1b[2Jb\x00 c\u202e", None) == "a\ufffd[2Jb\ufffd c\ufffd"  # nothing that a terminal obeys


# ---------------------------------------------------------------- redirects


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_not_followed(tmp_path, backend, status):
    with RawServer(lambda *_: [say()]) as other:
        headers = [("Location", f"{other.url}/chat/completions")]
        with RawServer(lambda *_: [http("", status=f"{status} R", headers=headers)]) as server:
            summary, rows, _ = run(server.url, tmp_path, backend)
    assert summary.dropped == {"bad_request": 2} and not other.seen and len(server.seen) == 2
    assert f"it redirects to {other.url}/chat/completions: use that base_url" in rows[0]["error"]


def test_a_redirect_to_the_same_host_is_told_too(tmp_path):
    headers = [("Location", "/v2/chat/completions")]
    with RawServer(lambda *_: [http("", status="307 R", headers=headers)]) as server:
        summary, rows, _ = run(server.url, tmp_path, "inference_client")
    assert summary.dropped == {"bad_request": 2} and len(server.seen) == 2 and "/v2/chat" in rows[0]["error"]


# ---------------------------------------------------------------- backends of others


@pytest.mark.parametrize(
    "error", [TypeError("sk-canary"), KeyError("x"), RuntimeError("x"), RecursionError(), MemoryError()]
)
def test_what_a_backend_stumbles_over_ends_no_run(tmp_path, monkeypatch, error):
    from fusion_hf.llms.backends import openai

    async def chat(self, messages, **options):
        if "0" in messages[0]["content"]:
            raise error
        await asyncio.sleep(0)
        return {"text": "no Reply"}

    monkeypatch.setattr(openai.Backend, "chat", chat)
    summary, rows, _ = run("http://127.0.0.1:9/v1", tmp_path)
    assert summary.dropped == {"bad_reply": 2}
    errors = sorted(row["error"] for row in rows)
    assert any(type(error).__name__ in text and "test_odd_replies.py, line" in text for text in errors)
    assert any("expected a Reply" in text for text in errors) and "sk-canary" not in str(errors)


# ---------------------------------------------------------------- streams


def events(*chunks, end=True):
    data = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks] + ["[DONE]"] * end
    return http("".join(f"data: {line}\n\n" for line in data), kind="text/event-stream")


def delta(content="x", **choice):
    return {"choices": [{"index": 0, "delta": {"content": content}, **choice}]}


STREAMS = {
    "words": (events(delta("a"), delta("b"), delta("", finish_reason="stop")), GOOD),
    "an error in the middle": (events(delta("a"), {"error": {"code": 502, "message": "x"}}), "server"),
    "an error in a choice": (events(delta("a"), {"choices": [{"error": {"code": 429, "message": "x"}}]}), "rate_limit"),
    "an error as the reason": (events(delta("a"), delta("", finish_reason="error")), "server"),
    "a number as the words": (events(delta(5), end=True), BAD),
    "a mapping as the words": (events(delta({"a": 1})), BAD),
    "a reason of another type": (events(delta("a", finish_reason={"a": 1})), BAD),
    "no JSON": (events("nothing"), BAD),
    "no object": (events("[1]"), BAD),
    "nested JSON": (events("[" * 50_000), BAD),
    "choices of another type": (events({"choices": "x"}, {"choices": [5]}, delta("a")), GOOD),
    "half a character": (events(delta("a\ud800")), GOOD),
    "odd usage": (events(delta("a"), {"choices": [], "usage": {"prompt_tokens": 10**400}}), GOOD),
    "an end that is missing": (events(delta("a"), end=False), "connection"),
    "nothing": (events(end=False), "connection"),
    "no words": (events(), GOOD),
}


def test_no_stream_ends_a_run_or_spoils_its_folder(tmp_path, subtests):
    for name, (reply, expected) in STREAMS.items():
        with subtests.test(name), RawServer(lambda *_, reply=reply: [reply]) as server:
            llm = LLM("m", "small", 1, 2, base_url=server.url, options={"max_tokens": 20, "stream": True})
            examples = {"gsm8k": [Example(str(i), f"What is {i}?", [str(i)]) for i in range(2)]}
            requests = make_requests(Pool([llm]), examples, ("direct",))
            summary = collect(Pool([llm]), requests, tmp_path / name.replace(" ", "-"), retries=0, progress=False)
            assert (GOOD if summary.kept == 2 else "".join(summary.dropped)) == expected, summary
            assert read_log(tmp_path / name.replace(" ", "-")).num_rows == 2


def test_a_stream_of_many_small_words_takes_no_longer_than_its_bytes():
    from fusion_hf.llms.backends._stream import whole

    line = b'data: {"choices":[{"delta":{"content":"' + b"x" * 60 + b'"}}]}\n\n'
    began = time.perf_counter()
    reply = json.loads(whole(line * (LARGEST // len(line)) + b"data: [DONE]\n\n"))
    assert len(reply["choices"][0]["message"]["content"]) > 9_000_000 and time.perf_counter() - began < 30

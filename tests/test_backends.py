"""The contract of a backend, for every backend that exists; what is special to one is in its own file."""

import asyncio
import dataclasses
import importlib.util
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import contract_inputs
import pytest
from backend_contract import MANY_ENDS, answer, ask, chat_all, check_answers, check_long_and_short
from contract_inputs import TOO_LONG
from loopback_llm import Act, LoopbackLLM, free_port
from tiny_llm import make_tiny_llm

from fusion_hf import plugins
from fusion_hf.errors import MissingPackage, UserError
from fusion_hf.llms.backends import KINDS, BackendError, open_backend
from fusion_hf.llms.backends._usage import count_usage
from fusion_hf.llms.pool import LLM


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_llm(tmp_path_factory.mktemp("tiny"), ends=MANY_ENDS)


@pytest.fixture
def online(monkeypatch):
    """huggingface_hub's client refuses even this machine when the Hub is off line."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@contextmanager
def chatting(kind, behave, **options):
    """An LLM behind a server that behaves as told."""
    with LoopbackLLM(behave) as server:
        yield LLM("far", "small", 0, 0, backend=kind, base_url=server.url, options=options), server


@pytest.fixture(params=sorted({*contract_inputs.LLMS, *plugins.names("backends")}))
def any_llm(request, tiny, online):
    """An LLM of each backend; see `contract_inputs.LLMS`."""
    if request.param in contract_inputs.LATER:
        pytest.skip(contract_inputs.LATER[request.param])
    assert request.param in contract_inputs.LLMS, f"no LLM to test the backend {request.param!r} with"
    with contract_inputs.LLMS[request.param](tiny) as llm:
        yield llm


def test_contract_of_answers(any_llm):
    prompts = [f"{'very ' * (i % 4)}big {i}" for i in range(12)]
    replies = chat_all(open_backend(any_llm), prompts)
    check_answers(replies, [answer(any_llm, p) for p in prompts], most=8)


def test_contract_of_errors_and_attributes(any_llm):
    backend = open_backend(any_llm)
    assert backend.endpoint and (backend.concurrency is None or backend.concurrency > 0)
    check_long_and_short(chat_all(backend, ["word " * 400, "word"]))
    asyncio.run(backend.close())  # twice does no harm


@pytest.mark.parametrize("name", plugins.names("backends"))
def test_contract_of_options(name, tiny, online):
    options = {"max_token": 3}
    llm = LLM("ant", "small", 0, 0, backend=name, model=str(tiny), base_url="http://127.0.0.1:1/v1", options=options)
    with pytest.raises(UserError, match="ant: unknown option 'max_token'") as error:
        open_backend(llm)
    assert not plugins.ours("backends", name) or "(did you mean 'max_tokens'?)" in str(error.value)


@pytest.mark.parametrize("kind", ["openai", "inference_client"])
@pytest.mark.parametrize(
    ("act", "error", "wait"),
    [
        (Act(status=429, headers={"Retry-After": "7"}), "rate_limit", 7),
        (Act(status=500), "server", None),
        (Act(status=503, body="<html>busy</html>", headers={"Retry-After": "2"}), "server", 2),
        (Act(status=401), "auth", None),
        (Act(status=403), "auth", None),
        (Act(status=404), "bad_request", None),
        (Act(status=422, body='{"error": "no such field"}'), "bad_request", None),
        (Act(status=400, body=TOO_LONG), "context_length", None),
        (Act(body='{"error": {"code": 429, "message": "slow"}}'), "rate_limit", None),
        (Act(body="<html>hello</html>"), "bad_reply", None),
        (Act(body="[]"), "bad_reply", None),
        (Act(body='{"choices": []}'), "bad_reply", None),
        (Act(body='{"choices": [{}]}'), "bad_reply", None),
        (Act(body=""), "bad_reply", None),
        (Act(cut="before"), "connection", None),
        (Act(cut="middle"), "connection", None),
        (Act(delay=5), "timeout", None),
    ],
)
def test_contract_of_kinds_of_errors(kind, act, error, wait, online):
    with chatting(kind, lambda *_: act) as (llm, server), pytest.raises(BackendError) as raised:
        answer(llm, timeout=0.3 if act.delay else 5)
    assert raised.value.kind == error in KINDS and raised.value.retry_after == wait
    assert "\n" not in str(raised.value) and len(server.seen) == 1  # a backend never tries twice by itself


@pytest.mark.parametrize("kind", ["openai", "inference_client"])
def test_contract_of_refused_connections_and_keys(kind, online, monkeypatch):
    with pytest.raises(BackendError) as raised:
        answer(LLM("far", "small", 0, 0, backend=kind, base_url=f"http://127.0.0.1:{free_port()}/v1"))
    assert raised.value.kind == "connection"
    body = '{"error": {"message": "Incorrect key sk-secret"}}'
    with chatting(kind, lambda *_: Act(status=401, body=body)) as (llm, server):
        llm = LLM("far", "small", 0, 0, backend=kind, base_url=server.url, api_key_env="EXAMPLE_KEY")
        with pytest.raises(UserError, match="far: expected its key in the environment variable EXAMPLE_KEY"):
            open_backend(llm)
        monkeypatch.setenv("EXAMPLE_KEY", "sk-secret")
        with pytest.raises(BackendError, match=r"Incorrect key \*\*\*") as raised:
            answer(llm)
    assert server.seen[0].headers["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("kind", ["openai", "inference_client"])
def test_contract_of_usage_that_the_server_does_not_give(kind, online, tiny):
    with chatting(kind, lambda *_: Act(usage=None)) as (llm, server):
        reply = answer(llm, "12345")
        assert (reply.input_tokens, reply.output_tokens) == (2, 3) and reply.usage_source == "estimated/bytes/4"
        own = LLM("far", "small", 0, 0, backend=kind, base_url=server.url, tokenizer=str(tiny))
        reply = answer(own, "12345")  # a byte a token: "It is 42."
        assert (reply.input_tokens, reply.output_tokens) == (5, 9)
        assert reply.usage_source == f"estimated/{tiny.name}" and reply.reasoning_tokens is None
        with pytest.raises(UserError, match="far: expected its tokenizer '/no' on this machine, found none"):
            open_backend(LLM("far", "small", 0, 0, backend=kind, base_url=server.url, tokenizer="/no"))


def test_a_count_that_is_missing_is_estimated_and_the_other_kept():
    llm = LLM("far", "small", 0, 0, base_url="http://x/v1")
    counts = count_usage(llm, {"completion_tokens": 11}, ask("12345678"), "1234")
    assert counts == {
        "input_tokens": 2, "output_tokens": 11, "reasoning_tokens": None, "cached_tokens": None,
        "usage_source": "estimated/bytes/4",
    }  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed here")
def test_a_backend_without_its_package_says_how_to_install_it(tiny):
    with pytest.raises(MissingPackage, match=r"pip install 'fusion_hf\[vllm\]'"):
        open_backend(LLM("v", "small", 0, 0, backend="vllm", model=str(tiny)))


@pytest.mark.slow
def test_a_real_transformers_serve_keeps_the_contract_with_both_chat_backends(tmp_path, online):
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason="transformers serve needs it")
    folder, port = make_tiny_llm(tmp_path / "tiny", ends=MANY_ENDS), free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    url, options = f"http://127.0.0.1:{port}/v1", {"max_tokens": 8}
    prompts = [f"{'very ' * (i % 4)}big {i}" for i in range(12)]
    near = LLM("near", "small", 0, 0, backend="transformers", model=str(folder), options=options)
    expected = chat_all(open_backend(near), prompts)
    try:
        for backend in ("openai", "inference_client"):
            far = LLM("far", "small", 0, 0, backend=backend, base_url=url, model=str(folder), options=options)
            for _ in range(240):
                try:
                    answer(far)
                    break
                except BackendError as error:
                    if error.kind not in ("connection", "server") or server.poll() is not None:
                        pytest.fail(f"{error}: {(tmp_path / 'log').read_text()}")
                    time.sleep(0.5)
            check_answers(chat_all(open_backend(far), prompts), expected, most=8)
            with pytest.raises(BackendError) as refused:
                answer(dataclasses.replace(far, model="no/such"))
            assert refused.value.kind in ("bad_request", "server"), refused.value
    finally:
        server.terminate()
        server.wait(20)

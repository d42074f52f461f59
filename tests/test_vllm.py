"""A real vLLM on this machine's CPU, in process and as a server, with a model of a few thousand parameters."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest
from backend_contract import answer, ask, chat_all, check_answers, check_long_and_short
from loopback_llm import free_port
from tiny_llm import make_tiny_llm

from fusion_hf.errors import UserError
from fusion_hf.llms.backends import BackendError, open_backend
from fusion_hf.llms.pool import LLM

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed: VENV=… .ci/vllm"),
]
ENGINE = {"max_model_len": 256, "enforce_eager": True, "dtype": "float32", "max_num_seqs": 16}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    # 32 is the smallest head that vLLM's attention on a CPU has.
    return make_tiny_llm(tmp_path_factory.mktemp("tiny"), ends=range(1, 258, 20), head_dim=32)


@pytest.fixture(scope="module", autouse=True)
def small_cache():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_LOGGING_LEVEL", "WARNING")
        yield


@pytest.fixture(scope="module", autouse=True)
def server(tiny, small_cache, tmp_path_factory):
    """(address, log, process) of a server; it comes up while the other tests run. Its engine has processes of its own,
    the one in this process has not, so both ways that vLLM runs are tried.
    """
    port, path = free_port(), tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "tiny", "--enforce-eager", "--dtype", "float32"]
    command += ["--max-model-len", "256", "--max-num-seqs", "16"]
    with open(path, "w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"}, start_new_session=True
        )
    yield f"http://127.0.0.1:{port}/v1", path, process
    os.killpg(process.pid, signal.SIGKILL)  # with its engine; a polite end takes it half a minute
    process.wait(30)


@pytest.fixture(scope="module")
def expected(tiny):
    """What transformers answers with the same model."""
    llm = LLM("near", "small", 0, 0, backend="transformers", model=str(tiny), options={"max_tokens": 8})
    return open_backend(llm).generate_batch([ask(f"apples {i}?") for i in range(12)])


def offline(tiny, **options):
    return LLM("v", "small", 0, 0, backend="vllm", model=str(tiny), options={"max_tokens": 8} | ENGINE | options)


def test_the_engine_in_this_process_keeps_the_contract(tiny, expected, monkeypatch):
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    with pytest.raises(UserError, match=r"v: unknown option 'max_token' .did you mean 'max_tokens'"):
        open_backend(offline(tiny, max_token=3))
    backend = open_backend(offline(tiny))

    async def go():
        prompts = [f"{'very ' * (i % 4)}big {i}" for i in range(12)]
        together = await asyncio.gather(*(backend.chat(ask(p)) for p in prompts))
        alone = [await backend.chat(ask(p)) for p in prompts]
        check_answers(together, alone, most=8)
        check_long_and_short(
            await asyncio.gather(backend.chat(ask("word " * 400)), backend.chat(ask("word")), return_exceptions=True)
        )
        drawn = [(await backend.chat(ask("word"), temperature=1.0, seed=s)).text for s in (1, 1, 2)]
        with pytest.raises(UserError, match="unknown option 'top_n'"):
            await backend.chat(ask("word"), top_n=3)
        return drawn

    try:
        drawn = asyncio.run(go())
        own = backend.generate_batch([ask(f"apples {i}?") for i in range(12)], logprobs=True)
    finally:
        asyncio.run(backend.close())
        asyncio.run(backend.close())  # twice does no harm
    assert drawn[0] == drawn[1] != drawn[2]
    # Greedy decoding of the same weights. vLLM leaves the token that ends an answer out of the text, transformers only
    # where it is a special one, and here any letter may be.
    assert [r.input_tokens for r in own] == [r.input_tokens for r in expected]
    alike = [
        a.output_tokens == b.output_tokens and b.text.startswith(a.text) for a, b in zip(own, expected, strict=True)
    ]
    assert sum(alike) >= 10, list(zip(own, expected, strict=True))
    assert all(r.mean_logprob is not None and r.mean_logprob < 0 for r in own)


def test_the_server_answers_both_chat_backends(server, expected, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    url, log, process = server
    options = {"max_tokens": 8, "temperature": 0}
    first = LLM("far", "small", 0, 0, model="tiny", base_url=url, options=options)
    for _ in range(1200):
        try:
            answer(first)
            break
        except BackendError as error:
            if error.kind not in ("connection", "server") or process.poll() is not None:
                pytest.fail(f"{error}: {log.read_text()[-3000:]}")
            time.sleep(0.25)
    second = LLM("hub", "small", 0, 0, backend="inference_client", model="tiny", base_url=url, options=options)
    for llm in (first, second):
        replies = chat_all(open_backend(llm), [f"apples {i}?" for i in range(12)])
        check_answers(replies, replies, most=8)
        assert {r.usage_source for r in replies} == {"server"}
        assert [r.input_tokens for r in replies] == [r.input_tokens for r in expected]
        check_long_and_short(chat_all(open_backend(llm), ["word " * 400, "word"]))

import asyncio
import datetime
import email.utils
import os
import subprocess
import sys
import time

import pytest
import torch
from loopback_llm import Act, LoopbackLLM, free_port
from tiny_llm import make_tiny_llm

from fusion_hf.errors import UserError
from fusion_hf.llms.backends import KINDS, BackendError, Reply, backend_names, open_backend
from fusion_hf.llms.backends.openai import retry_seconds
from fusion_hf.llms.pool import LLM

# A third of all tokens end an answer, so that the rows of a batch end at different times.
MANY_ENDS = tuple(range(1, 258, 3))


def ask(text):
    return [{"role": "user", "content": text}]


def endpoint(url, **fields):
    return LLM("far", "small", 0, 0, base_url=url, **fields)


def local(folder, **options):
    return LLM("near", "small", 0, 0, backend="transformers", model=str(folder), options=options)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return make_tiny_llm(tmp_path_factory.mktemp("tiny"), ends=MANY_ENDS)


def chat_all(backend, prompts, **options):
    """Ask all prompts at once; errors come back as values."""

    async def go():
        try:
            chats = (backend.chat(ask(p), **options) for p in prompts)
            return await asyncio.gather(*chats, return_exceptions=True)
        finally:
            await backend.close()

    return asyncio.run(go())


def answer(llm, text="How many?", **options):
    (result,) = chat_all(open_backend(llm), [text], **options)
    if isinstance(result, Exception):
        raise result
    return result


# ---------------------------------------------------------------- the contract, for every backend that exists


def behave(prompt, times):
    if len(prompt) > 1000:
        return Act(status=400, body='{"error": {"code": "context_length_exceeded", "message": "no room"}}')
    return Act(text=f"I read {prompt}")


@pytest.fixture(params=backend_names())
def any_llm(request, tiny):
    """An LLM of each backend. A new backend needs a line here."""
    if request.param == "transformers":
        yield local(tiny, max_tokens=8)
    elif request.param == "openai":
        with LoopbackLLM(behave) as server:
            yield endpoint(server.url, options={"max_tokens": 8})
    else:
        pytest.fail(f"no LLM to test the backend {request.param!r} with")


def test_contract(any_llm):
    prompts = [f"{'very ' * (i % 4)}big {i}" for i in range(12)]
    replies = chat_all(open_backend(any_llm), prompts)
    for reply in replies:
        assert isinstance(reply, Reply), reply
        assert isinstance(reply.text, str) and reply.finish_reason in ("stop", "length")
        assert reply.input_tokens > 0 and 0 < reply.output_tokens <= 8 and reply.latency_s > 0
    # Every chat got its own answer: the one that it gets alone.
    alone = [answer(any_llm, p) for p in prompts]
    assert [r.text for r in replies] == [r.text for r in alone] and len({r.text for r in alone}) > 6
    assert [r.input_tokens for r in replies] == [r.input_tokens for r in alone]


def test_contract_of_errors_and_attributes(any_llm):
    backend = open_backend(any_llm)
    assert backend.endpoint and (backend.concurrency is None or backend.concurrency > 0)
    long, short = chat_all(backend, ["word " * 400, "word"])
    assert isinstance(long, BackendError) and long.kind == "context_length" and not long.may_retry
    assert isinstance(short, Reply)
    asyncio.run(backend.close())  # twice does no harm


# ---------------------------------------------------------------- openai


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


def test_openai_counts_come_from_the_server_or_not_at_all():
    usage = {"prompt_tokens": 7, "completion_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 21}}
    acts = {
        "full": Act(usage=usage, message={"reasoning_content": "hm"}),
        "none": Act(usage=None),
        "odd": Act(usage={"prompt_tokens": "7", "completion_tokens": None, "completion_tokens_details": None}),
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
    for name in ("none", "odd", "half"):
        reply = replies[name]
        assert (reply.input_tokens, reply.output_tokens, reply.reasoning_tokens) == (None, None, None)
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


def test_retry_after_is_seconds_or_a_date():
    assert retry_seconds("1.5") == 1.5 and retry_seconds("-3") == 0
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    assert 27 < retry_seconds(email.utils.format_datetime(soon, usegmt=True)) <= 30
    assert retry_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_seconds(x) for x in (None, "", "later", "nan", "inf")] == [None] * 5


# ---------------------------------------------------------------- transformers

PROMPTS = [f"{'more ' * (i % 7)}apples {i}?" for i in range(40)]


def test_local_batches_equal_single_answers_and_generate_itself(tiny):
    backend = open_backend(local(tiny, max_tokens=24, batch_size=16))
    together = backend.generate_batch([ask(p) for p in PROMPTS])
    texts = lambda replies: [(r.text, r.finish_reason, r.input_tokens, r.output_tokens) for r in replies]  # noqa: E731
    assert texts(together) == texts(backend.generate_batch([ask(p)])[0] for p in PROMPTS)
    assert texts(together) == texts(chat_all(open_backend(local(tiny, max_tokens=24)), PROMPTS))
    for prompt, reply in zip(PROMPTS, together, strict=True):
        ids = backend.tokenizer(prompt + "\nAnswer:", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            row = backend.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
        new = row[0, ids.shape[1] :].tolist()
        ended = new[-1] in MANY_ENDS
        assert reply.text == backend.tokenizer.decode(new, skip_special_tokens=True)
        assert (reply.input_tokens, reply.output_tokens) == (ids.shape[1], len(new))
        assert reply.finish_reason == ("stop" if ended else "length")
    # The test is about rows that end early beside rows that do not.
    assert {"stop", "length"} == {r.finish_reason for r in together} or len({r.output_tokens for r in together}) > 5


def test_local_batches_keep_to_size_budget_and_context(tiny):
    backend = open_backend(local(tiny, batch_size=4, token_budget=300))
    lengths = [5, 200, 7, 100, 101, 6, 8, 9, 10, 250]
    batches = list(backend._batches(lengths, 40))
    assert sorted(i for batch, _ in batches for i in batch) == list(range(10))
    for batch, new in batches:
        width = max(lengths[i] for i in batch) + new
        assert len(batch) <= 4 and width <= backend.context == 256
        assert len(batch) == 1 or len(batch) * width <= 300
        assert all(new == min(40, 256 - lengths[i]) for i in batch)
    (reply,) = backend.generate_batch([ask("x" * 240)], max_tokens=40)
    assert reply.input_tokens == 248 and reply.output_tokens <= 8


def test_local_prompts_use_the_template_or_plain_text(tiny, tmp_path):
    plain = open_backend(local(make_tiny_llm(tmp_path / "plain", template=None)))
    assert plain.tokenizer.decode(plain.encode([ask("Hello")])[0]) == "Hello"
    backend = open_backend(local(tiny))
    assert backend.tokenizer.decode(backend.encode([ask("Hello")])[0]) == "Hello\nAnswer:"


def test_local_sampling_repeats_by_seed_and_stop_texts_cut(tmp_path):
    backend = open_backend(local(make_tiny_llm(tmp_path / "m"), max_tokens=30))
    chats = [ask(p) for p in PROMPTS[:6]]
    texts = lambda **options: [r.text for r in backend.generate_batch(chats, **options)]  # noqa: E731
    greedy, first = texts(), texts(temperature=1.0, seed=1)
    assert first == texts(temperature=1.0, seed=1) != texts(temperature=1.0, seed=2)
    assert first != greedy and texts(temperature=1.0, top_k=1) == greedy
    letter = next(c for c in greedy[0][3:] if c.isascii())
    cut = backend.generate_batch(chats[:1], stop=[letter])[0]
    assert cut.text == greedy[0][: greedy[0].index(letter)] and cut.finish_reason == "stop"
    assert 0 < cut.output_tokens < 30


def test_local_generation_leaves_the_event_loop_free_and_survives_cancelled_chats(tiny):
    async def go():
        backend = open_backend(local(tiny, max_tokens=64, batch_size=8))
        chats = [asyncio.create_task(backend.chat(ask(p))) for p in PROMPTS]
        await asyncio.sleep(0.01)
        for chat in chats[::3]:
            chat.cancel()
        beats = 0
        while not all(c.done() for c in chats):
            await asyncio.sleep(0.001)
            beats += 1
        await backend.close()
        return beats, await asyncio.gather(*chats, return_exceptions=True)

    beats, results = asyncio.run(go())
    assert beats > 10
    assert all(isinstance(r, asyncio.CancelledError if i % 3 == 0 else Reply) for i, r in enumerate(results))


def test_local_options_and_models_that_do_not_exist(tiny, tmp_path):
    with pytest.raises(UserError, match=r"near: unknown option 'max_token' .did you mean 'max_tokens'"):
        open_backend(local(tiny, max_token=3))
    with pytest.raises(UserError, match="expected max_tokens to be a whole number of at least 1, found 0"):
        open_backend(local(tiny, max_tokens=0))
    with pytest.raises(UserError, match="expected a causal language model at"):
        open_backend(local(tmp_path))
    with pytest.raises(BackendError, match="the prompt has 408 tokens, near reads 256"):
        open_backend(local(tiny)).generate_batch([ask("x" * 400)])


def test_local_adapter_changes_the_answers(tiny, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    config = peft.LoraConfig(target_modules="all-linear", init_lora_weights=False, lora_alpha=64)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config).save_pretrained(tmp_path / "adapter")
    chats = [ask(p) for p in PROMPTS[:8]]
    plain = open_backend(local(tiny, max_tokens=8)).generate_batch(chats)
    adapted = open_backend(local(tiny, max_tokens=8, adapter=str(tmp_path / "adapter"))).generate_batch(chats)
    assert [r.text for r in plain] != [r.text for r in adapted]


# ---------------------------------------------------------------- a server that others wrote


@pytest.mark.slow
def test_openai_backend_and_transformers_serve(tmp_path):
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason="transformers serve needs it")
    folder, port = make_tiny_llm(tmp_path / "tiny"), free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        llm = endpoint(f"http://127.0.0.1:{port}/v1", model=str(folder), options={"max_tokens": 5})
        for _ in range(240):
            try:
                reply = answer(llm, "apples?")
                break
            except BackendError as error:
                if error.kind not in ("connection", "server") or server.poll() is not None:
                    pytest.fail(f"{error}: {(tmp_path / 'log').read_text()}")
                time.sleep(0.5)
        assert reply.input_tokens == len("apples?\nAnswer:") and 0 < reply.output_tokens <= 5
        assert reply.finish_reason in ("stop", "length") and isinstance(reply.text, str)
    finally:
        server.terminate()
        server.wait(20)

"""The backend `transformers` with a real model of a few thousand parameters."""

import asyncio
import shutil

import pytest
import torch
from backend_contract import MANY_ENDS, ask, chat_all
from tiny_llm import make_tiny_llm
from transformers import AutoModelForCausalLM

from fusion_hf.errors import UserError
from fusion_hf.llms.backends import BackendError, Reply, _load, open_backend
from fusion_hf.llms.pool import LLM


def local(folder, **options):
    return LLM("near", "small", 0, 0, backend="transformers", model=str(folder), options=options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_llm(tmp_path_factory.mktemp("tiny"), ends=MANY_ENDS)


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


def test_float16_weights_are_computed_with_as_float32_on_a_cpu(tiny, tmp_path, monkeypatch):
    def dtype(folder, **options):
        return open_backend(local(folder, device="cpu", **options)).model.dtype

    half = tmp_path / "half"
    shutil.copytree(tiny, half)
    AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float16).save_pretrained(half)
    assert dtype(half) == torch.float32
    assert dtype(half, dtype="float16") == torch.float16 and dtype(tiny, dtype="bfloat16") == torch.bfloat16
    monkeypatch.setattr(_load, "_fits", lambda size: False)  # memory is short
    assert dtype(half) == torch.float16

"""A tiny real model behind ``pipeline("thought-fusion")``, with an index: fixtures of the tests of pipelines."""

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    pipeline,
)

from fusion_hf.thoughts import TemplateIndex
from fusion_hf.thoughts.pipeline import register

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QUERIES = [
    "Tom has 3 apples and buys 4 more. How many apples has he?",
    "What is the capital of France?",
    "Solve 2x + 1 = 7 for x.",
]
CONTEXT = 512


@pytest.fixture(scope="module", autouse=True)
def task():
    """The pipeline is known to transformers."""
    return register()


def tiny_model(folder, chat=True, context=CONTEXT):
    """A random Llama with a byte-level tokenizer, saved to `folder`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=letters, show_progress=False)
    bpe.train_from_iterator(QUERIES, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=context, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    # Large random weights, so that the reply really depends on the prompt.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    """A model whose tokenizer has no chat template."""
    return tiny_model(tmp_path_factory.mktemp("base"), chat=False)


@pytest.fixture(scope="module")
def index():
    questions = {
        "apples": "Anna has 5 apples and eats 2. How many apples are left?",
        "pears": "Ben has 9 pears and sells 3. How many pears has he?",
        "spain": "What is the capital of Spain?",
        "equation": "Solve 3x - 2 = 10 for x.",
        "self": QUERIES[0],
    }
    rows = [
        {
            "query_id": key, "task": "mixed", "query": question, "template": f"Plan for {key}.",
            "answer": f"Answer to {key}.", "candidates": ["a"], "rule": "perf:3", "summariser": "hand",
            "prompt_version": "1",
        }
        for key, question in questions.items()
    ]  # fmt: skip
    return TemplateIndex.build(pa.Table.from_pylist(rows), "offline")


@pytest.fixture(scope="module")
def pipe(model, index):
    return thought_pipeline(model, index, k=2, max_new_tokens=8)


def thought_pipeline(model, templates, **kwargs):
    return pipeline("thought-fusion", model=model, templates=templates, do_sample=False, device="cpu", **kwargs)


def texts(results):
    return [result["generated_text"] for (result,) in results]

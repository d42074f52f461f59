"""A language model read inside as a text encoder: its vectors, its cache, what is chosen, and routers that hold it."""

import importlib.util
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import make_rows
from tiny_bert import tiny_bert
from tiny_llm import make_tiny_llm
from toy_log import toy_data
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
)

import fusion_hf
from fusion_hf.cli import main
from fusion_hf.encoders.cache import cache_folder, embed_cached
from fusion_hf.encoders.encoder import TextEncoder
from fusion_hf.encoders.hidden_states import HiddenStates, cut, depth
from fusion_hf.encoders.joint import JointEncoder
from fusion_hf.encoders.opened import open_encoder, read_name
from fusion_hf.errors import UserError
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.card import write_router_card
from fusion_hf.routers.fit_encoder import choose_block, fit_encoder
from fusion_hf.routers.measuring.cross_validation import cross_validate

TEXTS = ["what is 3 + 4?", "def f(x): return x", "a " * 300 + "z", "what is 3 + 4?", "é中"]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2,
         "num_key_value_heads": 1, "vocab_size": 258}  # fmt: skip
FAMILIES = {
    "qwen2": Qwen2Config(**SMALL), "mistral": MistralConfig(**SMALL),
    "gemma3": Gemma3TextConfig(**SMALL, head_dim=16, sliding_window=8),
    "gpt2": GPT2Config(n_embd=32, n_layer=4, n_head=2, vocab_size=258),
    "opt": OPTConfig(hidden_size=32, ffn_dim=64, num_hidden_layers=4, num_attention_heads=2, vocab_size=258,
                     word_embed_proj_dim=32),
}  # fmt: skip


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return str(make_tiny_llm(tmp_path_factory.mktemp("llm"), layers=6))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def float32(monkeypatch):
    """Weights as they are in the folder, on every machine."""
    monkeypatch.setattr("fusion_hf.encoders.opened.fast_dtype", lambda: torch.float32)


def part_of(name):
    (part,) = open_encoder(name).parts
    return part


# -- vectors


def test_vectors_are_the_states_of_the_model_itself(llm, float32):
    part = part_of(f"{llm}@layer=2")
    assert part.blocks == [(2, "last"), (2, "mean")] and part.size == 64
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llm).eval(), AutoTokenizer.from_pretrained(llm)
    with torch.inference_mode():
        batch = tokenizer(TEXTS[0], return_tensors="pt", return_token_type_ids=False)
        states = model.model.norm(model(**batch, output_hidden_states=True).hidden_states[2][0])
    expected = [torch.nn.functional.normalize(v, dim=0).numpy() for v in (states[-1], states.mean(0))]
    np.testing.assert_allclose(part.encode(TEXTS[:1])[0], np.concatenate(expected), atol=1e-5)


def test_batch_equals_single_and_long_texts_keep_head_and_tail(llm, float32):
    part = part_of(f"{llm}@tokens=64")
    vectors = part.encode(TEXTS)
    np.testing.assert_allclose(vectors, np.concatenate([part.encode([t]) for t in TEXTS]), atol=1e-5)
    full = part.tokenizer(TEXTS[2])["input_ids"]
    assert part.tokenize([TEXTS[2]])[0] == full[:32] + full[-32:]
    assert np.abs(part.encode(["a " * 300 + "q"]) - vectors[2]).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_is_cut_gives_the_same_vectors_under_the_same_names(family, llm):
    torch.manual_seed(0)
    model = AutoModel.from_config(FAMILIES[family]).eval()
    tokenizer = AutoTokenizer.from_pretrained(llm)
    blocks = [(1, "last"), (2, "mean"), (4, "last")]
    wide = HiddenStates(model, tokenizer, 64, blocks)
    vectors = np.split(wide.encode(TEXTS), 3, 1)
    for i, block in enumerate(blocks):
        alone = wide.only(block)
        assert depth(alone.model) == block[0] and alone.model.config.num_hidden_layers == block[0]
        np.testing.assert_allclose(alone.encode(TEXTS), vectors[i], atol=1e-5)
        assert alone.identities() == [wide.identities()[i]]
        again = AutoModel.from_config(alone.model.config).eval()  # as a checkpoint makes it
        again.load_state_dict(alone.model.state_dict())
        np.testing.assert_allclose(HiddenStates(again, tokenizer, 64, [block]).encode(TEXTS), vectors[i], atol=1e-5)
    assert depth(model) == 4 == model.config.num_hidden_layers  # as it was
    assert len(set(wide.identities())) == 3


def test_a_cut_model_shares_its_weights(llm):
    model = AutoModel.from_pretrained(llm)
    short = cut(model, 2)
    assert short.layers[1].mlp.up_proj.weight is model.layers[1].mlp.up_proj.weight
    assert len(short.state_dict()) < len(model.state_dict())


# -- names


def test_names(llm, bert):
    assert read_name("a/b@layer=12@pooling=last@tokens=96") == ("a/b", {"layer": 12, "pooling": "last", "tokens": 96})
    assert read_name("user@host/x") == ("user@host/x", {})
    assert open_encoder("none") is None
    assert type(open_encoder(bert)) is TextEncoder
    assert open_encoder(f"{bert}@tokens=16").max_length == 16
    joint = open_encoder(f"{bert},{llm}@pooling=mean")
    assert [type(p) for p in joint.parts] == [TextEncoder, HiddenStates]
    assert joint.parts[1].blocks == [(layer, "mean") for layer in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LLM@layer=9", "expected 1 to 6"), ("LLM@layer=x", "whole number"), ("LLM@pooling=max", "last or mean"),
        ("LLM@tokens=1", "at least 2"), ("LLM,none", "between commas"), ("LLM,,LLM", "between commas"),
        ("BERT@layer=1", "causal language models"), ("/nowhere/at/all.gguf", "GGUF file"),
        ("/nowhere", "cannot be loaded"),
    ],
)  # fmt: skip
def test_wrong_names(name, message, llm, bert):
    with pytest.raises(UserError, match=message):
        open_encoder(name.replace("LLM", llm).replace("BERT", bert))


def test_code_in_a_folder_is_not_run(llm, tmp_path):
    folder = tmp_path / "evil"
    make_tiny_llm(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError):
        open_encoder(str(folder))
    assert not (tmp_path / "ran").exists()


# -- the cache


def test_every_block_is_cached_apart(llm, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    wide = open_encoder(llm)
    vectors = embed_cached(wide, TEXTS)
    assert len(list((cache_folder() / "embeddings").iterdir())) == 8
    encoded = []
    monkeypatch.setattr(HiddenStates, "encode", lambda self, texts, *_: encoded.extend(texts) or 1 / 0)
    np.testing.assert_array_equal(embed_cached(open_encoder(f"{llm}@layer=3@pooling=mean"), TEXTS), vectors[:, 96:128])
    assert not encoded
    with pytest.raises(ZeroDivisionError):
        embed_cached(open_encoder(f"{llm}@layer=1"), TEXTS)
    assert len(encoded) == 4  # one text stands twice


# -- what is learned


def test_the_block_that_tells_scores_is_chosen():
    rng = np.random.default_rng(0)
    told = rng.normal(size=(200, 8))
    score = (told @ rng.normal(size=(8, 3)) > 0).astype(float)
    score[::7, 1] = np.nan
    noise = rng.normal(size=(3, 200, 8))
    assert choose_block([noise[0], noise[1], told, noise[2]], score) == 2


def test_what_is_learned_depends_on_training_data_alone_and_not_on_its_order(llm, bert):
    data, opened = toy_data(60), open_encoder(f"{bert},{llm}")
    fitted = fit_encoder(opened, data)
    assert fit_encoder(fitted, data) is fitted and fit_encoder(opened.parts[0], data) is opened.parts[0]
    assert len(fitted.parts[1].blocks) == 1 and fitted.size == min(16 + 32, 60)
    turned = fit_encoder(opened, data.subset(np.random.default_rng(0).permutation(60)))
    np.testing.assert_array_equal(fitted.axes, turned.axes)
    vectors = fitted.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors, embed_cached(fitted, TEXTS), atol=2e-2)  # bfloat16 where it is fast


def test_cross_validation_learns_the_encoder_in_each_fold(llm, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fusion_hf.routers.measuring.cross_validation.fit_encoder",
        lambda encoder, data, seed: seen.append(set(data.query_ids)) or fit_encoder(encoder, data, seed),
    )
    data = toy_data(60)
    found = cross_validate(data, ["linear"], folds=3, encoder=llm, progress=False)
    assert found["kinds"]["linear"]["reward"] > 0.6
    assert [len(ids) for ids in seen] == [40, 40, 40] and set.union(*seen) == set(data.query_ids)


# -- routers


@pytest.fixture(scope="module")
def router(llm, bert):
    return fit_router("linear", toy_data(120), encoder=f"{bert},{llm}", progress=False)


@pytest.fixture(scope="module")
def saved(router, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "router"
    router.save_pretrained(folder)
    return folder


def test_a_router_keeps_its_encoders(router, saved, monkeypatch, tmp_path):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))  # nothing is known
    queries = toy_data(12, seed=1).queries
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_router(saved)
    assert isinstance(loaded.text_encoder, JointEncoder)
    assert loaded.text_encoder.identity() == router.text_encoder.identity()
    np.testing.assert_allclose(loaded.predict(queries).performance, router.predict(queries).performance, atol=1e-6)
    block = router.config.encoders[1]["block"]
    assert depth(loaded.encoder[1]) == block[0] < 6  # what is not read is not carried
    loaded.save_pretrained(saved.parent / "again")
    again = load_router(saved.parent / "again")
    assert [d.candidate for d in again.route(queries)] == [d.candidate for d in loaded.route(queries)]


def test_without_our_package_too(router, saved):
    """What lies beside the checkpoint is enough (``trust_remote_code=True``)."""
    queries = toy_data(4, seed=1).queries
    code = f"""
import sys, json
sys.modules["fusion_hf"] = None
from transformers import AutoModel
router = AutoModel.from_pretrained({str(saved)!r}, trust_remote_code=True)
print(json.dumps(router.predict({queries!r}).performance.tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), router.predict(queries).performance, atol=1e-5)


@pytest.mark.parametrize("wrong", [
    5, [5], [{}], {"block": [0, "last"]}, {"block": [9, "last"]}, {"block": [1, "max"]}, {"dtype": "int8"},
    {"max_length": 0}, {"config": {"model_type": "evil"}},
])  # fmt: skip
def test_a_broken_list_of_encoders(wrong, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "r")
    config = json.loads((folder / "config.json").read_text())
    config["encoders"] = [config["encoders"][0], config["encoders"][1] | wrong] if isinstance(wrong, dict) else wrong
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        load_router(folder).route(["x"])
    assert "\n" not in str(error.value).strip()


def test_kinds_that_train_an_encoder_say_what_they_need(llm):
    with pytest.raises(UserError, match="one plain text encoder"):
        fit_router("encoder", toy_data(30), encoder=llm, progress=False)


def test_through_the_commands_without_a_warning(llm, bert, tmp_path, capfd):
    splits = {name: validate(rows_to_table(make_rows(n, split=name))) for name, n in (("train", 60), ("test", 20))}
    fusion_hf.write_bench(splits, tmp_path / "bench")

    encoder, router = f"{bert},{llm}@layer=3", str(tmp_path / "router")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bench = str(tmp_path / "bench")
        assert main(["train-router", bench, "--encoder", encoder, "--kind", "knn", "--out", router]) == 0
        cv = str(tmp_path / "cv.json")
        assert main(["cv-router", bench, "--encoder", encoder, "--kind", "knn", "--folds", "2", "--json", cv]) == 0
        assert main(["eval-router", router, bench, "--split", "test"]) == 0
        assert main(["route", router, "test 1: who is it?"]) == 0
    assert "arning" not in capfd.readouterr().err
    assert 0 < json.loads((tmp_path / "cv.json").read_text())["kinds"]["knn"]["reward"] <= 1
    settings = json.loads((tmp_path / "router" / "config.json").read_text())["training"]["settings"]
    assert settings["encoder"] == encoder  # makes it again
    write_router_card(router, "user/router")
    card = (tmp_path / "router" / "README.md").read_text()
    assert str(tmp_path) not in card and bert not in card and llm not in card and "@layer=3" in card


@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="needs the extra gguf")
def test_a_gguf_file_is_an_encoder(llm, tmp_path):
    from test_gguf import write_gguf

    write_gguf(llm, tmp_path / "tiny.gguf")
    router = fit_router("knn", toy_data(60), encoder=f"{tmp_path / 'tiny.gguf'}@layer=4@pooling=last", progress=False)
    router.save_pretrained(tmp_path / "router")
    (tmp_path / "tiny.gguf").unlink()
    loaded, queries = load_router(tmp_path / "router"), toy_data(6, seed=1).queries
    assert depth(loaded.encoder[0]) == 4
    np.testing.assert_allclose(loaded.predict(queries).performance, router.predict(queries).performance, atol=1e-6)

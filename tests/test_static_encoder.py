"""The static encoder: an ordinary model whose vectors are weighted means of its tokens' own."""

import numpy as np
import pytest
from tiny_bert import tiny_bert
from transformers import AutoModel, BertModel

from fusion_hf.cli import main
from fusion_hf.encoders.encoder import load_encoder
from fusion_hf.encoders.static_table import distil_static, save_static, token_weights
from fusion_hf.errors import UserError
from fusion_hf.routers import load_router


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return load_encoder(tiny_bert(tmp_path_factory.mktemp("bert")))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_text_is_the_mean_of_its_tokens_in_any_order(teacher):
    static = distil_static(teacher, size=8)
    words = static.encode(["what", "is", "city"])
    table = static.model.embeddings.word_embeddings.weight.detach().numpy()
    ids = [static.tokenizer(w)["input_ids"][1] for w in ("what", "is", "city")]
    assert np.allclose(words, unit(table[ids]), atol=1e-5)
    both = static.encode(["what is city city", "city what city is"])
    assert np.allclose(both[0], unit(table[[*ids, ids[2]]].mean(0)), atol=1e-5)
    assert np.allclose(both[0], both[1], atol=1e-6)


def test_all_components_keep_the_teachers_likeness_of_tokens(teacher):
    static = distil_static(teacher, size=16)
    table = static.model.embeddings.word_embeddings.weight.detach().numpy()
    ids = [i for i in range(len(table)) if i not in static.tokenizer.all_special_ids]
    words = [static.tokenizer.convert_ids_to_tokens(i) for i in ids]
    alone = teacher.encode(words)
    ours = table[ids] / token_weights(len(table))[ids, None]
    centred = alone - alone.mean(0)
    # A rotation changes no inner product; only the mean over dimensions was taken out.
    rotated = centred @ np.linalg.lstsq(centred, ours, rcond=None)[0]
    assert np.allclose(rotated, ours, atol=1e-4)


def test_rare_tokens_count_for_more_and_special_ones_for_nothing(teacher):
    weights = token_weights(30_000)
    assert (np.diff(weights) > 0).all() and weights[-1] > 0.9 and weights[0] < 0.01
    static = distil_static(teacher, size=8)
    table = static.model.embeddings.word_embeddings.weight.detach().numpy()
    assert not table[static.tokenizer.all_special_ids].any()


def test_it_is_an_ordinary_model_in_a_folder(teacher, tmp_path, capfd):
    static = distil_static(teacher, size=8)
    save_static(static, tmp_path)
    assert isinstance(AutoModel.from_pretrained(tmp_path), BertModel)
    assert "MISSING" not in capfd.readouterr().err
    texts = ["what is the capital of", "", "def return"]
    again = load_encoder(str(tmp_path))
    assert np.array_equal(again.encode(texts), static.encode(texts)) and again.identity() == static.identity()


def test_a_size_that_the_teacher_has_not_is_refused(teacher):
    with pytest.raises(UserError, match=r"expected a size in 1\.\.16"):
        distil_static(teacher, size=17)


def test_a_router_trains_on_it_and_loads(teacher, tmp_path, log_table, capsys):
    from fusion_hf.logs.log import write_bench

    write_bench({"train": log_table}, tmp_path / "bench")
    teacher_folder = teacher.model.name_or_path
    assert main(["static-encoder", teacher_folder, "--size", "8", "--out", str(tmp_path / "static")]) == 0
    command = ["train-router", str(tmp_path / "bench"), "--kind", "knn", "--encoder", str(tmp_path / "static")]
    assert main([*command, "--out", str(tmp_path / "router")]) == 0
    router = load_router(tmp_path / "router")
    assert router.encoder.config.num_hidden_layers == 0 and router.route(["what is city"])[0].candidate

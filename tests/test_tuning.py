"""Training a text encoder: which layers learn, what it reads, and several processes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert
from toy_log import toy_data

from fusion_hf.encoders.encoder import load_encoder
from fusion_hf.errors import UserError
from fusion_hf.routers import fit_router, load_router

DATA = toy_data(48)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def changed(before, after):
    """Names of the weights that differ."""
    theirs = dict(after.named_parameters())
    return {n for n, p in before.named_parameters() if not torch.equal(p, theirs[n])}


def test_given_encoder_stays_and_its_copy_learns(bert):
    encoder = load_encoder(bert)
    before = encoder.identity()
    router = fit_router("encoder", DATA, encoder, progress=False, epochs=1, rate=1e-3)
    names = changed(encoder.model, router.encoder)
    assert encoder.identity() == before != router.text_encoder.identity()
    assert any("embeddings" in n for n in names) and any("layer.0" in n for n in names)
    vectors = router.text_encoder.encode(DATA.queries)
    assert np.abs(router.features(DATA.queries).numpy()[:, :16] - vectors).max() < 1e-5
    # Examples for explanations are in the space of the trained encoder too.
    assert router.route(DATA.queries[:1], explain=True)[0].nearest[0]["similarity"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "kind, options", [("encoder", {"rate": 1e-3}), ("dc", {"tuning_rate": 1e-3, "steps": 20})], ids=["encoder", "dc"]
)
def test_only_the_last_layers_learn(bert, kind, options):
    encoder = load_encoder(bert)
    router = fit_router(kind, DATA, encoder, progress=False, layers=1, epochs=1, max_length=16, **options)
    names = changed(encoder.model, router.encoder)
    assert names and all("layer.0" in n for n in names)
    assert router.config.max_length == 16 and router.text_encoder.max_length == 16
    assert all(p.requires_grad for p in router.encoder.parameters())
    with pytest.raises(UserError, match="layers: expected 1 to 1 of this encoder, found 7"):
        fit_router(kind, DATA, encoder, progress=False, layers=7, **options)


def test_an_encoder_is_needed():
    with pytest.raises(UserError, match="kind 'encoder': expected the name of a text encoder"):
        fit_router("encoder", DATA, "none")
    with pytest.raises(UserError, match="layers other than 0: expected the name"):
        fit_router("dc", DATA, "none", layers=1)


SCRIPT = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from toy_log import toy_data
from fusion_hf.routers import fit_router
router = fit_router("encoder", toy_data(48), sys.argv[2], progress=False, epochs=2, rate=1e-3, batch=8)
assert torch.distributed.get_world_size() == 2
weights = torch.cat([p.detach().flatten() for p in router.encoder.parameters()])
both = [torch.zeros_like(weights) for _ in range(2)]
torch.distributed.all_gather(both, weights)
assert torch.equal(*both), "the processes have trained different encoders"
router.save_pretrained(f"{sys.argv[3]}-{torch.distributed.get_rank()}")
torch.distributed.destroy_process_group()
"""


def test_two_processes_train_one_encoder(bert, tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "run.py"]
    done = subprocess.run(
        [*command, os.path.dirname(__file__), bert, "router"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "router-1").exists()  # the first process saves
    assert load_router(tmp_path / "router-0").route(DATA.queries[:3])

"""The demo, on a small part of its sample and with two steps of training: every file, the page, and a second run."""

import json

import pyarrow.compute as pc
import pytest

import fusion_hf
from fusion_hf import demonstration
from fusion_hf.errors import UserError
from fusion_hf.logs.sample import pool_path, sample_path

QUERIES = 3  # of each task and split


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The demo with a few queries of each task."""
    import shutil

    parts = {}
    for split in ("train", "partial_test", "test"):
        table, kept = fusion_hf.read_log(sample_path(), split), []
        for task in pc.unique(table["task"]).to_pylist():
            queries = pc.unique(table.filter(pc.equal(table["task"], task))["query_id"]).to_pylist()
            kept += sorted(queries)[: QUERIES * (5 if split == "train" else 1)]
        parts[split] = table.filter(pc.is_in(table["query_id"], value_set=pc.cast(kept, table["query_id"].type)))
    bench = fusion_hf.write_bench(parts, tmp_path / "sample", replace=True)
    for name in ("llms", "tasks"):
        shutil.copytree(sample_path() / name, bench / name, dirs_exist_ok=True)
    shutil.copy2(sample_path() / "performance.png", bench)
    monkeypatch.setattr(demonstration, "sample_path", lambda: bench)
    settings = [*demonstration.SFT_SETTINGS, "--max_steps", "2"]
    monkeypatch.setattr(demonstration, "SFT_SETTINGS", settings)
    return tmp_path / "demo"


@pytest.mark.slow
def test_the_demo_makes_what_it_says_and_touches_nothing_else(small, capsys):
    pytest.importorskip("trl")
    pytest.importorskip("matplotlib")
    small.mkdir()
    (small / "thesis.md").write_text("years of work")
    with pytest.raises(UserError, match="is not empty, and fusion_hf did not make it"):
        fusion_hf.demo(small)
    made = fusion_hf.demo(small, overwrite=True)
    assert (small / "thesis.md").read_text() == "years of work"
    assert {*made.made} <= {p.name for p in small.iterdir()}
    assert {p.name for p in small.iterdir()} <= {*demonstration.MADE, "thesis.md", ".fusion_hf.json"}
    report = json.loads((small / "report.json").read_text())
    assert report["systems"]["thought level"]["level"] == "thought"
    assert report["systems"]["model level"]["level"] == "model"
    page = str(made).splitlines()
    assert len(page) < 60 and all(len(line) < 140 for line in page)
    assert any(line.strip().startswith(("right:", "wrong:")) for line in page) and len(made.asked) == 2
    assert json.loads(json.dumps(made.to_dict()))["choice"]["tasks"]
    said = capsys.readouterr()
    assert not said.out and "[7/7]" in said.err, "what it is at goes to standard error"
    assert fusion_hf.FusedSystem.from_pretrained(small / "fused").tasks
    assert pool_path().is_file()

"""`update`: a router learns from what was served, and stays where that makes it worse."""

import json

import numpy as np
import pytest
from toy_fused import toy_bench, toy_pool
from toy_log import CANDIDATES, GOOD, toy_data

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.llms.pool import save_pool
from fusion_hf.logs.schema import query_id
from fusion_hf.routers import fit_router, load_router
from fusion_hf.serving.updating import update


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return toy_bench(tmp_path_factory.mktemp("bench") / "bench")


def weak_router(folder):
    """It has seen six queries."""
    fit_router("knn", toy_data(6), encoder="none", progress=False).save_pretrained(folder)
    return folder


def traffic(folder, right, n=400, explore=0.6):
    """A folder as `serve --log full --explore` leaves it; `right` says what score a (task, candidate) was given."""
    folder.mkdir()
    save_pool(toy_pool(), folder / "pool.yaml")
    rng = np.random.default_rng(3)
    data = toy_data(n, seed=11)
    with open(folder / "shard-1-served-1-a.jsonl", "w") as shard, open(folder / "feedback-1.jsonl", "w") as said:
        for number, (query, task) in enumerate(zip(data.queries, data.tasks, strict=True)):
            chosen = int(rng.integers(0, 3)) if rng.random() < explore else 0
            name = f"req-{number}"
            row = {"query_id": query_id(task, name, query), "task": task, "source_id": name, "query": query,
                   "ground_truth": [], "metric": "", "llm": CANDIDATES[chosen], "mode": "direct", "response": "x",
                   "cost": 1e-5, "input_tokens": 4, "output_tokens": 3, "request_id": name, "attempt": 1,
                   "propensity": explore / 3 + (1 - explore) * (chosen == 0), "explored": False}  # fmt: skip
            shard.write(json.dumps(row) + "\n")
            score = {"request_id": name, "score": right(task, chosen), "at": f"{number:06d}"}
            said.write(json.dumps(score) + "\n")
    return folder


def test_a_better_router_replaces_the_old_one_which_is_kept(bench, tmp_path):
    router = weak_router(tmp_path / "router")
    logs = traffic(tmp_path / "served", lambda task, chosen: float(GOOD[task] == chosen))
    result = update(router, logs, bench=bench)
    assert result.replaced and result.read == 400 and result.kept + sum(result.dropped.values()) <= 400
    assert result.held_out["difference"] > 0 and result.served["difference"] > 0
    assert load_router(str(router)).config.trained_on > load_router(result.previous).config.trained_on == 6
    assert "difference +" in str(result) and "replaced" in str(result)
    again = update(router, logs, bench=bench)
    assert again.previous.endswith("router.before-2")


def test_a_worse_router_is_refused_unless_forced(bench, tmp_path, capsys):
    """Somebody gave thumbs up to the wrong answers."""
    router = tmp_path / "router"
    fit_router("knn", toy_data(300, seed=4), encoder="none", progress=False).save_pretrained(router)
    before = (router / "model.safetensors").read_bytes()
    logs = traffic(tmp_path / "served", lambda task, chosen: float(GOOD[task] != chosen), n=3000)
    command = ["update", str(router), str(logs), "--bench", str(bench)]
    assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
    told = json.loads((tmp_path / "out.json").read_text())
    assert not told["replaced"] and "worse on held-out queries" in told["reason"] and told["held_out"]["high"] < 0
    assert (router / "model.safetensors").read_bytes() == before and "kept the old router" in capsys.readouterr().out
    assert main([*command, "--force"]) == 0
    assert (router / "model.safetensors").read_bytes() != before and "forced" in capsys.readouterr().out


def test_what_cannot_be_learned_from_is_an_error(bench, tmp_path):
    router = weak_router(tmp_path / "router")
    logs = traffic(tmp_path / "served", lambda task, chosen: 1.0, n=20)
    (logs / "feedback-1.jsonl").unlink()
    with pytest.raises(UserError, match="none of 20 served rows can be learned from: serve with --log full"):
        update(router, logs, bench=bench)
    with pytest.raises(UserError, match="expected the folder of a router"):
        update(tmp_path / "none", logs, bench=bench)

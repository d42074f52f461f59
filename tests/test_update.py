"""`update`: a router learns from what was served, and stays where that makes it worse."""

import json

import numpy as np
import pytest
from toy_fused import toy_bench, toy_pool
from toy_log import CANDIDATES, GOOD, toy_data

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.fused import FusedSystem, write_fused
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


def test_a_router_is_made_again_as_it_was_made(bench, tmp_path):
    fit_router(
        "dc", toy_data(6), encoder="none", task_labels=False, seed=7, progress=False, size=8, steps=20
    ).save_pretrained(tmp_path / "router")
    made = load_router(str(tmp_path / "router")).config.training["settings"]
    logs = traffic(tmp_path / "served", lambda task, chosen: float(GOOD[task] == chosen))
    assert made["option"]["size"] == 8 and update(tmp_path / "router", logs, bench=bench, force=True).replaced
    again = load_router(str(tmp_path / "router")).config
    assert again.training["settings"] == made and again.tasks is None and again.trained_on > 6
    update(tmp_path / "router", logs, bench=bench, seed=9, force=True)
    assert load_router(str(tmp_path / "router")).config.training["settings"]["seed"] == 9


def test_the_routers_of_a_fused_system_learn_too(bench, tmp_path, capsys):
    """A router decides two of its tasks, and learns from them; what was measured of the old one goes."""
    weak = weak_router(tmp_path / "near")
    seen = {c: {"performance": 0.5, "cost_usd": 1e-5} for c in CANDIDATES}
    figures = {"performance": 0.5, "verdict": "better"}
    spec = {"near": {"kind": "router", "router": str(weak), "scenario": "performance"},
            "bee": {"kind": "candidate", "candidate": "bee"}}  # fmt: skip
    tasks = {
        task: {"system": system, "level": "x", "candidates": seen, "span": {"performance": 1.0, "cost": 1e-4},
               "evidence": {"test": figures}}
        for task, system in (("sums", "bee"), ("code", "near"), ("capitals", "near"))
    }  # fmt: skip
    config = {"bench": "toy", "made_by": "a test", "best_single": "bee", "systems": spec, "tasks": tasks, "test": None}
    recogniser = fit_router("best-per-task", toy_data(60), encoder="none", progress=False)
    folder = write_fused(tmp_path / "fused", config, toy_pool(), recogniser, {})
    logs = traffic(tmp_path / "served", lambda task, chosen: float(GOOD[task] == chosen))
    with pytest.raises(UserError, match="a fused system has chosen its own for each task"):
        update(folder, logs, bench=bench, scenario="cost")
    result = update(folder, logs, bench=bench)
    (one,) = result.routers.values()
    assert result.replaced and one.replaced and one.held_out["difference"] > 0 and result.held_out is None
    assert "1 of 1 routers are new" in str(result) and "routers/near: held out:" in str(result)
    system = FusedSystem(folder)
    assert system.config["tasks"]["code"]["evidence"]["test"] is None
    assert system.config["tasks"]["sums"]["evidence"]["test"] == figures
    data = toy_data(40, seed=5)
    code = [q for q, task in zip(data.queries, data.tasks, strict=True) if task == "code"]
    chosen = [d.candidate for d in system.plan(code, tasks="code")]
    assert chosen.count(CANDIDATES[GOOD["code"]]) > 0.9 * len(code)
    assert (tmp_path / "fused.before-1" / "fused_config.json").is_file()
    assert main(["update", str(folder), str(logs), "--bench", str(bench)]) == 0
    assert "of 1 routers are new" in capsys.readouterr().out

"""The collector on Ray Data: a cluster of two CPUs on this machine, against a loopback server."""

import json
import os
import signal
import threading
import time
from collections import Counter

import pytest
from loopback_llm import Act, LoopbackLLM
from test_collect import examples, pool_at, rows_of

from fusion_hf.cli import main
from fusion_hf.llms.collect import collect_examples
from fusion_hf.llms.pool import LLM, Pool, save_pool
from fusion_hf.llms.requests import worst_case
from fusion_hf.logs.shards import read_rows, row_key

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")]
ray = pytest.importorskip("ray", reason="needs the extra ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=80 << 20
    )
    yield
    ray.shutdown()


def run(pool, n, out, modes=("direct",), **options):
    summary = collect_examples(pool, examples(n), out, modes, progress=False, engine="ray", block=25, **options)
    assert summary.read == summary.kept + summary.dropped.total()
    json.dumps(summary.to_dict())
    return summary


def test_every_request_gets_its_row_and_the_same_command_resumes(tmp_path):
    def behave(prompt, times):
        if "What is 7 " in prompt:
            return Act(status=400)
        return Act(status=500) if "1" in prompt and times == 0 else Act(text=f"read: {prompt}", delay=0.01)

    with LoopbackLLM(behave) as server:
        pool = pool_at(server.url, server.url)
        collect_examples(pool, examples(10), tmp_path, ("direct",), progress=False)  # the other engine begins
        first = {(seen.prompt, seen.body["model"]) for seen in server.seen}
        begun, server.peak = len(server.seen), 0
        summary = run(pool, 60, tmp_path, ("direct", "think"), concurrency=10)
    assert summary.resumed == 18 and summary.kept == 60 * 4 - 4 and summary.dropped == {"bad_request": 4}
    assert summary.retried["server"] > 20
    assert summary.usd == pytest.approx((236 - 18) * 20e-6) and summary.usd_total == pytest.approx(236 * 20e-6)
    assert server.peak <= 10 and len(server.clients) > 1  # shared out to the actors
    again = {seen.prompt for seen in server.seen[begun:]} & {prompt for prompt, _ in first}
    assert again == {"What is 7 + 7?"}  # only what had failed
    rows = rows_of(tmp_path)
    assert len(rows) == 240 and sum(r.get("error") is None for r in rows.values()) == 236
    assert all(r["response"].startswith(f"read: {r['query']}") for r in rows.values() if r.get("error") is None)
    assert not list(tmp_path.glob(".run-*"))


def test_the_cap_holds_for_all_actors_together(tmp_path):
    most = worst_case(pool_at("http://x/v1")["m0"], [{"role": "user", "content": "What is 10 + 10?"}])
    usage = {"prompt_tokens": round(most * 1e6) - 40, "completion_tokens": 20}
    with LoopbackLLM(lambda *_: Act(usage=usage, delay=0.01)) as server:
        summary = run(pool_at(server.url), 100, tmp_path, max_usd=6.5 * most)
        assert summary.kept == 6 == len(server.seen) and summary.dropped == {"budget": 94}
        assert summary.usd_total <= 6.5 * most


def test_a_block_whose_actor_is_killed_is_finished_by_another_and_repeats_nothing_that_was_kept(tmp_path):
    killed = []

    def kill_one(server):
        while len(server.seen) < 30:
            time.sleep(0.01)
        names = {p.name.rsplit("-", 2)[1] for p in tmp_path.glob("shard-*")}
        killed.append(int(sorted(names)[0]))
        os.kill(killed[0], signal.SIGKILL)

    with LoopbackLLM(lambda *_: Act(delay=0.05)) as server:
        killer = threading.Thread(target=kill_one, args=(server,))
        killer.start()
        summary = run(pool_at(server.url), 100, tmp_path, concurrency=4, max_usd=1.0)
        killer.join()
    assert killed and summary.kept == 100 == len(rows_of(tmp_path))
    answers = Counter(row_key(row) for row in read_rows(tmp_path))
    assert answers.most_common(1)[0][1] == 1
    assert 100 <= len(server.seen) <= 100 + 2  # at most what the dead actor had in flight is asked twice
    assert summary.usd == pytest.approx(100 * 20e-6)


def test_wrong_input_of_an_actor_is_one_line_of_the_command_line(tmp_path, capsys):
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "What is 1 + 1?", "answer": "It is. #### 2"}))
    llm = LLM("m", "small", 1, 1, base_url="http://127.0.0.1:1/v1", options={"max_token": 3})
    pool = save_pool(Pool([llm]), tmp_path / "pool.yaml")
    command = ["collect", "--pool", str(pool), "--tasks", "gsm8k", "--split", "test", "--modes", "direct"]
    command += ["--source", str(tmp_path / "test.jsonl"), "--out", str(tmp_path / "out"), "--engine", "ray"]
    assert main(command) == 2
    assert "m: unknown option 'max_token' (did you mean 'max_tokens'?)" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "out").glob(".run-*"))

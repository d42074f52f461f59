"""The endpoint on Ray Serve: a cluster on this machine with two replicas, one of which is killed."""

import asyncio
import collections
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request

import pytest
from loopback_llm import Act, LoopbackLLM
from served import SUM, llm, rows, toy_router, wait_for

pytest.importorskip("ray.serve", reason="needs the extra ray")

import ray
from ray import serve

from fusion_hf.errors import UserError
from fusion_hf.llms.pool import Pool, save_pool
from fusion_hf.serving.clients import Client, Ledger
from fusion_hf.serving.errors import ServeError
from fusion_hf.serving.ray_serve import Options, build
from fusion_hf.serving.shared_ledger import HELD_S, LedgerKeeper, SharedLedger

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
ALICE, BOB = "alice-token-0123456789", "bob-token-0123456789ab"
USD = 20e-6  # of one answer of bee


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=80 << 20)  # fmt: skip
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def ask(base, token, path="/v1/chat/completions", text=SUM, **fields):
    """(status, body, headers) of one request; status 0 where the connection broke."""
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}], **fields}).encode()
    request = urllib.request.Request(base + path, None if "stats" in path else body)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers
    except OSError:
        return 0, "", {}


def prepared(folder, bee, dog):
    """Options of an application with two replicas, bob without a budget and alice with one for 30 answers."""
    toy_router().save_pretrained(folder / "router")
    save_pool(Pool([llm("bee", bee.url), llm("dog", dog.url)]), folder / "pool.yaml")
    clients = {"alice": {"token": ALICE, "usd_a_day": 30 * USD}, "bob": {"token": BOB}}
    (folder / "clients.yaml").write_text(json.dumps({"clients": clients}))
    return {"system": str(folder / "router"), "pool": str(folder / "pool.yaml"), "out": str(folder / "served"),
            "clients": str(folder / "clients.yaml"), "log": "full", "replicas": 2, "num_cpus": 0.5}  # fmt: skip


def processes(folder):
    """Process ids of the replicas that have written shards."""
    return {int(path.name.split("-")[3]) for path in (folder / "served").glob("shard-*.jsonl")}


def test_two_replicas_share_budgets_and_lose_nothing_when_one_is_killed(cluster, tmp_path):
    slow = lambda prompt, times: Act(delay=0.05)  # noqa: E731
    with LoopbackLLM(slow) as bee, LoopbackLLM() as dog:
        serve.run(build(Options(**prepared(tmp_path, bee, dog))), name="fusion")
        status, text, headers = ask(cluster, BOB)
        assert status == 200 and json.loads(text)["model"] == "bee" and headers["x-fusion-candidate"] == "bee"
        assert ask(cluster, "wrong-token-0123456789")[0] == 401
        status, text, _ = ask(cluster, BOB, stream=True)
        assert status == 200 and text.rstrip().endswith("data: [DONE]")

        outcome, stop = collections.Counter(), threading.Event()
        finished, lock = set(), threading.Lock()

        def client(number):
            for turn in range(10_000):
                if stop.is_set():
                    return
                status, _, headers = ask(cluster, BOB, text=f"{SUM} {number} {turn}")
                with lock:
                    outcome[status] += 1
                    if status == 200:
                        finished.add(headers["x-request-id"])

        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(processes(tmp_path)) == 2 and len(finished) > 40, 120)
        first = processes(tmp_path)
        os.kill(min(first), signal.SIGKILL)
        before = len(finished)
        wait_for(lambda: len(finished) > before + 60, 120)  # the other one answers
        wait_for(lambda: len(processes(tmp_path) - first) == 1, 120)  # and a new one has come in its place
        stop.set()
        for thread in threads:
            thread.join()
        logged = [row["request_id"] for row in rows(tmp_path / "served") if not row.get("error")]
        assert finished <= set(logged) and len(logged) == len(set(logged))
        assert outcome[200] == len(finished) and sum(outcome.values()) - outcome[200] <= 8, outcome

        def spender(_):
            return [ask(cluster, ALICE)[0] for _ in range(12)]

        with_budget = [status for some in _together(spender, 5) for status in some]
        assert set(with_budget) == {200, 429} and 30 <= with_budget.count(200) <= 30 + 5, with_budget
        told = json.loads(ask(cluster, ALICE, "/v1/stats")[1])
        assert told["usd_today"] == pytest.approx(with_budget.count(200) * USD) and told["usd_a_day"] == 30 * USD
        served = [row for row in rows(tmp_path / "served") if row["client"] == "bob" and not row.get("error")]
        spent = json.loads(ask(cluster, BOB, "/v1/stats")[1])["usd_today"]
        assert spent == pytest.approx(len(served) * USD, abs=2.5 * USD)  # of two in flight when one was killed
        serve.delete("fusion")
    assert Ledger(tmp_path / "served")  # the files outlive it


def _together(work, clients):
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append(work(n))) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_the_keeper_releases_what_a_dead_replica_held_and_counts_once(tmp_path):
    async def everything():
        now = [0.0]
        keeper = LedgerKeeper(tmp_path, lambda: now[0])

        async def call(name, *arguments):
            return await getattr(keeper, name)(*arguments)

        ledger, alice = SharedLedger(call), Client("alice", 1.0)
        lost = await ledger.admit(alice, 1.0)
        with pytest.raises(ServeError, match="budget of 1 USD") as refused:
            await ledger.admit(alice, 0.1)
        assert refused.value.status == 429 and refused.value.retry_after > 0
        now[0] = HELD_S + 1
        held = await ledger.admit(alice, 0.1)  # the first one's replica said nothing any more
        for _ in range(2):
            await ledger.settle(alice, held, 0.4)
        await ledger.settle(alice, lost, 0.3)
        assert await ledger.spent("alice") == pytest.approx(0.7)
        with pytest.raises(UserError, match="another collector is at work"):
            LedgerKeeper(tmp_path)
        keeper.close()
        keeper = LedgerKeeper(tmp_path)
        assert await keeper.spent("alice") == pytest.approx(0.7)
        keeper.close()

        async def nobody(name, *arguments):
            raise ConnectionError

        with pytest.raises(ServeError) as unknown:
            await SharedLedger(nobody).admit(alice, 0.1)
        assert unknown.value.status == 503

    asyncio.run(everything())


def test_what_is_wrong_is_said_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match="explore: expected a probability"):
        build(Options(system="x", explore=2.0))
    with pytest.raises(UserError, match="log: expected one of"):
        build(Options(system="x", log="some"))
    with pytest.raises(ValueError, match="Extra inputs"):
        Options(system="x", replica=2)

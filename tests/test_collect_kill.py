"""The collector is killed and stopped while it works: nothing is lost, doubled or paid twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from loopback_llm import Act, LoopbackLLM
from test_collect import pool_at, rows_of, run

from fusion_hf.errors import UserError
from fusion_hf.llms.pool import save_pool
from fusion_hf.llms.requests import worst_case
from fusion_hf.logs.shards import read_rows, row_key, shard_files

ROOT = Path(__file__).parents[1]

# Starts a process a line: by forking, because importing everything anew takes seconds.
SCRIPT = """
import json, os, sys
from fusion_hf.tasks import Example
from fusion_hf.llms.collect import collect_examples
from fusion_hf.llms.pool import load_pool
for line in sys.stdin:
    pool, out, n, options = json.loads(line)
    child = os.fork()
    if child == 0:
        examples = {"gsm8k": [Example(str(i), f"What is {i} + {i}?", [str(2 * i)]) for i in range(n)]}
        options = {"concurrency": 8, "progress": False} | options
        summary = collect_examples(load_pool(pool), examples, out, ("direct",), **options)
        with open(out + "/summary.json", "w") as file:
            json.dump(summary.to_dict(), file)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Launcher:
    """Runs a collection in a process of its own that can be killed."""

    def __init__(self):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, **pipes)

    def start(self, pool, out, n, **options):
        print(json.dumps([str(pool), str(out), n, options]), file=self.process.stdin, flush=True)
        self.pid = int(self.process.stdout.readline())

    def wait(self):
        """Exit status; minus the signal that ended it."""
        return os.waitstatus_to_exitcode(int(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def launcher():
    launcher = Launcher()
    yield launcher
    launcher.process.stdin.close()
    launcher.process.wait(20)


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


class Faulty:
    """Every tenth request gets an HTTP error, others wrong JSON, a cut connection, an empty text or a slow answer.

    Which one is decided by a seed and the number of the request, so that a retry may meet another fault.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)

    def __call__(self, prompt, _):
        chance = self.random.random()
        for limit, act in (
            (0.10, Act(status=self.random.choice((500, 503, 429)), headers={"Retry-After": "0.01"})),
            (0.12, Act(body="{not json")),
            (0.14, Act(cut="before")),
            (0.16, Act(cut="middle")),
            (0.20, Act(text="")),
            (0.25, Act(delay=0.1)),
        ):
            if chance < limit:
                return act
        return Act(delay=0.005)


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_repeat_nothing_but_what_was_in_flight(tmp_path, launcher):
    n, kills, out, rng = 4000, 50, tmp_path / "out", random.Random(5)
    with LoopbackLLM(Faulty(7)) as server:
        save_pool(pool_at(server.url), tmp_path / "pool.yaml")
        committed, asked_at = {}, 0
        for kill in range(kills):
            launcher.start(tmp_path / "pool.yaml", out, n)
            target = len(server.seen) + rng.randrange(1, 80)
            wait_for(lambda target=target: len(server.seen) >= target)
            time.sleep(rng.random() * 0.02)  # at any moment: between an answer, its row and the next request
            os.kill(launcher.pid, signal.SIGKILL)
            assert launcher.wait() == -signal.SIGKILL
            if kill % 10 == 0 and shard_files(out):
                # A kill in the middle of a write, which is too rare to wait for.
                with open(shard_files(out)[-1], "ab") as shard:
                    shard.write(b'{"query_id":"torn","ta')
            now = {key: row for key, row in rows_of(out).items() if row.get("error") is None}
            assert now.items() >= committed.items()  # no row that was there is lost or altered
            # What is answered and committed is never asked again.
            done = {row["query"] for row in committed.values()}
            assert not done & {seen.prompt for seen in server.seen[asked_at:]}
            committed, asked_at = now, len(server.seen)
        assert 100 < len(committed) < n  # the kills hit runs that were at work
        for _ in range(5):  # what failed in all its tries is asked again by the next run
            launcher.start(tmp_path / "pool.yaml", out, n)
            assert launcher.wait() == 0
            summary = json.loads((out / "summary.json").read_text())
            if summary["kept"] == n:
                break
    assert summary["kept"] == n
    rows = rows_of(out)
    assert {r["source_id"] for r in rows.values()} == {str(i) for i in range(n)}
    assert all(row.get("error") is None for row in rows.values())
    answers = Counter(row_key(row) for row in read_rows(out) if row.get("error") is None)
    assert answers.most_common(1)[0][1] == 1  # not one answer twice
    # Paid beyond one answer a row: only what was in flight when a kill came, at most 8 (the concurrency) each.
    whole = server.answered.total() - server.garbled
    assert n <= whole <= n + 8 * kills
    assert all(p.read_bytes().endswith(b"\n") for p in shard_files(out))


def test_the_cap_holds_over_kills_though_what_was_in_flight_left_no_row(tmp_path, launcher):
    n, out, rng = 200, tmp_path / "out", random.Random(3)
    llm = pool_at("http://x/v1")["m0"]

    def price(prompt):
        return worst_case(llm, [{"role": "user", "content": prompt}])

    def behave(prompt, _):  # every answer is as dear as it can be
        return Act(delay=0.02, usage={"prompt_tokens": round(price(prompt) * 1e6) - 40, "completion_tokens": 20})

    most = price("What is 100 + 100?")
    cap = 60.5 * most
    with LoopbackLLM(behave) as server:
        save_pool(pool_at(server.url), tmp_path / "pool.yaml")
        for _ in range(5):
            launcher.start(tmp_path / "pool.yaml", out, n, max_usd=cap)
            target = len(server.seen) + rng.randrange(2, 10)
            wait_for(lambda target=target: len(server.seen) >= target)
            os.kill(launcher.pid, signal.SIGKILL)
            assert launcher.wait() == -signal.SIGKILL
        launcher.start(tmp_path / "pool.yaml", out, n, max_usd=cap)
        assert launcher.wait() == 0
        billed = sum(price(seen.prompt) for seen in server.seen)  # answered or not
    kept = json.loads((out / "summary.json").read_text())["kept"]
    assert kept < len(server.seen) <= kept + 5 * 8
    assert cap - 9 * most * 5 < billed <= cap


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_what_is_in_flight(tmp_path, launcher, number):
    with LoopbackLLM(lambda *_: Act(delay=0.3)) as server:
        save_pool(pool_at(server.url), tmp_path / "pool.yaml")
        launcher.start(tmp_path / "pool.yaml", tmp_path / "out", 200)
        wait_for(lambda: len(server.seen) >= 12)
        os.kill(launcher.pid, number)
        assert launcher.wait() == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["interrupted"] and 12 <= summary["kept"] <= 40
    assert summary["kept"] == len(server.seen) == len(rows_of(tmp_path / "out"))
    assert set(summary["dropped"]) <= {"interrupted"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_in_flight(small_disk):
    with LoopbackLLM(lambda *_: Act(text="x" * 10_000, delay=0.05)) as server:
        pool = pool_at(server.url)
        with pytest.raises(UserError, match="expected to write a row, found No space left on device"):
            run(pool, 500, small_disk / "out", max_usd=1.0, concurrency=16)
        asked = len(server.seen)
        assert 50 < asked < 300 and len(rows_of(small_disk / "out")) == asked == sum(server.answered.values())
        assert not list((small_disk / "out").glob("held-*")) and not (small_disk / "out" / "reserve.tmp").exists()
        subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
        assert run(pool, 500, small_disk / "out", max_usd=1.0, concurrency=16).kept == 500 == len(server.seen)


def test_nothing_is_asked_where_no_answer_could_be_kept(small_disk):
    (small_disk / "full").write_bytes(bytes(2_000_000))
    with LoopbackLLM() as server:
        with pytest.raises(UserError, match="expected 2 MB of free disk for answers, found less"):
            run(pool_at(server.url), 5, small_disk / "out", max_usd=1.0)
        assert not server.seen and not list((small_disk / "out").glob("*.tmp"))
        (small_disk / "full").unlink()
        assert run(pool_at(server.url), 5, small_disk / "out", max_usd=1.0).kept == 5

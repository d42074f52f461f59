"""The traffic as a log: rows that are there when the answer is, through kills and stops; feedback; what is served."""

import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="needs the extra serve")

from loopback_llm import Act, LoopbackLLM
from served import SUM, Server, llm, rows, toy_router, two, wait_for

from fusion_hf.fused.routed import RoutedSystem
from fusion_hf.llms.pool import Pool, save_pool
from fusion_hf.logs.feedback import add_feedback, read_feedback
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.logs.shards import latest_rows, repair
from fusion_hf.routers import fit_router
from fusion_hf.serving.clients import Client, Ledger, digest
from fusion_hf.serving.systems import Reload


def test_every_exchange_is_a_row_and_the_level_says_how_much_of_it(tmp_path):
    with LoopbackLLM() as bee, LoopbackLLM() as dog:
        for level in ("full", "metadata", "none"):
            with two(bee, dog, tmp_path / level, level=level) as server:
                ids = [server.chat(fusion={"session": "s1"}, stream=s).headers["x-request-id"] for s in (False, True)]
            found = rows(tmp_path / level)
            assert [r["request_id"] for r in found] == (ids if level != "none" else [])
            for row in found:
                assert row["cost"] == 20e-6 and row["input_tokens"] == 10 and row["session"] == "s1"
                assert row["propensity"] == 1.0 and row["client"] == "anybody" and row["served_at"].endswith("+00:00")
                assert (row["query"], row.get("response")) == ((SUM, "It is 42.") if level == "full" else ("", None))
            if found:
                table = validate(rows_to_table(latest_rows(tmp_path / level)))
                assert table.num_rows == 2 and table["performance"].null_count == 2


def test_feedback_is_the_performance_of_the_answer_that_the_client_got(tmp_path):
    failing = lambda prompt, times: Act(status=500) if "fail" in prompt else Act()  # noqa: E731
    with LoopbackLLM(failing) as bee, LoopbackLLM() as dog, two(bee, dog, tmp_path) as server:
        first, second = (server.chat(text).headers["x-request-id"] for text in (SUM, f"{SUM} fail"))
        assert server.call("/v1/feedback", {"request_id": first, "thumbs": "up"}).json["score"] == 1.0
        assert server.call("/v1/feedback", {"request_id": first, "score": 0.25, "comment": "no"}).status == 200
        assert server.call("/v1/feedback", {"request_id": second, "thumbs": "down"}).status == 200
        server.engine.log.recent.clear()  # as if it were long ago
        assert server.call("/v1/feedback", {"request_id": first, "score": 0.5}).status == 200
        for body, status in (
            ({"request_id": "req-000", "score": 1}, 404), ({"request_id": first}, 400), ({"score": 1}, 400),
            ({"request_id": first, "score": 2}, 400), ({"request_id": first, "score": True}, 400), ([], 400),
        ):  # fmt: skip
            assert server.call("/v1/feedback", body).status == status
    table = add_feedback(validate(rows_to_table(latest_rows(tmp_path))), read_feedback(tmp_path))
    scores = {(r["request_id"], r["llm"]): r["performance"] for r in table.to_pylist()}
    assert scores == {(first, "bee"): 0.5, (second, "bee"): None, (second, "dog"): 0.0}
    with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        assert server.call("/v1/feedback", {"request_id": first, "score": 1}).json["error"]["code"] == "no_log"


@contextlib.contextmanager
def full_disk():
    """No file may grow; who writes gets an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("warm", [True, False])  # whether there was room for the first row
def test_a_full_disk_refuses_nobody_and_loses_no_row(tmp_path, warm, caplog):
    token, clients = "a" * 20, {digest("a" * 20): Client("anna", 100e-6)}
    key = {"Authorization": f"Bearer {token}"}
    with LoopbackLLM() as bee, LoopbackLLM() as dog:
        with two(bee, dog, tmp_path, level="full", clients=clients) as server:
            asked = [server.chat(token=token) for _ in range(warm)]
            with full_disk():
                asked += [server.chat(token=token, stream=s) for s in (False, True)]
                vote = {"request_id": asked[-1].headers["x-request-id"], "thumbs": "up"}
                refused = server.call("/v1/feedback", vote, **key)
                assert refused.status == 507 and "send it again later" in refused.json["error"]["message"]
                assert len(rows(tmp_path)) == warm
            asked.append(server.chat(token=token))
            assert server.call("/v1/feedback", vote, **key).status == 200
            assert {reply.status for reply in asked} == {200}
            found = [row["request_id"] for row in rows(tmp_path)]
            assert found == [reply.headers["x-request-id"] for reply in asked]
            assert caplog.text.count("the log cannot be written: requests are answered all the same") == 1
            with full_disk():
                while (reply := server.chat(token=token)).status == 200:
                    asked.append(reply)
            assert reply.status == 429 and len(asked) == 5  # 20e-6 USD each: the budget is kept without a disk
        assert len(rows(tmp_path)) == 5, "what waits is written at the end"
    assert read_feedback(tmp_path)
    assert asyncio.run(Ledger(tmp_path).spent("anna")) == pytest.approx(100e-6)


def start(folder, *options):
    """A server in a process of its own: (process, address)."""
    command = [sys.executable, "-m", "fusion_hf", "serve", str(folder / "router"), "--port", "0", "--pool"]
    command += [str(folder / "pool.yaml"), "--out", str(folder / "served"), "--log", "full", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("serving on http://127.0.0.1:"), process.communicate()
    return process, line.split()[-1]


def ask(url, text=SUM):
    """The id of a request that was answered whole."""
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body), timeout=30) as reply:
        json.loads(reply.read())
        return reply.headers["x-request-id"]


@pytest.fixture
def folder(tmp_path):
    toy_router().save_pretrained(tmp_path / "router")
    return tmp_path


def test_a_kill_loses_no_finished_exchange_and_doubles_none(folder):
    with LoopbackLLM() as bee, LoopbackLLM() as dog:
        save_pool(Pool([llm("bee", bee.url), llm("dog", dog.url)]), folder / "pool.yaml")
        finished: list[str] = []
        for _ in range(3):
            process, url = start(folder)

            def client(url=url):
                try:
                    while True:
                        finished.append(ask(url))
                except (OSError, ValueError):
                    return

            threads = [threading.Thread(target=client) for _ in range(4)]
            [t.start() for t in threads]
            before = len(finished)
            wait_for(lambda before=before: len(finished) > before + 20)
            process.kill()
            process.communicate()
            [t.join() for t in threads]
    repair(folder / "served")
    ids = [row["request_id"] for row in rows(folder / "served")]
    assert len(ids) == len(set(ids)) and set(finished) <= set(ids) and len(ids) <= len(finished) + 3 * 4


def test_sigterm_answers_what_is_in_flight_and_takes_nothing_new(folder):
    with LoopbackLLM(lambda prompt, times: Act(delay=1.5)) as bee, LoopbackLLM() as dog:
        save_pool(Pool([llm("bee", bee.url), llm("dog", dog.url)]), folder / "pool.yaml")
        process, url = start(folder)
        done: list[str] = []
        thread = threading.Thread(target=lambda: done.append(ask(url)))
        thread.start()
        wait_for(lambda: bee.in_flight == 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(OSError):
            ask(url)
        thread.join()
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0 and done == [rows(folder / "served")[0]["request_id"]] and "bee 1" in out


def test_two_servers_do_not_share_a_folder(folder):
    with LoopbackLLM() as bee, LoopbackLLM() as dog:
        save_pool(Pool([llm("bee", bee.url), llm("dog", dog.url)]), folder / "pool.yaml")
        process, _ = start(folder)
        second = subprocess.run(process.args, capture_output=True, text=True, timeout=60)
        assert second.returncode == 2 and "at work there" in second.stderr
        process.terminate()
        process.communicate(timeout=30)


def test_a_new_version_of_the_router_is_taken_over_without_dropping_a_request(folder):
    """The new router has learned that dog is right where bee was."""
    with LoopbackLLM() as bee, LoopbackLLM() as dog:
        save_pool(Pool([llm("bee", bee.url), llm("dog", dog.url)]), folder / "pool.yaml")
        from toy_log import toy_data

        from fusion_hf.serving.systems import open_system

        load = lambda: open_system(folder / "router", folder / "pool.yaml")  # noqa: E731
        with Server(load()) as server:
            watch = Reload(server.engine.chooser, folder / "router", load, looks_s=0.1)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(watch.__aenter__())
            threading.Thread(target=loop.run_forever, daemon=True).start()
            assert server.chat().json["model"] == "bee"
            data = toy_data(120)
            swapped = np.array([[p[2], p[1], p[0]] for p in data.performance])
            data.performance[:] = swapped
            fit_router("knn", data, encoder="none", progress=False).save_pretrained(folder / "router")
            statuses = []

            def taken():
                reply = server.chat()
                statuses.append(reply.status)
                return reply.json["model"] == "dog"

            wait_for(taken)
            assert set(statuses) == {200}
            asyncio.run_coroutine_threadsafe(watch.__aexit__(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)


def test_a_fused_system_is_served_with_its_templates_and_the_llm_of_this_process(tmp_path):
    from test_fused import QUERIES, make  # cat is a real model, and capitals are asked with templates
    from thought_toys import template_table
    from tiny_bert import tiny_bert

    from fusion_hf.fused import FusedSystem, Thoughts
    from fusion_hf.thoughts import TemplateIndex

    toy_router().save_pretrained(tmp_path / "near")
    TemplateIndex.build(template_table(9), tiny_bert(tmp_path / "bert")).save_pretrained(tmp_path / "plans")
    with LoopbackLLM() as bee:
        parts = (str(tmp_path / "near"), Thoughts(str(tmp_path / "plans"), k=2, asked="think"))
        fused = FusedSystem.from_pretrained(make(tmp_path / "fused", parts, bee.url))
        with Server(fused, tmp_path / "log") as server:
            direct = server.chat(QUERIES[0])
            assert direct.json["model"] == "cat" and direct.headers["x-fusion-task"] == "sums", direct.text
            thought = server.chat(QUERIES[2])
            assert thought.headers["x-fusion-candidate"] == "cat_thought"
            assert thought.json["usage"]["prompt_tokens"] > 2 * direct.json["usage"]["prompt_tokens"]
            streamed = server.chat(QUERIES[0], stream=True)
            assert streamed.text.endswith("data: [DONE]\n\n") and '"model":"cat"' in streamed.text
            assert server.engine.backends.names == ["cat"]
            assert server.chat(QUERIES[0], fusion={"scenario": "performance"}).json["model"] == "bee"
            same = fused([QUERIES[0]])[0]
            assert same.text == direct.json["choices"][0]["message"]["content"]
    kept = rows(tmp_path / "log")
    assert [(r["llm"], r["mode"], r["query"]) for r in kept[:2]] == [
        ("cat", "direct", QUERIES[0]), ("cat", "thought", QUERIES[2]),
    ]  # fmt: skip


def test_a_cascade_asks_compares_and_asks_on(tmp_path):
    from test_cascade import NAMES, SAID, TRADE, TRAIN  # ant, bee, dog err now and then; cow is right, and dear

    router = fit_router("cascade", TRAIN, encoder="none", answers=SAID)
    router.config.scenarios["chained"] = {**TRADE, "score": "performance"}
    says = {"agree": "yes", "differ": "no 1"}
    doubles = {name: LoopbackLLM(lambda prompt, times: Act(text="The answer is yes")) for name in NAMES}
    doubles["bee"].behave = lambda prompt, times: Act(text=f"The answer is {says[state[0]]}")
    state, seen = ["agree"], {}
    for double in doubles.values():
        double.__enter__()
    try:
        pool = Pool([llm(name, double.url) for name, double in doubles.items()])
        with Server(RoutedSystem(router, pool), tmp_path) as server:
            for stream in (False, True):
                for state[0] in says:
                    reply = server.chat("12 + 55?", model="auto:chained", stream=stream)
                    assert reply.status == 200 and "The answer is" in reply.text
                    calls = int(reply.headers["x-fusion-attempts"])
                    seen[stream, state[0]] = calls
                    asked = [r for r in rows(tmp_path) if r["request_id"] == reply.headers["x-request-id"]]
                    assert [r["attempt"] for r in asked] == list(range(1, calls + 1))
                    total = sum(r["cost"] for r in asked)
                    if not stream:
                        assert float(reply.headers["x-fusion-cost"]) == pytest.approx(total)
                    assert reply.headers["x-fusion-candidate"] in [r["llm"] for r in asked]
        assert seen[False, "agree"] == seen[True, "agree"] >= 2
        assert seen[False, "differ"] == seen[True, "differ"] > seen[False, "agree"]
    finally:
        for double in doubles.values():
            double.__exit__()


def test_a_cascade_asks_for_log_probabilities_where_it_has_learned_from_them(tmp_path):
    from test_logprobs import TRADE, sure_log  # bee is right where it is sure; cow is right, and dear

    data, answers, _ = sure_log()
    router = fit_router("cascade", data, encoder="none", answers=answers)
    router.config.scenarios["chained"] = {**TRADE, "score": "performance"}
    how = ["sure"]

    odd = {"choices": [{"message": {"content": "bee says"}, "logprobs": {"content": [{"logprob": -0.05}]}}, None]}

    def bee(prompt, times):
        if how[0] == "odd":
            return Act(body=json.dumps(odd))
        refused = how[0] == "refuses" and len(bees.seen) % 2  # what asks for log-probabilities, not what asks without
        sure = {"sure": -0.05, "unsure": -0.6}.get(how[0])
        return Act(text="bee says", logprobs=sure, status=400 if refused else 200)

    with LoopbackLLM() as bees, LoopbackLLM(lambda prompt, times: Act(text="cow says", logprobs=-0.05)) as cows:
        bees.behave = bee
        pool = Pool([llm("bee", bees.url), llm("cow", cows.url)])
        with Server(RoutedSystem(router, pool), tmp_path) as server:
            for how[0], who, means in (("sure", "bee", [-0.05]), ("unsure", "cow", [-0.6, -0.05])):
                reply = server.chat("Who is number 12?", model="auto:chained")
                assert reply.headers["x-fusion-candidate"] == who, reply.text
                assert "logprobs" not in reply.json["choices"][0]  # the client did not ask
                asked = [r for r in rows(tmp_path) if r["request_id"] == reply.headers["x-request-id"]]
                assert [r["mean_logprob"] for r in asked] == pytest.approx(means)
            own = server.chat("Who is number 12?", model="auto:chained", logprobs=True)
            assert own.json["choices"][0]["logprobs"]["content"]
            how[0] = "odd"  # what a stranger sends beside the answer does not lose it
            reply = server.chat("Who is number 12?", model="auto:chained")
            assert reply.status == 200 and reply.json["choices"][0]["message"]["content"] == "bee says", reply.text
            assert reply.json["choices"] == [{"message": {"content": "bee says"}}, None]
            how[0], before = "refuses", len(bees.seen)
            bees.seen += [None] * (before % 2)
            reply = server.chat("Who is number 12?", model="auto:chained")
            assert reply.status == 200, reply.text
            last = bees.seen[-2:]
            assert ["logprobs" in seen.body for seen in last] == [True, False]

import asyncio
import itertools
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from loopback_llm import Act, LoopbackLLM, free_port
from tiny_llm import make_tiny_llm

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.llms.collect import Summary, collect, collect_async, collect_examples, collect_tasks
from fusion_hf.llms.limits import Limits
from fusion_hf.llms.pool import LLM, Pool, load_pool, save_pool
from fusion_hf.llms.recosting import recost
from fusion_hf.llms.requests import make_requests, worst_case
from fusion_hf.llms.reserved_spend import reserved_usd
from fusion_hf.llms.runner import Runner
from fusion_hf.logs.log import read_log
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.logs.shards import latest_rows, row_key
from fusion_hf.tasks import THINK_SUFFIX, Example

ROOT = Path(__file__).parents[1]


def pool_at(*urls, **fields):
    fields = {"options": {"max_tokens": 20}} | fields
    return Pool(LLM(f"m{i}", "small", 1.0, 2.0, base_url=url, **fields) for i, url in enumerate(urls))


def examples(n, start=0):
    return {"gsm8k": [Example(str(i), f"What is {i} + {i}?", [str(2 * i)]) for i in range(start, start + n)]}


def run(pool, n, out, modes=("direct",), **options) -> Summary:
    summary = collect_examples(pool, examples(n), out, modes, progress=False, **options)
    assert summary.read == summary.kept + summary.dropped.total()
    json.dumps(summary.to_dict())
    return summary


def rows_of(out):
    rows = latest_rows(out)
    validate(rows_to_table(rows))
    return {row_key(r): r for r in rows}


# ---------------------------------------------------------------- rows


def test_every_example_llm_and_mode_gets_a_row(tmp_path):
    with LoopbackLLM(lambda prompt, _: Act(text=f"read: {prompt}")) as server:
        summary = run(pool_at(server.url, server.url), 5, tmp_path, ("direct", "think"))
    rows = rows_of(tmp_path)
    assert len(rows) == 20 == summary.kept == summary.read and not summary.dropped
    assert Counter((r["llm"], r["mode"]) for r in rows.values()) == Counter(
        dict.fromkeys(itertools.product(("m0", "m1"), ("direct", "think")), 5)
    )
    for row in rows.values():
        assert row["query"] == f"What is {row['source_id']} + {row['source_id']}?" and row["metric"] == "gsm8k"
        assert row["response"] == f"read: {row['query']}" + (THINK_SUFFIX if row["mode"] == "think" else "")
        assert row["cost"] == (10 * 1.0 + 5 * 2.0) / 1e6 and row["finish_reason"] == "stop" and row["latency_s"] > 0
    assert summary.usd == pytest.approx(20 * 20 / 1e6) == summary.usd_total


def test_tokens_that_the_server_does_not_count_are_marked_and_an_empty_answer_is_an_answer(tmp_path):
    with LoopbackLLM(lambda prompt, _: Act(text="", usage=None)) as server:
        assert run(pool_at(server.url), 1, tmp_path).kept == 1
        assert run(pool_at(server.url), 1, tmp_path).resumed == 1
    (row,) = rows_of(tmp_path).values()
    assert row["response"] == "" and row.get("error") is None
    assert row["usage_source"] == "estimated/bytes/4" and row["reasoning_tokens"] is None
    assert row["cost"] == (row["input_tokens"] * 1.0 + row["output_tokens"] * 2.0) / 1e6


def test_finish_grades_and_prices(tmp_path):
    def behave(prompt, _):
        i = int(prompt.split()[2])
        return Act(status=400) if i == 3 else Act(text=f"#### {2 * i if i < 2 else 99}")

    with LoopbackLLM(behave) as server:
        run(pool_at(server.url), 4, tmp_path)
        dearer = Pool(LLM("m0", "small", 10.0, 20.0, base_url=server.url) for _ in range(1))
    table = read_log(tmp_path).sort_by("source_id")
    assert table["performance"].to_pylist() == [1.0, 1.0, 0.0, None]
    assert table["cost"].to_pylist() == [pytest.approx(20e-6)] * 3 + [None]
    assert table["grader"][0].as_py().startswith("gsm8k/strict@")
    assert table["error"][3].as_py() == "bad_request: HTTP 400: status 400 as told"
    assert recost(table, dearer)["cost"][0].as_py() == pytest.approx(200e-6)
    with pytest.raises(UserError, match="found nothing there"):
        read_log(tmp_path / "none")


def test_tasks_are_collected_from_a_local_copy(tmp_path):
    rows = [{"question": f"What is {i} + {i}?", "answer": f"It is. #### {2 * i}"} for i in range(6)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with LoopbackLLM() as server:
        options = {"source": tmp_path / "test.jsonl", "modes": ("direct",), "progress": False}
        summary = collect_tasks(pool_at(server.url), ["gsm8k"], "test", 4, tmp_path / "out", **options)
        with pytest.raises(UserError, match=r"expected a folder .*squad with the rows of squad, found none"):
            collect_tasks(pool_at(server.url), ["squad", "gsm8k"], "test", 4, tmp_path / "out", **options)
    assert summary.kept == 4 == len(server.seen)
    for row in rows_of(tmp_path / "out").values():
        i = int(row["query"].split("What is ")[1].split()[0])
        assert row["ground_truth"] == [str(2 * i)]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Act(status=500), "server"),
        (Act(status=503, headers={"Retry-After": "0.1"}), "server"),
        (Act(cut="before"), "connection"),
        (Act(cut="middle"), "connection"),
        (Act(body="<html>"), "bad_reply"),
        (Act(status=429, headers={"Retry-After": "0.1"}), "rate_limit"),
    ],
)
def test_faults_that_pass_are_retried(tmp_path, fault, kind):
    with LoopbackLLM(lambda prompt, times: fault if times < 1 else Act()) as server:
        summary = run(pool_at(server.url), 3, tmp_path)
    assert summary.kept == 3 and not summary.dropped and summary.retried == {kind: 3}
    assert all(r["response"] == "It is 42." and r.get("error") is None for r in rows_of(tmp_path).values())
    assert len(server.seen) == 6


def test_retry_after_holds_up_the_whole_endpoint_and_no_other(tmp_path):
    limited_until = []

    def behave(prompt, times):
        if not limited_until:
            limited_until.append(time.monotonic() + 0.7)
        if time.monotonic() < limited_until[0]:
            return Act(status=429, headers={"Retry-After": f"{limited_until[0] - time.monotonic():.3f}"})
        return Act()

    with LoopbackLLM(behave) as limited, LoopbackLLM() as free:
        began = time.monotonic()
        summary = run(pool_at(limited.url, free.url), 30, tmp_path, concurrency=4)
    assert summary.kept == 60 and 1 <= summary.retried["rate_limit"] <= 8
    early = [s for s in limited.seen if s.at < limited_until[0]]
    assert len(early) <= 8  # what was in flight, not one try after the other
    assert (
        max(s.at for s in free.seen)
        < began + 0.6
        < limited_until[0]
        < min(s.at for s in limited.seen if s not in early)
    )


def test_a_wait_that_is_too_long_is_an_error_at_once(tmp_path):
    with LoopbackLLM(lambda *_: Act(status=429, headers={"Retry-After": "9999"})) as server:
        summary = run(pool_at(server.url), 1, tmp_path)
    assert summary.dropped == {"rate_limit": 1} and summary.seconds < 5 and len(server.seen) == 1


def test_errors_are_kept_as_rows_and_asked_again(tmp_path):
    with LoopbackLLM(lambda prompt, times: Act(status=400) if times == 0 and "3 +" in prompt else Act()) as server:
        pool = pool_at(server.url)
        first = run(pool, 5, tmp_path)
        bad = [r for r in rows_of(tmp_path).values() if r.get("error")]
        second = run(pool, 5, tmp_path)
        third = run(pool, 5, tmp_path)
    assert first.kept == 4 and first.dropped == {"bad_request": 1} and not first.retried
    assert [(r["source_id"], r["error"], r["response"], r.get("cost")) for r in bad] == [
        ("3", "bad_request: HTTP 400: status 400 as told", None, None)
    ]
    assert (second.kept, second.resumed, third.kept, third.resumed) == (5, 4, 5, 5)
    assert len(server.seen) == 6 and all(r.get("error") is None for r in rows_of(tmp_path).values())
    assert third.usd == 0 and third.usd_total == pytest.approx(5 * 20e-6)


def test_an_endpoint_that_is_not_there_is_left_alone(tmp_path):
    with LoopbackLLM() as server:
        dead = f"http://127.0.0.1:{free_port()}/v1"
        summary = run(pool_at(dead, server.url), 200, tmp_path, retries=1, concurrency=4, max_failures=3)
    assert summary.kept == 200 and summary.dropped.total() == 200
    assert 3 <= summary.dropped["connection"] <= 8 and summary.dropped["endpoint_down"] >= 192
    assert list(summary.stopped) == [dead] and "requests in a row failed" in summary.stopped[dead]
    assert summary.seconds < 20


def test_a_wrong_key_does_not_ask_ten_thousand_times(tmp_path):
    with LoopbackLLM(lambda *_: Act(status=401)) as server:
        summary = run(pool_at(server.url), 500, tmp_path, concurrency=4, max_failures=3)
    assert len(server.seen) <= 7 and summary.dropped["auth"] == len(server.seen)
    assert summary.dropped["endpoint_down"] == 500 - len(server.seen)


def test_timeouts_are_errors_of_their_own(tmp_path):
    with LoopbackLLM(lambda *_: Act(delay=3)) as server:
        summary = run(pool_at(server.url), 2, tmp_path, timeout=0.1, retries=0)
    assert summary.dropped == {"timeout": 2}


# ---------------------------------------------------------------- how many at once


def test_concurrency_is_an_endpoints_not_an_llms(tmp_path):
    with LoopbackLLM(lambda *_: Act(delay=0.02)) as server:
        run(pool_at(server.url, server.url), 20, tmp_path / "a", concurrency=3)
        assert server.peak == 3
        run(pool_at(server.url, options={"concurrency": 7}), 20, tmp_path / "b")
        assert server.peak == 7
    assert "concurrency" not in server.seen[-1].body


def test_a_slow_endpoint_does_not_hold_up_a_fast_one(tmp_path):
    with LoopbackLLM(lambda *_: Act(delay=0.1)) as slow, LoopbackLLM() as fast:
        run(pool_at(slow.url, fast.url), 30, tmp_path, concurrency=2)
    assert max(s.at for s in fast.seen) < sorted(s.at for s in slow.seen)[15]


def test_requests_are_read_as_answers_come_in(tmp_path):
    with LoopbackLLM() as server:
        pool, answered, ahead = pool_at(server.url), [], []

        def stream():
            for i, request in enumerate(make_requests(pool, examples(500), ("direct",))):
                ahead.append(i - len(answered))
                yield request

        async def go():
            limits = Limits(concurrency=8, window=40)
            runner = Runner(pool, limits, lambda *a: answered.append(a), pytest.fail, pytest.fail)
            await runner.run(stream())
            await runner.close()

        asyncio.run(go())
    assert len(answered) == 500 and 30 <= max(ahead) <= 41


def test_duplicates_unknown_llms_and_running_loops(tmp_path):
    with LoopbackLLM() as server:
        pool = pool_at(server.url)
        twice = list(make_requests(pool, examples(3), ("direct",))) * 2
        summary = asyncio.run(collect_async(pool, twice, tmp_path, progress=False))
        assert (summary.read, summary.kept, summary.dropped) == (6, 3, {"duplicate": 3})
        with pytest.raises(UserError, match="the pool has no LLM 'm0'"):
            collect(Pool([LLM("ant", "small", 0, 0, base_url=server.url)]), twice, tmp_path / "b", progress=False)
        with pytest.raises(UserError, match="unknown mode 'quick': expected one of direct, think"):
            run(pool, 1, tmp_path, ("quick",))
    assert len(server.seen) == 3


def test_a_folder_refuses_an_llm_that_would_answer_otherwise(tmp_path):
    with LoopbackLLM() as server:
        run(pool_at(server.url), 2, tmp_path)
        run(pool_at(server.url + "/", options={"max_tokens": 20, "concurrency": 1}), 2, tmp_path)
        with pytest.raises(UserError, match=r"holds answers of m0 from .*use another folder or another name"):
            run(pool_at(server.url, options={"max_tokens": 21}), 2, tmp_path)
    assert list(load_pool(tmp_path / "pool.yaml")) == ["m0"]


# ---------------------------------------------------------------- money


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_cap_is_never_passed_even_if_every_answer_is_as_dear_as_can_be(tmp_path, concurrency):
    pool = pool_at("http://x/v1")
    most = worst_case(pool["m0"], [{"role": "user", "content": "What is 10 + 10?"}])
    usage = {"prompt_tokens": round(most * 1e6) - 40, "completion_tokens": 20}
    with LoopbackLLM(lambda *_: Act(usage=usage, delay=0.005)) as server:
        pool = pool_at(server.url)
        cap = 6.5 * most
        summary = run(pool, 40, tmp_path, concurrency=concurrency, max_usd=cap)
        assert summary.kept == 6 and summary.dropped == {"budget": 34} and len(server.seen) == 6
        assert cap - 1.1 * most < summary.usd_total <= cap
        again = run(pool, 40, tmp_path, concurrency=concurrency, max_usd=cap)
        assert again.kept == again.resumed == 6 and len(server.seen) == 6  # what was spent before counts
        more = run(pool, 40, tmp_path, concurrency=concurrency, max_usd=2 * cap)
        assert more.kept == 13 and more.usd_total <= 2 * cap


def test_cheap_answers_leave_room_for_more(tmp_path):
    with LoopbackLLM() as server:  # 20e-6 USD an answer; the worst case is about 104e-6
        summary = run(pool_at(server.url), 40, tmp_path, concurrency=8, max_usd=500e-6)
    assert 18 <= summary.kept <= 25 and summary.usd_total <= 500e-6


def test_answers_without_counts_and_tries_without_answers_count_as_dear(tmp_path):
    most = worst_case(pool_at("http://x/v1")["m0"], [{"role": "user", "content": "What is 1 + 1?"}])
    with LoopbackLLM(lambda *_: Act(usage=None)) as server:
        assert run(pool_at(server.url), 9, tmp_path / "a", max_usd=3.5 * most).kept == 3
        assert run(pool_at(server.url), 9, tmp_path / "a", max_usd=3.5 * most).kept == 3
    with LoopbackLLM(lambda *_: Act(cut="middle")) as server:
        for _ in range(2):  # the second run remembers what the first may have paid for nothing
            run(pool_at(server.url), 9, tmp_path / "b", max_usd=3.5 * most, retries=0, concurrency=1)
            assert len(server.seen) == 3
        assert reserved_usd(tmp_path / "b") == pytest.approx(3 * most) and reserved_usd(tmp_path / "a") == 0
    with pytest.raises(UserError, match="give m0 the option max_tokens"):
        run(pool_at("http://x/v1", options={}), 1, tmp_path / "c", max_usd=1)


def test_a_dry_run_asks_nothing_and_prices_what_is_left(tmp_path):
    with LoopbackLLM() as server:
        pool = pool_at(server.url, server.url)
        run(pool.select(["m0"]), 2, tmp_path)
        plan = collect_examples(pool, examples(4), tmp_path, ("direct",), dry_run=True)
    assert len(server.seen) == 2 and (plan.read, plan.resumed) == (8, 2)
    assert plan.by_llm["m0"] == {
        "requests": 2, "input_tokens": 8, "usd_input": 8e-6, "usd_most": pytest.approx(8e-6 + 2 * 20 * 2e-6),
    }  # fmt: skip
    assert plan.usd_most == pytest.approx(24e-6 + 6 * 20 * 2e-6) and plan.usd_input == pytest.approx(24e-6)
    json.dumps(plan.to_dict())
    pool = pool_at("http://x/v1", options={"max_tokens": None})
    unbounded = collect_examples(pool, examples(1), tmp_path / "b", dry_run=True)
    assert unbounded.usd_most is None and not (tmp_path / "b").exists()


def test_the_command_line_prices_asks_and_resumes(tmp_path, capsys):
    rows = [{"question": f"What is {i} + {i}?", "answer": f"It is. #### {2 * i}"} for i in range(6)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with LoopbackLLM() as server:
        pool = save_pool(pool_at(server.url), tmp_path / "pool.yaml")
        command = ["collect", "--pool", str(pool), "--tasks", "gsm8k", "--split", "test", "--modes", "direct"]
        command += ["--source", str(tmp_path / "test.jsonl"), "--out", str(tmp_path / "out"), "--max-usd", "0.001"]
        assert main([*command, "--dry-run"]) == 0
        price = json.loads(capsys.readouterr().out)
        assert (price["read"], price["by_llm"]["m0"]["requests"]) == (6, 6) and not server.seen
        assert price["usd_most"] == pytest.approx(price["usd_input"] + 6 * 20 * 2e-6) and price["usd_input"] > 0
        for resumed in (0, 6):
            assert main([*command, "--json", str(tmp_path / "summary.json")]) == 0
            summary = json.loads((tmp_path / "summary.json").read_text())
            assert (summary["kept"], summary["resumed"]) == (6, resumed) and len(server.seen) == 6
    assert summary["usd_total"] == pytest.approx(6 * 20e-6)


# ---------------------------------------------------------------- local models


def test_local_models_are_collected_too(tmp_path):
    folder = make_tiny_llm(tmp_path / "model")
    llms = [
        LLM(f"tiny{i}", "small", 1.0, 2.0, backend="transformers", model=str(folder), options={"max_tokens": i})
        for i in (4, 6)
    ]
    summary = run(Pool(llms), 12, tmp_path / "out", ("direct", "think"))
    table = read_log(tmp_path / "out")
    assert summary.kept == table.num_rows == 48 and table["performance"].null_count == 0
    for r in table.to_pylist():
        assert r["output_tokens"] <= int(r["llm"][-1]) and r["input_tokens"] > len(r["query"])
        assert r["cost"] == pytest.approx((r["input_tokens"] + 2 * r["output_tokens"]) / 1e6)

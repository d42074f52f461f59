"""Nothing paid twice, nothing paid beyond the cap: options, one collector a folder, what is held, and exit codes."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback_llm import Act, LoopbackLLM
from test_collect import examples, pool_at, rows_of, run

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.llms.collect import collect
from fusion_hf.llms.folder_lock import NAME, locked
from fusion_hf.llms.pool import LLM, Pool, load_pool
from fusion_hf.llms.prepare import check_paid
from fusion_hf.llms.requests import answer_limit, make_requests, overcharge, worst_case

NAN, INF = float("nan"), float("inf")


def llm_with(options, **fields):
    return LLM("m", "small", 1, 2, **({"base_url": "http://x/v1", "options": options} | fields))


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_new_tokens"])
@pytest.mark.parametrize(
    "value", [-1_000_000, -1, 0, 20.5, 20.0, "20", True, NAN, INF, [20], {"a": 20}, 2**40, 10**400]
)
def test_a_limit_of_tokens_is_a_whole_number(name, value):
    for options in ({name: value}, {"extra_body": {name: value}}):
        with pytest.raises(UserError, match=rf"options\.(extra_body\.)?{name}: expected "):
            llm_with(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"extra_body": {name: 20}}, f"extra_body.{name}: expected 1, found 20: one answer is read, and all are paid")
          for name in ("n", "best_of", "bestOf", "N", "num_return_sequences", "candidateCount", "numCompletions")),
        *(({"extra_body": {"n": value}}, "extra_body.n") for value in (0, -1, True, "2", 1.5, NAN, [2])),
        ({"n": 20}, "options.n: expected 1"),
        ({"best_of": 3}, "options.best_of: expected 1"),
        *(({"extra_body": {name: value}}, f"extra_body.{name}: expected no such field")
          for name, value in (("messages", []), ("prompt", "x"), ("model", "dear"), ("stream", True),
                              ("stream_options", {}), ("extra_body", {"n": 5}))),
        *(({"extra_body": {name: -1}}, f"extra_body.{name}: expected .* to be a whole number")
          for name in ("n_predict", "num_predict", "maxOutputTokens", "max_tokens_to_sample", "maxTokens")),
        ({"extra_body": {"thinking": {"budget_tokens": -5}}}, "budget_tokens: expected .* to be a whole number"),
        *(({"extra_body": body}, "extra_body: expected a mapping") for body in ([1], "n=5", 5, True)),
        *(({"concurrency": value}, "concurrency: expected ") for value in (0, -1, 1_000_000, 2.5, "8", True, NAN)),
        *(({name: value}, f"{name}: expected a") for value in (0, -1, NAN, INF, "60", True, [1])
          for name in ("timeout", "first_token_timeout", "next_token_timeout")),
        *(({"temperature": value}, "temperature: expected a") for value in (-1, NAN, INF, "hot", True)),
        *(({"top_p": value}, "top_p: expected a finite number") for value in (NAN, INF, 10**400)),
        ({"logit_bias": {"5": -INF}}, "logit_bias.5: expected a finite number"),
        ({"stop": [b"x"]}, r"stop\[0\]: expected a text, a number, a list or a mapping, found bytes"),
        ({"metadata": {"at": __import__("datetime").date(2026, 1, 1)}}, "metadata.at: expected a text"),
        ({"metadata": {str(i): 1 for i in range(20_000)}}, "expected at most 10000 values"),
        ({"metadata": __import__("functools").reduce(lambda x, _: {"x": x}, range(30), 1)}, "20 levels, found more"),
    ],
)  # fmt: skip
def test_options_that_switch_a_cap_off_or_cannot_be_sent_are_refused(options, message):
    with pytest.raises(UserError, match=message.replace("extra_body.n:", "extra_body.n:")):
        llm_with(options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 20, "temperature": 0, "top_p": 1, "seed": -1, "stop": ["\n"], "concurrency": 10_000},
        {"extra_body": {"n": 1, "best_of": None, "stream": False, "mirostat": 2, "n_probs": 5}, "max_tokens": None},
        {"extra_body": {"service_tier": "flex", "modalities": ["text"], "reasoning_effort": "high"}},
        {"reasoning": {"effort": "high"}, "response_format": {"type": "json_object"}, "timeout": 0.5},
    ],
)
def test_options_that_are_in_use_are_not(options):
    llm_with(options)


def test_a_pool_file_that_refers_to_itself_is_refused(tmp_path):
    path = tmp_path / "pool.yaml"
    entry = "llms:\n- {name: m, size: small, input_price: 1, output_price: 2, base_url: 'http://x/v1', options: %s}\n"
    path.write_text(entry % "&a {metadata: *a}")
    with pytest.raises(UserError, match=r"pool.yaml: expected YAML, found values that are nested too deep"):
        load_pool(path)
    bomb = "&a0 [x, x]"
    for i in range(1, 30):
        bomb = f"&a{i} [{bomb}, *a{i - 1}]"
    path.write_text(entry % f"{{metadata: {bomb}}}")
    with pytest.raises(UserError, match="its aliases grow to more than 200000 values"):
        load_pool(path)


def test_a_password_in_an_address_is_a_secret():
    for url in ("https://user:pass@host/v1", "https://token@host/v1"):
        with pytest.raises(UserError, match="keys are never kept in a file"):
            llm_with({}, base_url=url)
    llm_with({}, base_url="https://host/v1/@cf/model")


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"max_tokens": 20, "extra_body": {"n_predict": 500}}, 500),
        ({"max_tokens": 20, "extra_body": {"max_tokens": None}}, None),
        ({"max_tokens": 20, "extra_body": {"thinking": {"budget_tokens": 1000}}}, 1020),
        ({"max_tokens": 20, "reasoning": {"max_tokens": 1000}}, 1020),
        ({"max_tokens": 20, "extra_body": {"enable_thinking": True, "thinking_budget": 1000}}, 1020),
    ],
)
def test_the_longest_answer_counts_what_is_thought_before_it(options, limit):
    assert answer_limit(llm_with(options)) == limit


def test_the_worst_case_has_everything_that_is_sent():
    chat = [{"role": "user", "content": "x" * 100}]
    plain = worst_case(llm_with({"max_tokens": 20}), chat)
    assert plain == pytest.approx((100 + 48 + 20 * 2) / 1e6)
    tools = [{"type": "function", "function": {"name": "f", "description": "y" * 5000}}]
    assert worst_case(llm_with({"max_tokens": 20, "extra_body": {"tools": tools}}), chat) > plain + 5000e-6
    parts = [{"role": "user", "content": [{"type": "text", "text": "x" * 100}, {"type": "image_url", "image_url": {}}]}]
    assert worst_case(llm_with({"max_tokens": 20}), parts) > plain + 10_000e-6
    called = [{"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "z" * 3000}}]}]
    assert worst_case(llm_with({"max_tokens": 20}), called) > 3000e-6
    dear = llm_with({"max_tokens": 20}, reasoning_price=10, cached_input_price=3)
    assert worst_case(dear, chat) == pytest.approx((148 * 3 + 20 * 10) / 1e6)


@pytest.mark.parametrize(
    "options",
    [
        {"extra_body": {"models": ["dear"]}},
        {"extra_body": {"plugins": [{"id": "web"}]}},
        {"extra_body": {"web_search_options": {}}},
        {"extra_body": {"tools": [{"type": "web_search"}]}},
        {"extra_body": {"route": "fallback"}},
        {"extra_body": {"service_tier": "priority"}},
        {"extra_body": {"modalities": ["text", "audio"]}},
    ],
)
def test_a_cap_is_refused_where_a_server_charges_by_other_prices(tmp_path, options):
    pool = Pool([llm_with({"max_tokens": 5} | options)])
    with pytest.raises(UserError, match=r"max_usd cannot hold with options\.extra_body"):
        collect(pool, make_requests(pool, examples(1), ("direct",)), tmp_path, max_usd=1)


# ---------------------------------------------------------------- caps


@pytest.mark.parametrize("value", [NAN, -1, -INF])
def test_a_cap_is_a_sum(tmp_path, value):
    with pytest.raises(UserError, match="expected max_usd >= 0"):
        run(pool_at("http://127.0.0.1:9/v1"), 1, tmp_path, max_usd=value)


@pytest.mark.parametrize("text", ["nan", "garbage", "-1000", "inf", "-inf", "1e999", "\0\0", "1,5", "0x10"])
def test_what_is_held_back_is_a_sum_or_no_leave_to_spend(tmp_path, text):
    with LoopbackLLM() as server:
        pool = pool_at(server.url, options={"max_tokens": 5})
        assert run(pool, 2, tmp_path, max_usd=1).kept == 2
        (tmp_path / "held-1-abcd.usd").write_text(text)
        with pytest.raises(UserError, match=r"held-1-abcd\.usd: expected the USD"):
            run(pool, 4, tmp_path, max_usd=1)
        assert len(server.seen) == 2
        assert run(pool, 4, tmp_path).kept == 4  # without a cap nothing is held back


@pytest.mark.parametrize("cost", [NAN, INF, -1, "0.1", True, [1]])
@pytest.mark.parametrize("name", ["cost", "reported_cost"])
def test_a_row_whose_cost_is_no_sum_is_no_leave_to_spend(tmp_path, cost, name):
    with LoopbackLLM() as server:
        pool = pool_at(server.url, options={"max_tokens": 5})
        assert run(pool, 1, tmp_path, max_usd=1).kept == 1
        (shard,) = tmp_path.glob("shard-*.jsonl")
        shard.write_text(json.dumps(json.loads(shard.read_text()) | {name: cost}) + "\n")
        with pytest.raises(UserError, match=f"expected {name} of .* to be USD from 0 on"):
            run(pool, 4, tmp_path, max_usd=1)
        assert len(server.seen) == 1


def test_a_server_that_charges_for_more_than_it_was_asked_for_is_found_out_by_its_first_answer(tmp_path):
    usage = {"prompt_tokens": 10, "completion_tokens": 400}  # asked for 20
    with LoopbackLLM(lambda *_: Act(usage=usage, delay=0.01)) as server:
        llm = LLM("m", "small", 1.0, 2.0, base_url=server.url, options={"max_tokens": 20})
        summary = run(Pool([llm]), 200, tmp_path, max_usd=0.002, concurrency=32)
        assert len(server.seen) == 2 and summary.usd <= 0.002 and summary.dropped["budget"] == 198


def test_servers_that_charge_too_much_pass_the_cap_by_one_answer_at_most_however_many_they_are(tmp_path):
    usage = {"prompt_tokens": 10, "completion_tokens": 4000}  # asked for 20
    bill = (10 * 1.0 + 4000 * 2.0) / 1e6
    with LoopbackLLM(lambda *_: Act(usage=usage, delay=0.02)) as server:
        pool = Pool(LLM(f"m{i}", "small", 1.0, 2.0, base_url=server.url, options={"max_tokens": 20}) for i in range(8))
        cap = 0.5 * bill
        summary = run(pool, 20, tmp_path, max_usd=cap, concurrency=32)
        assert len(server.seen) == 1 and summary.usd == pytest.approx(bill) and summary.dropped["budget"] == 159


def dishonest_after(honest, usage):
    """A server that charges so after so many honest answers."""
    counter = itertools.count()
    return lambda *_: Act(usage=usage if next(counter) >= honest else HONEST, delay=0.02)


HONEST = {"prompt_tokens": 10, "completion_tokens": 20}  # 50e-6 USD; the worst case is 105e-6


@pytest.mark.parametrize("honest", [1, 2, 20, 150])
@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 1000, "completion_tokens": 2000}, {**HONEST, "cost": 0.005}, {**HONEST, "cost": 0.01}]
)
def test_a_server_that_charges_too_much_later_on_passes_the_cap_no_more(tmp_path, honest, usage):
    with LoopbackLLM(dishonest_after(honest, usage)) as server:
        summary = run(pool_at(server.url), 300, tmp_path, max_usd=0.03, concurrency=32)
        bills = [max(row["cost"], row.get("reported_cost") or 0) for row in rows_of(tmp_path).values()]
        assert honest < len(server.seen) == summary.kept < 300 and sum(bills) <= 0.03
        # A run that goes on knows it less exactly, because a row may be shorter than the chat that was sent.
        run(pool_at(server.url), 300, tmp_path, max_usd=0.03, concurrency=32)
        bills = [max(row["cost"], row.get("reported_cost") or 0) for row in rows_of(tmp_path).values()]
        assert len(server.seen) == len(bills) and sum(bills) <= 0.03 + max(bills)


def test_where_the_cap_has_no_room_for_a_dear_answer_it_is_passed_by_one(tmp_path):
    with LoopbackLLM(dishonest_after(10, {"prompt_tokens": 1000, "completion_tokens": 2000})) as server:
        summary = run(pool_at(server.url), 300, tmp_path, max_usd=0.002, concurrency=32)
        assert summary.kept == len(server.seen) == 11 and summary.usd == pytest.approx(10 * 50e-6 + 5000e-6)


def test_as_many_are_in_flight_as_the_cap_has_room_for(tmp_path, caplog):
    for cap, least, most, told in ((10.0, 16, 16, 0), (0.1, 3, 9, 1)):
        caplog.clear()
        with LoopbackLLM(lambda *_: Act(usage=HONEST, delay=0.4)) as server:
            assert run(pool_at(server.url), 33, tmp_path / str(cap), max_usd=cap, concurrency=16).kept == 33
        assert least <= server.peak <= most
        assert caplog.text.count("fewer requests at once from here on") == told


def test_who_waits_for_the_budget_is_not_asked_after_a_stop(tmp_path):
    def stopping(prompt, times):
        if len(server.seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return Act(usage=HONEST, delay=0.3)

    with LoopbackLLM(stopping) as server:
        summary = run(pool_at(server.url), 50, tmp_path, max_usd=0.01, concurrency=16)
    assert summary.interrupted and summary.kept == len(server.seen) == 2


def test_no_answer_is_longer_than_a_context(tmp_path):
    (llm,) = pool_at("http://x/v1", options={"max_tokens": 100_000}).values()
    most = worst_case(llm, [{"role": "user", "content": "x"}], limit=100_000)
    assert overcharge(llm, most) == pytest.approx(131_072 * 2 / 1e6) and overcharge(llm, 1e-6) == pytest.approx(99e-6)


def test_servers_that_keep_to_their_limits_are_asked_at_the_same_time_at_once(tmp_path):
    with LoopbackLLM(lambda *_: Act(delay=0.2)) as server:
        pool = Pool(LLM(f"m{i}", "small", 1.0, 2.0, base_url=server.url, options={"max_tokens": 20}) for i in range(8))
        began = time.monotonic()
        assert run(pool, 1, tmp_path, max_usd=1.0).kept == 8
        assert time.monotonic() - began < 1.2, "one after the other takes 1.6 s"


def test_what_a_server_says_that_it_charged_counts_where_it_is_more(tmp_path):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.3}
    with LoopbackLLM(lambda *_: Act(usage=usage)) as server:
        pool = pool_at(server.url, options={"max_tokens": 20})
        summary = run(pool, 50, tmp_path, max_usd=1.0)
        assert summary.kept == 3 and summary.usd_reported == pytest.approx(0.9) and summary.usd < 0.01
        again = run(pool, 50, tmp_path, max_usd=1.0)  # the folder knows it too
        assert again.kept == again.resumed == 3 and len(server.seen) == 3
    assert {row["reported_cost"] for row in rows_of(tmp_path).values()} == {0.3}


# ---------------------------------------------------------------- one collector a folder

HOLD = """
import sys, time
from fusion_hf.llms.folder_lock import locked
with locked(sys.argv[1]):
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_second_collector_is_kept_out_and_told_who_is_in(tmp_path):
    with (
        LoopbackLLM() as server,
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match=f"another collector is at work there .process {other.pid} on "):
            run(pool_at(server.url), 2, tmp_path)
        other.kill()
        other.wait()
        assert run(pool_at(server.url), 2, tmp_path).kept == 2  # its lock died with it
    assert len(server.seen) == 2


def test_two_collectors_at_once_ask_nothing_twice(tmp_path):
    code = (
        "import sys; from test_collect import run, pool_at; from pathlib import Path\n"
        "s = run(pool_at(sys.argv[1], options={'max_tokens': 5}), 60, Path(sys.argv[2]), max_usd=1.0, concurrency=4)\n"
        "print(s.kept)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])}
    with LoopbackLLM(lambda *_: Act(delay=0.05)) as server:
        runs = [
            subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path)], env=env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]  # fmt: skip
        ends = sorted((p.wait(), *p.communicate()) for p in runs)
    if [code for code, *_ in ends] == [0, 1]:
        assert "another collector is at work there" in ends[1][2]
    assert len(server.seen) == 60 == len({seen.prompt for seen in server.seen})


def test_a_lock_is_given_back_whatever_happens_and_is_never_in_the_way(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new"):
        raise ZeroDivisionError
    with locked(tmp_path / "new"), pytest.raises(UserError, match="another collector"), locked(tmp_path / "new"):
        pass
    with locked(tmp_path / "new"), locked(tmp_path / "other"):
        assert "process" in (tmp_path / "new" / NAME).read_text()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="expected a folder to write to"), locked(tmp_path / "file"):
        pass
    with pytest.raises(UserError, match="found empty text"), locked(""):  # not the folder that one stands in
        pass


# ---------------------------------------------------------------- exit codes


@pytest.fixture
def command(tmp_path):
    """Arguments of `fusion-hf collect` for a server."""
    source = tmp_path / "source"
    source.mkdir()
    rows = ({"question": f"What is {i}?", "answer": f"#### {i}"} for i in range(30))
    (source / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(url, *more, price=1, options="max_tokens: 5"):
        entry = f"name: m, size: small, input_price: {price}, output_price: {price}, base_url: '{url}'"
        (tmp_path / "pool.yaml").write_text(f"llms:\n- {{{entry}, options: {{{options}}}}}\n")
        fixed = ["collect", "--pool", tmp_path / "pool.yaml", "--tasks", "gsm8k", "--source", source]
        return [str(word) for word in [*fixed, "--out", tmp_path / "out", *more]]

    return make


def test_a_run_without_any_answer_is_an_error(command, capsys):
    with LoopbackLLM(lambda *_: Act(status=401)) as server:
        assert main(command(server.url, "--modes", "direct", "--concurrency", "1")) == 1
    assert "no request got an answer (auth 8, endpoint_down 22)" in capsys.readouterr().err
    with LoopbackLLM(lambda prompt, _: Act(status=400 if " 3?" in prompt else 200)) as server:
        assert main(command(server.url, "--modes", "direct")) == 0  # one of many may fail
        capsys.readouterr()
        assert main(command(server.url, "--modes", "direct")) == 1  # and is all that is left
        assert "(bad_request 1)" in capsys.readouterr().err
    with LoopbackLLM() as server:
        assert main(command(server.url, "--modes", "direct")) == 0
        assert main(command(server.url, "--modes", "direct")) == 0  # nothing left to ask
        assert main(command(server.url, "--modes", "think", "--max-usd", "0")) == 0  # as told


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_an_interrupted_run_says_so_by_its_exit_code(command, tmp_path, signals):
    with LoopbackLLM(lambda *_: Act(delay=0.3)) as server:
        words = command(server.url, "--modes", "direct", "--concurrency", "4")
        code = "import sys; from fusion_hf.cli import main; sys.exit(main(sys.argv[1:]))"
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        with subprocess.Popen([sys.executable, "-c", code, *words], env=env, stderr=subprocess.PIPE, text=True) as run:
            while len(server.seen) < 4:
                time.sleep(0.01)
            for number in signals:
                run.send_signal(number)
                time.sleep(0.05)
            assert run.wait(120) == 130
            said = run.stderr.read()
    assert "interrupted" in said and "Traceback" not in said
    if len(signals) == 1:
        assert "4 answers are kept, the same command goes on" in said and len(rows_of(tmp_path / "out")) == 4


def test_a_judge_that_never_answers_is_an_error(command, tmp_path):
    with LoopbackLLM(lambda prompt, _: Act(status=401 if "You grade" in prompt else 200)) as server:
        assert main(command(server.url, "--modes", "direct", "--limit", "3")) == 0
        assert main(["judge", str(tmp_path / "out"), "--model", "m", "--pool", str(tmp_path / "pool.yaml")]) == 1


# ---------------------------------------------------------------- saying what it costs


def test_the_default_of_two_modes_says_what_it_costs(command, capsys):
    with LoopbackLLM() as server:
        assert main(command(server.url, "--limit", "3")) == 0
        said = capsys.readouterr().err
        assert "every query is asked in two modes, direct and think: 6 requests, at most " in said
        assert "USD; modes=direct asks half of them" in said and len(server.seen) == 6
        assert main(command(server.url, "--dry-run")) == 0
        out, err = capsys.readouterr()
        assert "two modes, direct and think: 54 requests" in err and json.loads(out)["by_mode"] == {
            "direct": 27,
            "think": 27,
        }
        main(command(server.url, "--modes", "direct,think"))
        main(command(server.url, "--seed", "1", price=0))
        assert "two modes" not in capsys.readouterr().err  # said by the user; free of charge


PAID = [
    (1, 2, {}, True), (0, 2, {}, True), (None, None, {}, True), (0, None, {}, True), (0, 0, {}, False),
    (0, 0, {"reasoning_price": 3}, True), (0, 0, {"cached_input_price": 1}, True),
    (1, 2, {"backend": "transformers", "base_url": None}, False),
]  # fmt: skip


@pytest.mark.parametrize(("into", "out", "fields", "paid"), PAID)
def test_who_may_charge_is_asked_with_a_cap_only(into, out, fields, paid):
    llm = LLM("m", "small", into, out, **({"base_url": "http://x/v1"} | fields))
    check_paid(llm, 1.0)
    if paid:
        with pytest.raises(UserError, match="expected max_usd, what"):
            check_paid(llm, None)
    else:
        check_paid(llm, None)


def test_think_asks_no_paid_llm_without_a_cap(command, tmp_path, capsys):
    with LoopbackLLM() as server:
        command(server.url)
        think = [
            "think",
            "none",
            "What?",
            "--style",
            "zero-shot",
            "--model",
            "m",
            "--pool",
            str(tmp_path / "pool.yaml"),
        ]
        assert main(think) == 2 and "m is not free of charge: expected max_usd, what" in capsys.readouterr().err
        assert not server.seen
        assert main([*think, "--max-usd", "0.00000001"]) == 2 and not server.seen
        assert main([*think, "--max-usd", "1"]) == 0 and capsys.readouterr().out == "It is 42.\n"
        command(server.url, price=0)
        assert main(think) == 0

"""How the collector finds out what an endpoint takes, and what it remembers of what it asked."""

import asyncio
import io
import sys
import threading
import time

from loopback_llm import Act, LoopbackLLM
from test_collect import examples, pool_at, rows_of, run

from fusion_hf.llms.collect import collect, plan
from fusion_hf.llms.limits import AdaptiveLimit
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.llms.requests import answer_limit, make_requests
from fusion_hf.logs.key_set import KeySet


class Narrow:
    """A server that answers in 20 ms and refuses what is more than `room` at once."""

    def __init__(self, room):
        self.room, self.inside, self.lock, self.refused = room, [], threading.Lock(), []

    def __call__(self, prompt, _):
        now = time.monotonic()
        with self.lock:
            self.inside = [end for end in self.inside if end > now]
            if len(self.inside) >= self.room:
                self.refused.append(now)
                return Act(status=429, headers={"Retry-After": "0.05"})
            self.inside.append(now + 0.02)
        return Act(delay=0.02)


def test_an_endpoint_that_refuses_gets_as_many_as_it_takes(tmp_path):
    behave = Narrow(4)
    with LoopbackLLM(behave) as server:
        summary = run(pool_at(server.url), 400, tmp_path, concurrency=64, retries=50)
    assert summary.kept == 400 and not summary.dropped
    # Without adapting, 64 at once against room for 4 are refused fifteen times out of sixteen: some 6,000 times.
    assert 1 <= len(behave.refused) < 400
    halves = [sum(seen.at < server.seen[len(server.seen) // 2].at for seen in server.seen)]
    middle = server.seen[len(server.seen) // 2].at
    early = sum(at < middle for at in behave.refused) / halves[0]
    late = sum(at >= middle for at in behave.refused) / (len(server.seen) - halves[0])
    assert late < early and late < 0.4


def test_the_limit_halves_once_a_round_and_grows_by_one_a_round():
    async def go():
        limit = AdaptiveLimit(16)
        entered = [await limit.enter() for _ in range(16)]
        for e in entered[:8]:
            limit.leave(e, True)
        assert limit.allowed == 8  # one decrease for all that were under way together
        for e in entered[8:]:
            limit.leave(e, False)
        for _ in range(9):
            limit.leave(await limit.enter(), False)
        assert 9 < limit.allowed < 11
        places = [await limit.enter() for _ in range(int(limit.allowed))]
        late = asyncio.create_task(limit.enter())
        await asyncio.sleep(0)
        assert not late.done()
        limit.leave(places[0], None)
        await asyncio.wait_for(late, 1)
        for _ in range(50):
            limit.leave(limit._round, True)
            limit.in_flight = 1
        assert limit.allowed >= 1

    asyncio.run(go())


def test_who_is_cancelled_while_waiting_takes_no_room():
    async def go():
        limit = AdaptiveLimit(1)
        first = await limit.enter()
        second, third = asyncio.create_task(limit.enter()), asyncio.create_task(limit.enter())
        await asyncio.sleep(0)
        limit.leave(first, False)
        second.cancel()
        assert await asyncio.wait_for(third, 1) == 0

    asyncio.run(go())


def test_a_set_of_keys_is_a_set():
    keys = [(f"q{i}", f"m{i % 7}", "direct") for i in range(5000)]
    found = KeySet()
    assert all(found.add(k) for k in keys) and not any(found.add(k) for k in keys)
    assert len(found) == 5000 and all(k in found for k in keys)
    assert ("q1", "m1", "think") not in found and ("q1m1", "", "direct") not in found


def test_prices_that_are_not_known_stay_unknown(tmp_path):
    with LoopbackLLM() as server:
        pool = Pool(
            [LLM("free", "small", 0, 0, base_url=server.url), LLM("x", "small", None, None, base_url=server.url)]
        )
        requests = list(make_requests(pool, examples(2), ("direct",)))
        price = plan(pool, requests, tmp_path)
        assert price.usd_input is price.usd_most is price.by_llm["x"]["usd_input"] is None
        assert price.by_llm["free"]["usd_most"] == 0
        assert collect(pool, iter(requests), tmp_path, progress=False).kept == 4
    assert {row["llm"]: row["cost"] for row in rows_of(tmp_path).values()} == {"free": 0.0, "x": None}


def test_the_longest_answer_is_found_wherever_an_option_says_it():
    for options, most in (
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 5, "extra_body": {"max_tokens": 70}}, 70),
        ({"extra_body": {"max_new_tokens": 3}}, 3),
    ):
        assert answer_limit(LLM("m", "small", 1, 1, base_url="http://x/v1", options=options)) == most


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_rate_price_and_time_left_in_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with LoopbackLLM(lambda *_: Act(delay=0.05)) as server:
        collect(pool_at(server.url), make_requests(pool_at(server.url), examples(40), ("direct",)), tmp_path,
                total=40, concurrency=4)  # fmt: skip
    bar = sys.stderr.getvalue()
    assert "40/40" in bar and "row/s" in bar and "usd=" in bar and "<" in bar

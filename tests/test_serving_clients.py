"""Who may ask: keys, budgets of a day that hold, addresses, and pages of other sites."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra serve")

from loopback_llm import Act, LoopbackLLM
from served import two

from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.serving.access import Access
from fusion_hf.serving.clients import Client, Ledger, digest, read_clients
from fusion_hf.serving.errors import ServeError
from fusion_hf.serving.server import check_address

ALICE, BOB = "alice-token-0123456789", "bob-token-0123456789"


def clients(**usd):
    return {digest(ALICE): Client("alice", usd.get("alice")), digest(BOB): Client("bob", usd.get("bob"))}


def test_only_known_keys_are_let_in():
    with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog, clients=clients()) as server:
        for token in (None, "wrong", ALICE[:-1]):
            refused = server.chat(token=token)
            assert refused.status == 401 and refused.json["error"]["code"] == "invalid_api_key"
        for path in ("/v1/models", "/v1/stats", "/metrics"):
            assert server.call(path).status == 401
        assert server.call("/v1/route", {"query": "x"}).status == 401 and not bee.seen
        assert server.chat(token=ALICE).status == 200
        assert "Authorization" not in bee.seen[0].headers  # the client's key is not the LLM's
        assert server.call("/health").status == 200 and server.call("/ready").status == 200


def test_a_budget_is_passed_by_what_is_in_flight_at_most(tmp_path):
    with LoopbackLLM(lambda prompt, times: Act(delay=0.2)) as bee, LoopbackLLM() as dog:
        one = 20e-6  # USD of an answer: 10 tokens at 1 and 5 at 2 USD a million
        with two(bee, dog, tmp_path, clients=clients(alice=10 * one)) as server, ThreadPoolExecutor(8) as threads:
            done = list(threads.map(lambda n: server.chat(token=ALICE).status, range(40)))
            while (refused := server.chat(token=ALICE)).status == 200:  # what is expected is set aside, and is more
                done.append(200)
            assert refused.status == 429 and refused.json["error"]["code"] == "budget_exceeded"
            assert 0 < int(refused.headers["retry-after"]) <= 86400
            assert 10 <= done.count(200) <= 10 + 8 and set(done) == {200, 429}
            assert server.chat(token=BOB).status == 200
            spent = server.call("/v1/stats", Authorization=f"Bearer {ALICE}").json["usd_today"]
            assert spent == pytest.approx(done.count(200) * one)
        with two(bee, dog, tmp_path, clients=clients(alice=10 * one)) as server:  # after a restart
            assert server.chat(token=ALICE).status == 429 and server.chat(token=BOB).status == 200


def test_the_ledger_of_a_day_ends_with_it_and_survives_a_torn_line(tmp_path):
    day = ["2026-01-01"]
    alice = Client("alice", 1.0)

    async def spend(usd):
        ledger = Ledger(tmp_path, lambda: day[0])
        await ledger.settle(alice, await ledger.admit(alice, 0.1), usd)
        ledger.close()

    asyncio.run(spend(2.0))
    with pytest.raises(ServeError, match="alice has used its budget of 1 USD a day"):
        asyncio.run(spend(0.0))
    with open(tmp_path / "spent-2026-01-01.txt", "a") as file:
        file.write("torn")
    assert asyncio.run(Ledger(tmp_path, lambda: day[0]).spent("alice")) == 2.0
    day[0] = "2026-01-02"
    asyncio.run(spend(0.5))
    assert asyncio.run(Ledger(tmp_path, lambda: day[0]).spent("alice")) == 0.5


def test_clients_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_HF_SERVE_KEYS", f"alice:{ALICE}:2.5, bob:{BOB}")
    assert read_clients() == clients(alice=2.5)
    monkeypatch.setenv("BOB_TOKEN", BOB)
    file = tmp_path / "clients.yaml"
    file.write_text(f"clients:\n  alice: {{token: {ALICE}, usd_a_day: 2.5}}\n  bob: {{token_env: BOB_TOKEN}}\n")
    assert read_clients(file) == clients(alice=2.5)
    monkeypatch.delenv("FUSION_HF_SERVE_KEYS")
    assert read_clients() == {}
    for text, words in (
        ("clients: {a: {token: short}}", "clients.a: expected a token of at least 16 plain characters"),
        (f"clients: {{a: {{token: {ALICE}, usd_a_day: lots}}}}", "clients.a.usd_a_day: expected USD"),
        (
            f"clients: {{a: {{token: {ALICE}}}, b: {{token: {ALICE}}}}}",
            "clients.b: expected every name and",
        ),
        (f"clients: {{'a b': {{token: {ALICE}}}}}", "expected a name of letters"),
        (f"clients: {{a: {{tokn: {ALICE}}}}}", "clients.a: unknown field 'tokn'"),
        ("clients: {a: {token_env: NOT_SET_ANYWHERE}}", "expected its token in NOT_SET_ANYWHERE, found none"),
        ("clients: []", "expected a mapping 'clients'"),
        ("clients: {", "expected YAML"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=words) as error:
            read_clients(file)
        assert ALICE not in str(error.value)
    with pytest.raises(UserError, match="none that can be read"):
        read_clients(tmp_path / "none.yaml")


def test_an_open_address_needs_a_key(tmp_path, capsys):
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        check_address(host, 8000, False)
    check_address("0.0.0.0", 8000, True)
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(UserError, match="can be reached from elsewhere, so clients need keys"):
            check_address(host, 8000, False)
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "clients need keys" in capsys.readouterr().err


def test_without_keys_no_other_machine_may_ask():
    """Also where something else listens, on an open address: Ray Serve, say."""
    scope = {"headers": [(b"host", b"localhost:8000")]}
    for peer in (("10.0.0.7", 4000), ("2001:db8::1", 4000)):
        with pytest.raises(ServeError) as refused:
            Access({}).client(scope | {"client": peer})
        assert refused.value.status == 403
    assert Access({}).client(scope | {"client": ("127.0.0.1", 4000)}).name == "anybody"


def test_without_keys_no_page_of_another_site_may_ask():
    with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        body = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
        host = server.base.removeprefix("http://")
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
            refused = server.call("/v1/chat/completions", body, **headers)
            assert refused.status == 403, headers
        assert not bee.seen and not dog.seen
        assert server.call("/v1/chat/completions", body, Origin=f"http://{host}").status == 200

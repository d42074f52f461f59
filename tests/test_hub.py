"""Pushing to a loopback Hub and reading back in a fresh process."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import hub_double
import pytest
from conftest import make_rows

from fusion_hf.bench.data import RoutingData
from fusion_hf.bench.schema import rows_to_table, validate
from fusion_hf.bench.store import write_bench
from fusion_hf.errors import UserError
from fusion_hf.hub import kind_of, push, write_adapter_card, write_router_card


@pytest.fixture(scope="module")
def endpoint():
    server = hub_double.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    tables = {s: validate(rows_to_table(make_rows(24, split=s))) for s in ("train", "test")}
    return write_bench(tables, tmp_path_factory.mktemp("hub") / "bench")


@pytest.fixture(scope="module")
def router(bench, tmp_path_factory):
    from fusion_hf.bench.store import read_log
    from fusion_hf.routers import train_router

    folder = tmp_path_factory.mktemp("hub") / "router"
    train_router("knn", RoutingData.from_table(read_log(bench, "train")), encoder="none").save_pretrained(folder)
    return folder


def fresh(code, endpoint, home):
    """Run `code` in a process that talks to the loopback Hub only: the endpoint is read when the hub is imported."""
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_" + "x" * 20, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def cli(endpoint, home, *argv):
    code = f"import sys; from fusion_hf.cli import main; sys.exit(main({list(argv)!r}))"
    return fresh(code, endpoint, home)


def test_a_dataset_round_trips(bench, endpoint, tmp_path):
    assert "commit" in cli(endpoint, tmp_path, "push", str(bench), "user/bench")
    out = fresh(
        "from datasets import load_dataset; import fusion_hf\n"
        "print(len(load_dataset('user/bench', 'gsm8k', split='train')))\n"
        "print(fusion_hf.read_log('user/bench', 'test').num_rows)",
        endpoint, tmp_path,
    )  # fmt: skip
    assert out.split() == ["36", "72"]


def test_a_router_round_trips_and_gets_a_card(router, endpoint, tmp_path):
    cli(endpoint, tmp_path, "push", str(router), "user/router")
    out = fresh(
        "import fusion_hf; from transformers import AutoModel\n"
        "print(AutoModel.from_pretrained('user/router').route(['how many apples are 3 and 4?'])[0].candidate)",
        endpoint, tmp_path,
    )  # fmt: skip
    assert out.strip() == "ant"
    card = hub_double.REPOS["models", "user/router"]["files"]["README.md"][0].decode()
    assert "`ant`, `bee`, `cow`" in card and 'from_pretrained("user/router")' in card


def test_a_second_push_is_a_second_commit(bench, endpoint, tmp_path):
    for _ in range(2):
        cli(endpoint, tmp_path, "push", str(bench), "user/again")
    assert hub_double.REPOS["datasets", "user/again"]["commits"] >= 1


def test_the_card_shows_the_evaluation_that_it_is_given(router, bench, tmp_path):
    from fusion_hf.routers.evaluate import evaluate_on_bench

    result = evaluate_on_bench(router, bench, split="test", scenario="all")
    write_router_card(router, "user/router", json.loads(json.dumps(result)))
    card = (router / "README.md").read_text()
    assert f"| performance | {result['scenarios']['performance']['reward']:.4f} [" in card


@pytest.mark.parametrize("code", [401, 403, 500])
def test_a_refusal_is_one_line_and_not_a_success(bench, tmp_path, code):
    class Refuse(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(AssertionError, match=f"nothing was pushed, the Hub refused: .*{code}"):
        cli(f"http://127.0.0.1:{server.server_address[1]}", tmp_path, "push", str(bench), "user/bench")
    server.shutdown()


def test_the_card_of_an_adapter_says_what_its_report_says(tmp_path):
    report = {
        "dataset": "user/sft", "teachers": ["ant", "bee"], "rows": 7, "model": "user/base", "method": "lora",
        "world_size": 2, "steps": 3, "final_loss": 0.5, "seconds": 61.4, "settings": {"learning_rate": 0.003},
    }  # fmt: skip
    (tmp_path / "train_report.json").write_text(json.dumps(report))
    write_adapter_card(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "3 steps on 2 processes, 61 s, final loss 0.5000" in card and "7 rows, from ant, bee" in card
    assert "learning_rate: 0.003" in card


def test_kinds(bench, router, tmp_path):
    assert kind_of(bench) == ("dataset", "dataset")
    assert kind_of(router) == ("router", "model")
    with pytest.raises(UserError, match="found an empty folder"):
        kind_of(tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        push(tmp_path / "none", "user/x")

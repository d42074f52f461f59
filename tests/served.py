"""A real server of `fusion_hf.serving` on loopback, in a thread, over a router and two loopback LLMs."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from toy_fused import toy_splits

from fusion_hf.fused.routed import RoutedSystem
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.routers import fit_router
from fusion_hf.serving.access import Access
from fusion_hf.serving.app import create_app
from fusion_hf.serving.clients import Ledger
from fusion_hf.serving.engine import Engine
from fusion_hf.serving.exchange import Settings
from fusion_hf.serving.server import LimitedProtocol
from fusion_hf.serving.traffic import TrafficLog

SUM = "What is 7 + 8 * 9? Answer with a number."  # bee is good at these
CODE = "def f_1(x):\n    return x + 2\n\nassert f_1(3) == ?\nWrite the missing value."


def toy_router():
    """bee, cat and dog, one good at each kind of query."""
    return fit_router("knn", toy_splits()["train"], encoder="none", progress=False)


def llm(name: str, url: str, **fields: Any) -> LLM:
    """An LLM behind an endpoint: bee is cheap and dog dear."""
    price = 1.0 if name == "bee" else 10.0
    return LLM(name, "small", price, 2 * price, base_url=url, **{"options": {"max_tokens": 8}, **fields})


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


def _reply(status: int, response: Any) -> Reply:
    return Reply(status, {k.lower(): v for k, v in response.headers.items()}, response.read().decode())


class Server:
    """The server, ready when the ``with`` statement begins.

    Args:
        system: What is served.
        folder: Of the log; None keeps none.
        level: See `TrafficLog`.
        clients: See `Access`.
        budgets: Of the clients; None keeps them in memory.
        settings: See `Settings`.
    """

    def __init__(self, system, folder=None, level="full", clients=None, **settings):
        self.engine = Engine(system, Settings(**settings), TrafficLog(folder, level), Ledger(folder))
        self._config = uvicorn.Config(
            create_app(self.engine, Access(clients or {})), port=0, http=LimitedProtocol, ws="none", lifespan="on",
            log_level="warning", timeout_graceful_shutdown=5,
        )  # fmt: skip
        self._server = uvicorn.Server(self._config)

    def __enter__(self):
        socket = self._config.bind_socket()
        self.base = f"http://127.0.0.1:{socket.getsockname()[1]}"
        self.url = f"{self.base}/v1"
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[socket]), daemon=True)
        self._thread.start()
        wait_for(lambda: self._server.started)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(30)

    def call(self, path: str, body: Any = None, **headers: str) -> Reply:
        """One request; POST where there is a body."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return _reply(response.status, response)
        except urllib.error.HTTPError as error:
            return _reply(error.code, error)

    def chat(self, text: str = SUM, model: str = "auto", fusion: Any = None, token: str | None = None, **fields: Any):
        """One chat request."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.call("/v1/chat/completions", body | ({} if fusion is None else {"fusion": fusion}), **headers)


@contextlib.contextmanager
def two(bee, dog, folder: Path | None = None, fields: Any = None, **options: Any):
    """A server over bee and dog, behind two loopback endpoints."""
    more = fields or {}
    pool = Pool([llm("bee", bee.url, **more.get("bee", {})), llm("dog", dog.url, **more.get("dog", {}))])
    with Server(RoutedSystem(toy_router(), pool), folder, **options) as server:
        yield server


def wait_for(done, seconds: float = 30.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def rows(folder: Path) -> list[dict]:
    """Every row of a folder, as it stands in the shards."""
    return [json.loads(line) for path in sorted(folder.glob("shard-*.jsonl")) for line in path.open(encoding="utf-8")]

"""The verb `serve`: an OpenAI-compatible endpoint over a fused system or a router."""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import require
from ..llms.folder_lock import locked
from ..llms.pool import Pool
from ..results import Result
from .clients import Ledger, read_clients
from .exchange import Settings
from .traffic import TrafficLog


@dataclass
class Served(Result):
    """What a server did until it was stopped.

    Attributes:
        rows: Rows that it wrote.
        llms: Figures of each LLM: calls, errors, USD, seconds.
        routed, usd_routed, best_single: See `Metrics.stats`.
    """

    rows: int
    llms: dict[str, dict[str, Any]] = field(default_factory=dict)
    routed: int = 0
    usd_routed: float = 0.0
    best_single: dict[str, Any] | None = None

    def __str__(self) -> str:
        calls = ", ".join(f"{name} {entry['calls']:.0f}" for name, entry in sorted(self.llms.items()))
        return f"answered: {calls or 'nothing'}; {self.rows} rows; {self.usd_routed:.4g} USD for {self.routed} choices"


def serve(
    system: str | Path,
    pool: str | Path | Pool | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    scenario: str | None = None,
    log: str = "metadata",
    out: str | Path = "served",
    clients: str | Path | None = None,
    explore: float = 0.0,
    keys: Collection[str] | None = None,
    timeout: float | None = None,
    first_token_timeout: float = 60.0,
    stall_timeout: float = 60.0,
    drain: float = 60.0,
) -> Served:
    """Answer OpenAI clients until SIGTERM or Ctrl-C.

    Args:
        system: Folder or Hub id of a fused system or a router. A folder is watched: a new version is taken over.
        pool: File of the pool; a fused system has its own.
        host: Address to listen on. One that can be reached from elsewhere needs `clients`.
        port: 0 takes a free one.
        scenario: Trade-off of requests that name none, for a router (default: performance).
        log: ``full`` keeps queries and answers, ``metadata`` everything else, ``none`` nothing.
        out: Folder of the log and of what clients have spent today.
        clients: YAML file of clients (see `read_clients`); None reads ``FUSION_HF_SERVE_KEYS``.
        explore: Probability with which a random affordable candidate is asked in place of the best.
        keys: API keys that a fused system's own pool may have sent, each as ``VARIABLE=HOST``.
        timeout: Seconds for an answer that is not streamed; None leaves it to each LLM.
        first_token_timeout: Seconds to the first token of a stream, before the next LLM is asked.
        stall_timeout: Seconds between two chunks of a stream.
        drain: Seconds that requests in flight get at the end.

    Raises:
        UserError: Nothing to serve, an address that may not be used, or another server at work in `out`.
    """
    for module in ("starlette", "uvicorn", "httptools", "prometheus_client"):
        require(module, "serve")
    from .access import LOOPBACK, Access
    from .app import create_app
    from .engine import Engine
    from .server import check_address, run
    from .systems import Reload, open_system, remember_pool

    known = read_clients(clients)
    check_address(host, port, bool(known))
    settings = Settings(explore, timeout, first_token_timeout, stall_timeout)

    def load() -> Any:
        return open_system(system, pool, keys, scenario)

    opened = load()
    with ExitStack() as stack:
        keeps = log != "none" or bool(known)
        if keeps:
            stack.enter_context(locked(out))
            remember_pool(opened.pool, Path(out))
        traffic = TrafficLog(out, log)
        engine = Engine(opened, settings, traffic, Ledger(out if keeps else None))
        watch = Reload(engine.chooser, system, load) if Path(system).is_dir() else None
        run(create_app(engine, Access(known, (*LOOPBACK, host)), watch), host, port, drain)
    stats = engine.metrics.stats()
    return Served(traffic.rows, stats["llms"], stats["routed"], stats["usd_routed"], stats["best_single"])

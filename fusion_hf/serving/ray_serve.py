"""The endpoint as an application of Ray Serve: replicas on a cluster with one ledger, each with shards of its own.

``serve run fusion_hf.serving.ray_serve:build system=fused out=served replicas=2``, or ``import_path`` and ``args`` in a
configuration file of Ray Serve, or ``serve.run(build(Options(...)))``.
"""

import asyncio
from pathlib import Path
from typing import Any

from ..errors import require
from .access import Access
from .app import create_app
from .clients import read_clients
from .engine import Engine
from .exchange import Settings
from .shared_ledger import LedgerKeeper, SharedLedger
from .systems import Reload, open_system, remember_pool
from .traffic import TrafficLog, check_level

serve = require("ray.serve", "ray")
BaseModel: Any = require("pydantic", "ray").BaseModel

LEDGER, ENDPOINT = "Ledger", "Endpoint"
TRIES, PAUSE_S = 20, 0.5
"""Of a call to the ledger: it may be starting again on another machine."""


class Options(BaseModel, extra="forbid"):
    """What `build` takes: what `fusion_hf.serve` takes, and how many replicas there are.

    Attributes:
        replicas: How many processes answer.
        max_ongoing_requests: Requests that one of them takes at a time; the others wait in Ray's proxy.
        num_cpus, num_gpus: What one reserves: GPUs for LLMs in the process.
        out: A folder that every machine of the cluster reaches, where it has several.
    """

    system: str
    pool: str | None = None
    scenario: str | None = None
    log: str = "metadata"
    out: str = "served"
    clients: str | None = None
    explore: float = 0.0
    keys: list[str] | None = None
    timeout: float | None = None
    first_token_timeout: float = 60.0
    stall_timeout: float = 60.0
    drain: float = 60.0
    replicas: int = 1
    max_ongoing_requests: int = 256
    num_cpus: float = 1.0
    num_gpus: float = 0.0


def build(options: Options) -> Any:
    """The application. Its replicas open the system themselves; only hashes of the clients' tokens are sent to them.

    Raises:
        UserError: Clients or settings that are wrong.
    """
    known = read_clients(options.clients)
    settings = Settings(options.explore, options.timeout, options.first_token_timeout, options.stall_timeout)
    check_level(options.log)
    out = Path(options.out).absolute()
    system = str(Path(options.system).absolute()) if Path(options.system).is_dir() else options.system
    pool = None if options.pool is None else str(Path(options.pool).absolute())

    def load() -> Any:
        return open_system(system, pool, options.keys, options.scenario)

    def app() -> Any:  # called in every replica
        opened = load()
        if options.log != "none":
            out.mkdir(parents=True, exist_ok=True)
            remember_pool(opened.pool, out)
        handle = serve.get_deployment_handle(LEDGER, app_name=serve.get_replica_context().app_name)
        engine = Engine(opened, settings, TrafficLog(out, options.log), SharedLedger(_calls(handle)))
        watch = Reload(engine.chooser, system, load) if Path(system).is_dir() else None
        return create_app(engine, Access(known), watch)

    endpoint = serve.deployment(
        serve.ingress(app)(),
        name=ENDPOINT,
        num_replicas=options.replicas,
        max_ongoing_requests=options.max_ongoing_requests,
        graceful_shutdown_timeout_s=options.drain,
        ray_actor_options={"num_cpus": options.num_cpus, "num_gpus": options.num_gpus},
    )
    ledger = serve.deployment(
        LedgerKeeper, name=LEDGER, num_replicas=1, max_ongoing_requests=10_000, ray_actor_options={"num_cpus": 0}
    )
    return endpoint.bind(ledger.bind(str(out)))


def _calls(handle: Any) -> Any:
    async def call(name: str, *arguments: Any) -> Any:
        for number in range(TRIES):
            try:
                return await getattr(handle, name).remote(*arguments)
            except Exception:
                if number == TRIES - 1:
                    raise
                await asyncio.sleep(PAUSE_S)

    return call

"""What `fusion-hf serve` costs and what it withstands, on this machine, against one loopback upstream.

    python benchmarks/serve.py latency [--litellm VENV/bin/litellm] [--out FILE]   added latency and requests a second
    python benchmarks/serve.py memory  [--requests 100000]                         resident memory over many requests
    python benchmarks/serve.py faults  [--requests 20000] [--kills 10]            errors, cut streams, kill -9

Everything runs side by side in one call: the upstream, the servers and the clients are processes of this machine, so
figures of different machines do not compare.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web

PRICE_IN, PRICE_OUT = 1.0, 2.0  # USD per million tokens, of every LLM here
ANSWER = "The answer is 42, because six times seven is forty-two."
FAULTS = ("error", "busy", "cut", "half", "json", "stall")
STALL_S = 1.0


# -- the upstream


class Upstream:
    """An OpenAI endpoint that answers at once.

    A prompt that ends in a word of `FAULTS` gets that fault the first time, and one whose number ends in 13 each time.

    It counts what it charges for: the answers that it delivered whole, by the number that a prompt begins with.
    """

    def __init__(self) -> None:
        self.charged: dict[str, float] = collections.defaultdict(float)
        self.seen: set[str] = set()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/chat/completions``."""
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        number, fault = prompt.split()[0], prompt.split()[-1]
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 12, "total_tokens": len(prompt) // 4 + 12}
        fault = fault if fault in FAULTS and (number not in self.seen or number.endswith("13")) else None
        if fault is not None:
            self.seen.add(number)
        if fault in ("error", "busy"):
            status = 500 if fault == "error" else 429
            return web.json_response({"error": {"message": fault}}, status=status, headers={"Retry-After": "0"})
        if fault == "cut":
            request.transport.abort()
            return web.Response()
        common = {"id": "x", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            if fault == "json":
                return web.Response(text='{"choices": [{"mess', content_type="application/json")
            if fault == "half":
                return await self._half(request)
            message = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
            self._charge(number, usage)
            return web.json_response({**common, "object": "chat.completion", "choices": [message], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = ANSWER.split(" ")
        for place, word in enumerate(words):
            if fault is not None and place == 4:
                if fault == "half":
                    request.transport.abort()
                    return response
                if fault == "json":
                    await response.write(b"data: {no\n\n")
                if fault == "stall":
                    await asyncio.sleep(4 * STALL_S)
            await self._event(response, common, [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}])
        await self._event(response, common, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if (body.get("stream_options") or {}).get("include_usage"):
            await self._event(response, common, [], usage)
        self._charge(number, usage)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _half(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "500", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        request.transport.abort()
        return response

    async def _event(
        self, response: web.StreamResponse, common: dict, choices: list, usage: dict | None = None
    ) -> None:
        chunk = {**common, "object": "chat.completion.chunk", "choices": choices}
        await response.write(f"data: {json.dumps(chunk | ({'usage': usage} if usage else {}))}\n\n".encode())

    def _charge(self, number: str, usage: dict) -> None:
        self.charged[number] += (usage["prompt_tokens"] * PRICE_IN + usage["completion_tokens"] * PRICE_OUT) / 1e6

    async def bill(self, request: web.Request) -> web.Response:
        """``GET /bill``: USD by the number of the prompt."""
        return web.json_response(self.charged)


def run_upstream(args: argparse.Namespace) -> None:
    """The process of the upstream."""
    upstream = Upstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", upstream.chat)
    app.router.add_get("/bill", upstream.bill)
    web.run_app(app, host="127.0.0.1", port=args.port, print=None, access_log=None, handler_cancellation=True)


# -- processes


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def process(command: list[str], port: int, wait_s: float = 180.0, **options):
    """A process that listens on a port, and is ended afterwards."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        end = time.monotonic() + wait_s
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if running.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"did not start: {' '.join(command)}")
            time.sleep(0.1)
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()


def serve_command(folder: Path, router: str, port: int, log: str = "metadata") -> list[str]:
    """The command line of a server."""
    return [sys.executable, "-m", "fusion_hf", "serve", str(folder / router), "--pool", str(folder / "pool.yaml"),
            "--port", str(port), "--out", str(folder / f"served-{router}"), "--log", log,
            "--stall-timeout", str(STALL_S), "--first-token-timeout", "20"]  # fmt: skip


def prepare(folder: Path, upstream: str, encoders: dict[str, str]) -> list[str]:
    """A router for each encoder, on the embedded sample, and a pool whose LLMs are the upstream; returns queries."""
    from fusion_hf.llms.pool import LLM, Pool, save_pool
    from fusion_hf.logs.log import Log
    from fusion_hf.logs.sample import sample_path
    from fusion_hf.routers import fit_router

    train, test = (Log(sample_path()).data(split) for split in ("train", "test"))
    names = [c for c in train.candidates if not c.endswith(("_think", "_thought"))][:2]
    train = train.select(names)
    train.candidates[:] = ["one", "two"]
    for router, encoder in encoders.items():
        fit_router("fusion", train, encoder=encoder, progress=False).save_pretrained(folder / router)
    llms = [LLM(name, "small", PRICE_IN, PRICE_OUT, base_url=upstream) for name in ("one", "two")]
    save_pool(Pool(llms), folder / "pool.yaml")
    return [query[:1000] for query in test.queries]


# -- the clients


async def ask(session: aiohttp.ClientSession, url: str, body: dict) -> tuple[float, float]:
    """(seconds to the first byte of content, seconds in all) of one request."""
    began = time.perf_counter()
    async with session.post(f"{url}/chat/completions", json=body, headers={"Authorization": "Bearer x"}) as response:
        first = None
        async for _ in response.content.iter_any():
            first = first or time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
    return first or 0.0, time.perf_counter() - began


async def load(url: str, queries: list[str], clients: int, requests: int, stream: bool, model: str = "auto") -> dict:
    """Figures of many requests from so many clients at once."""
    seconds, firsts = [], []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client(number: int) -> None:
            for n in range(number, requests, clients):
                body = {"model": model, "stream": stream}
                body["messages"] = [{"role": "user", "content": queries[n % len(queries)]}]
                first, total = await ask(session, url, body)
                firsts.append(first)
                seconds.append(total)

        began = time.perf_counter()
        await asyncio.gather(*(client(n) for n in range(min(clients, requests))))
        wall = time.perf_counter() - began
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    result = {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "a_second": round(requests / wall, 1)}
    return result | ({"first_token_p50_ms": round(float(np.median(firsts)) * 1e3, 2)} if stream else {})


def run_latency(args: argparse.Namespace) -> dict:
    """Direct, `serve` with three encoders, and a LiteLLM proxy, in rounds, so that all see the same machine."""
    from fusion_hf.encoders.verbs import static_encoder

    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder, port = Path(temporary), free_port()
        upstream = f"http://127.0.0.1:{port}/v1"
        stack.enter_context(process([sys.executable, __file__, "upstream", "--port", str(port)], port))
        encoders = {"none": "none", "static": str(folder / "static-table"), "minilm": "offline"}
        encoders = {name: encoders[name] for name in args.encoders.split(",")}
        if "static" in encoders:
            static_encoder("offline", out=folder / "static-table")
        queries = prepare(folder, upstream, encoders)
        targets = {"direct": (upstream, "one")}
        for router in encoders:
            port = free_port()
            stack.enter_context(process(serve_command(folder, router, port), port))
            targets[f"serve, encoder {router}"] = (f"http://127.0.0.1:{port}/v1", "auto")
        if args.litellm:
            port = free_port()
            model = {"model": "openai/one", "api_base": upstream, "api_key": "x"}
            settings = {"dangerously_permit_weak_or_unset_master_key": True}  # on loopback, for as long as it takes
            config = {"model_list": [{"model_name": "auto", "litellm_params": model}], "general_settings": settings}
            (folder / "litellm.yaml").write_text(json.dumps(config))
            command = [
                args.litellm,
                "--config",
                str(folder / "litellm.yaml"),
                "--port",
                str(port),
                "--host",
                "127.0.0.1",
            ]
            quiet = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}
            stack.enter_context(process(command, port, env=quiet))
            targets["litellm proxy"] = (f"http://127.0.0.1:{port}/v1", "auto")
        rounds: dict[str, dict[str, list[dict]]] = collections.defaultdict(lambda: collections.defaultdict(list))
        for url, model in targets.values():
            asyncio.run(load(url, queries, 4, 40, False, model))  # warm
        for _ in range(args.rounds):
            for clients, requests in ((1, 200), (32, 1000), (256, 1000)):
                for name, (url, model) in targets.items():
                    few = requests if "minilm" not in name and "litellm" not in name else requests // 2
                    found = asyncio.run(load(url, queries, clients, few, False, model))
                    found |= {"first_token_p50_ms": asyncio.run(
                        load(url, queries, clients, few // 2, True, model)
                    )["first_token_p50_ms"]}  # fmt: skip
                    rounds[name][str(clients)].append(found)
        figures = {
            name: {c: {k: float(np.median([r[k] for r in some])) for k in some[0]} for c, some in by.items()}
            for name, by in rounds.items()
        }
        added = {
            name: round(float(np.median([mine["p50_ms"] - direct["p50_ms"] for mine, direct in zip(
                by["1"], rounds["direct"]["1"], strict=True)])), 2)
            for name, by in rounds.items() if name != "direct"
        }  # fmt: skip
        return {"figures": figures, "added_p50_ms_at_1_client": added, "load_average": os.getloadavg()}


def resident(pid: int) -> float:
    """MiB of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_memory(args: argparse.Namespace) -> dict:
    """Resident memory of a server after every tenth of many requests."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder, port = Path(temporary), free_port()
        upstream = f"http://127.0.0.1:{port}/v1"
        stack.enter_context(process([sys.executable, __file__, "upstream", "--port", str(port)], port))
        queries = prepare(folder, upstream, {"none": "none"})
        port = free_port()
        server = stack.enter_context(process(serve_command(folder, "none", port), port))
        url, seen = f"http://127.0.0.1:{port}/v1", []
        for _ in range(10):
            figures = asyncio.run(load(url, queries, 32, args.requests // 10, False))
            seen.append(round(resident(server.pid), 1))
            print(f"{len(seen) * args.requests // 10} requests: {seen[-1]} MiB, {figures}", flush=True)
        return {"requests": args.requests, "resident_mib": seen}


# -- faults and kills


async def faulty(
    url: str, session: aiohttp.ClientSession, number: int, word: str, stream: bool
) -> tuple[str, str | None]:
    """(what came of a request: answer, error, killed or silence; its id)."""
    prompt = f"{number} What is six times seven? {word}".strip()
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    try:
        async with session.post(f"{url}/chat/completions", json=body) as response:
            name = response.headers.get("x-request-id")
            content = (await response.read()).decode()
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return "killed", None
    events = [line[6:] for line in content.splitlines() if line.startswith("data: ")] if stream else []
    if response.status != 200:
        return ("error" if json.loads(content)["error"]["message"] else "silence"), name
    if not stream:
        return ("answer" if json.loads(content)["choices"][0]["message"]["content"] == ANSWER else "silence"), name
    if events and events[-1] == "[DONE]":
        return "answer", name
    if events and "error" in json.loads(events[-1]):
        return "error", name
    return "killed", None  # a stream that ends without [DONE] is no answer


def run_faults(args: argparse.Namespace) -> dict:
    """Requests through an upstream with one fault in ten, while the server is killed again and again."""
    from fusion_hf.logs.shards import read_rows, repair

    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder, port = Path(temporary), free_port()
        upstream = f"http://127.0.0.1:{port}/v1"
        stack.enter_context(process([sys.executable, __file__, "upstream", "--port", str(port)], port))
        prepare(folder, upstream, {"none": "none"})
        port = free_port()
        outcome = asyncio.run(_faults(args, folder, port))
        bill = asyncio.run(_bill(upstream))
        log = folder / "served-none"
        repair(log)
        rows = list(read_rows(log))
    ids = collections.Counter((row["request_id"], row["attempt"]) for row in rows)
    logged = {row["request_id"] for row in rows}
    finished = {name for kind, name, _ in outcome if kind in ("answer", "error") and name}
    spent: dict[str, float] = collections.defaultdict(float)
    for row in rows:
        if row.get("error") is None:
            spent[row["query"].split()[0]] += row["cost"]
    whole = {number for kind, _, number in outcome if kind == "answer"}
    killed = {number for kind, _, number in outcome if kind == "killed"}
    exact = [n for n in whole - killed if abs(spent[str(n)] - bill.get(str(n), 0.0)) > 1e-12]
    kinds = collections.Counter(kind for kind, _, _ in outcome)
    return {
        "requests": args.requests, "kills": args.kills, "outcomes": dict(kinds),
        "finished_exchanges": len(finished), "finished_but_not_in_the_log": len(finished - logged),
        "rows_twice": sum(n > 1 for n in ids.values()), "requests_in_the_log": len(logged),
        "in_the_log_beyond_the_finished": len(logged - finished), "most_in_flight_at_kills": args.kills * args.clients,
        "answers_whose_cost_differs_from_the_bill": len(exact),
        "usd_logged": round(sum(spent[str(n)] for n in whole - killed), 9),
        "usd_billed": round(sum(bill.get(str(n), 0.0) for n in whole - killed), 9),
        "calls": len(rows), "calls_that_failed": sum(row.get("error") is not None for row in rows),
    }  # fmt: skip


async def _bill(upstream: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(upstream.removesuffix("v1") + "bill") as response:
        return await response.json()


async def _faults(args: argparse.Namespace, folder: Path, port: int) -> list[tuple[str, str | None, int]]:
    draw = random.Random(args.seed)
    work = [(n, draw.choice(FAULTS) if draw.random() < 0.1 else "", draw.random() < 0.5) for n in range(args.requests)]
    outcome: list[tuple[str, str | None, int]] = []
    place, url = iter(work), f"http://127.0.0.1:{port}/v1"
    up, done = asyncio.Event(), asyncio.Event()

    async def client(session: aiohttp.ClientSession) -> None:
        for number, word, stream in place:
            while True:
                await up.wait()
                kind, name = await faulty(url, session, number, word, stream)
                outcome.append((kind, name, number))
                if kind != "killed":
                    break
                await asyncio.sleep(0.05)
            if len(outcome) % 1000 == 0:
                print(f"{len(outcome)} tries", flush=True)

    async def server() -> None:
        for life in range(args.kills + 1):
            with process(serve_command(folder, "none", port, "full"), port) as running:
                up.set()
                share = (life + 1) * args.requests // (args.kills + 1)
                while len(outcome) < share and not done.is_set():
                    await asyncio.sleep(0.05)
                if life == args.kills:
                    await done.wait()
                else:
                    up.clear()
                    running.kill()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        ending = asyncio.create_task(server())
        await asyncio.gather(*(client(session) for _ in range(args.clients)))
        done.set()
        await ending
    return outcome


def main(argv: list[str] | None = None) -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("upstream")
    one.add_argument("--port", type=int, required=True)
    one.set_defaults(run=run_upstream)
    one = commands.add_parser("latency")
    one.add_argument("--litellm", help="the command of a LiteLLM proxy, in an environment of its own")
    one.add_argument("--encoders", default="none,static,minilm", help="of the routers (default: %(default)s)")
    one.add_argument("--rounds", type=int, default=3)
    one.set_defaults(run=run_latency)
    one = commands.add_parser("memory")
    one.add_argument("--requests", type=int, default=100_000)
    one.set_defaults(run=run_memory)
    one = commands.add_parser("faults")
    one.add_argument("--requests", type=int, default=20_000)
    one.add_argument("--kills", type=int, default=10)
    one.add_argument("--clients", type=int, default=32)
    one.add_argument("--seed", type=int, default=0)
    one.set_defaults(run=run_faults)
    for command in commands.choices.values():
        command.add_argument("--out", help="also write the figures to this JSON file")
    args = parser.parse_args(argv)
    result = args.run(args)
    if result is not None:
        text = json.dumps(result, indent=1)
        print(text)
        if args.out:
            Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The application: chat completions, and everything around them."""

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..results import jsonable
from .access import Access
from .chat import LARGEST_BODY, ChatEndpoint, GoneError, read_body
from .engine import Engine
from .errors import ServeError
from .feedback import Feedback
from .request import AUTO, read_request

PAGE = Path(__file__).parent / "page.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def create_app(engine: Engine, access: Access | None = None, watch: Any = None) -> Starlette:
    """An ASGI application.

    Args:
        engine: Who answers; it is closed with the application.
        access: Who may ask; None lets anybody on this machine.
        watch: A context manager to be entered while the application runs (such as `fusion_hf.serving.systems.Reload`).
    """
    pages = Pages(engine, access or Access({}))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        pages.ready = True
        try:
            if watch is None:
                yield
            else:
                async with watch:
                    yield
        finally:
            pages.ready = False
            pages.feedback.close()
            await engine.close()

    chat = ChatEndpoint(engine, pages.access.client)
    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", pages.models),
        Route("/v1/models/{name:path}", pages.model),
        Route("/v1/route", pages.route, methods=["POST"]),
        Route("/v1/feedback", pages.feed, methods=["POST"]),
        Route("/v1/stats", pages.stats),
        Route("/health", pages.health),
        Route("/ready", pages.is_ready),
        Route("/metrics", pages.metrics),
        Route("/", pages.page),
    ]
    handlers = {ServeError: _refused, 404: _missing, 405: _wrong_method}
    middleware = [Middleware(Addresses, known=frozenset(route.path for route in routes))]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=middleware)
    app.state.engine = engine
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServeError)
    return JSONResponse(error.to_dict(), error.status, error.headers())


async def _missing(request: Request, error: Exception) -> Response:
    told = f"nothing at {request.url.path[:200]!r}: this server answers chats at /v1/chat/completions, and says in "
    return JSONResponse(ServeError(404, f"{told}/v1/models whom one may ask", code="not_found").to_dict(), 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
    told = f"{request.url.path[:200]}: expected {allowed or 'another method'}, found {request.method}"
    return JSONResponse(ServeError(405, told, code="method_not_allowed").to_dict(), 405, {"Allow": allowed})


class Addresses:
    """Takes addresses as clients with another base URL write them: without /v1, with it twice, with more slashes."""

    def __init__(self, app: Any, known: frozenset[str]):
        self.app, self.known = app, known

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in self.known:
            path = "/" + "/".join(part for part in scope["path"].split("/") if part)
            for tried in (path, f"/v1{path}", path.removeprefix("/v1")):
                if tried in self.known:
                    scope = {**scope, "path": tried}
                    break
        await self.app(scope, receive, send)


def _listed(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "fusion_hf"}


class Pages:
    """The endpoints beside the chat."""

    def __init__(self, engine: Engine, access: Access):
        self.engine, self.access = engine, access
        self.feedback = Feedback(engine.log)
        self.ready = False

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``: the names that ``model`` may have."""
        self.access.client(request.scope)
        return JSONResponse({"object": "list", "data": [_listed(name) for name in self._names()]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/NAME``: one of these names."""
        self.access.client(request.scope)
        name = request.path_params["name"]
        if name not in self._names():
            raise ServeError(404, f"unknown model {name!r:.100}: see /v1/models", code="model_not_found")
        return JSONResponse(_listed(name))

    def _names(self) -> list[str]:
        return [AUTO, *(f"{AUTO}:{s}" for s in self.engine.system.scenarios), *self.engine.names()]

    async def route(self, request: Request) -> Response:
        """``POST /v1/route``: the decision alone, for a body of a chat request; ``"explain": true`` says why."""
        client = self.access.client(request.scope)
        content = await self._body(request)
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        explain = isinstance(body, dict) and body.pop("explain", False) is True
        if isinstance(body, dict) and isinstance(body.get("query"), str) and "messages" not in body:
            body["messages"] = [{"role": "user", "content": body.pop("query")}]
        asked = read_request(json.dumps(body).encode(), self.engine.names(), self.engine.system.scenarios)
        ranking = await self.engine.rank(asked, client, explain)
        options = [{**d.to_dict(), "llm": d.candidate} for d in ranking.options]
        for option in options:
            option.pop("task")
        told = {
            "candidate": options[0]["candidate"],
            "task": ranking.task,
            "ranking": options,
            "reasons": ranking.reasons,
            "nearest": ranking.nearest,
            "chain": None if ranking.chain is None else ranking.chain.chain,
        }
        return JSONResponse(jsonable(told))

    async def feed(self, request: Request) -> Response:
        """``POST /v1/feedback``: a score, or thumbs, for a request id."""
        client = self.access.client(request.scope)
        if self.engine.log.folder is None:
            raise ServeError(409, "feedback needs a log: start the server with --log metadata", code="no_log")
        try:
            line = self.feedback.read(json.loads(await self._body(request)))
        except (ValueError, RecursionError):
            raise ServeError(400, "expected a JSON body, found something else") from None
        if not await self.engine.chooser.call(self.feedback.known, line["request_id"], client.name):
            raise ServeError(404, f"no request {line['request_id']!r} of yours is in the log", code="unknown_request")
        self.feedback.write(line)
        return JSONResponse({"request_id": line["request_id"], "score": line["score"]})

    async def stats(self, request: Request) -> Response:
        """``GET /v1/stats``: live figures for the page."""
        client = self.access.client(request.scope)
        told = self.engine.metrics.stats() | {
            "client": client.name,
            "usd_today": await self.engine.ledger.spent(client.name),
            "usd_a_day": client.usd_a_day,
        }
        return JSONResponse(jsonable(told))

    async def health(self, request: Request) -> Response:
        """``GET /health``: the process lives."""
        return JSONResponse({"status": "ok"})

    async def is_ready(self, request: Request) -> Response:
        """``GET /ready``: it takes requests; 503 while it starts and stops, and when every LLM rests after errors."""
        waits = [self.engine.breaker.wait(name) for name in self.engine.system.pool]
        good = self.ready and (not waits or min(waits) == 0)
        return JSONResponse({"status": "ready" if good else "not ready"}, 200 if good else 503)

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``, as Prometheus reads them."""
        self.access.client(request.scope)
        return Response(self.engine.metrics.text(), media_type="text/plain; version=0.0.4")

    async def page(self, request: Request) -> Response:
        """``GET /``: the page; one file that loads nothing from elsewhere."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers={"content-security-policy": POLICY})

    async def _body(self, request: Request) -> bytes:
        try:
            return await read_body(dict(request.scope), request.receive, LARGEST_BODY)
        except GoneError:
            raise ServeError(400, "the body ended too early") from None

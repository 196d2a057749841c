"""The server's app: routes, errors, and what every endpoint does with a request.

An endpoint reads its request with `exchange.fields_of`, submits to the desk, and answers inside `exchange.answering` or with
`answers.stream`, which cancel what runs as soon as the client goes away. What it refuses becomes an answer in OpenAI's shape,
or in that of its dialect (`answers.refusal`, `answers.in_shape`).
"""

import time
from types import ModuleType
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from codeparrot.serve import basics, completions, llama, llama_facts, mistral, ollama, page, search, tokens
from codeparrot.serve.answers import refusal
from codeparrot.serve.fields import Refused
from codeparrot.serve.guard import Guard
from codeparrot.serve.service import Service

DIALECTS: tuple[ModuleType, ...] = (llama, llama_facts, tokens, mistral, ollama, basics, completions, search, page)
"""Modules with `routes(service) -> list[Route]`: one line each registers a dialect."""


def make_app(service: Service, bound: str = "127.0.0.1", key: str | None = None) -> Starlette:
    """Return the app.

    Args:
        service: what its endpoints share.
        bound: the host that the server is bound to.
        key: what clients must send, if anything.
    """
    routes = [route for dialect in DIALECTS for route in dialect.routes(service)]
    guards = [Middleware(Counted, service=service), Middleware(Guard, bound=bound, key=key)]
    handlers: dict[Any, Any] = {Refused: _refused, HTTPException: _http, Exception: _defect, ClientDisconnect: _gone}
    app = Starlette(routes=routes, middleware=guards, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, refused: Refused) -> Response:
    return refusal(refused, request.scope["path"])


async def _http(request: Request, error: HTTPException) -> Response:
    words = "there is no such path" if error.status_code == 404 else error.detail
    return refusal(Refused(error.status_code, words, headers=error.headers), request.scope["path"])


async def _defect(request: Request, error: Exception) -> Response:
    return refusal(Refused(500, "the server failed: its log says why", kind="server_error"), request.scope["path"])


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody reads it


class Counted:
    """Counts requests and their seconds. An ASGI middleware."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app, self._metrics = app, service.metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def note(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            # Paths that nobody serves, and those with a name in them, are one label however many there are.
            name = scope["path"] if "endpoint" in scope and not scope["path_params"] else "other"
            self._metrics.requests.labels(name, status).inc()
            self._metrics.request_seconds.labels(name).observe(time.monotonic() - began)

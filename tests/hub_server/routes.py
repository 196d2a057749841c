"""Route a request to its part of the Hub."""

from tests.hub_server import api, content
from tests.hub_server.errors import HubError
from tests.hub_server.server import Answer, Request, Server


def route(server: Server, request: Request) -> Answer:
    method = "GET" if request.method == "HEAD" else request.method
    request.method = method
    found = api.answer(server, request) if request.path.startswith("/api/") else content.answer(server, request)
    if found is None:
        raise HubError(404, f"this Hub has no {method} {request.path}")
    return found

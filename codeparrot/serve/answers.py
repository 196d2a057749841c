"""The forms of answers: JSON on one line, events of a stream, errors.

JSON is ASCII: whatever text is in it, it is valid and holds no line break, which clients that read line by line rely on.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from codeparrot.serve.fields import Refused
from codeparrot.serve.tickets import Ticket

Endpoint = Callable[[Request], Awaitable[Response]]
Shape = Callable[[Refused], Response]
"""How a dialect writes an error."""


def to_line(value: Any) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response of JSON."""
    return Response(to_line(value), status, headers, media_type="application/json")


def openai_body(refused: Refused) -> dict[str, Any]:
    """Return an error as OpenAI's servers write it."""
    return {"error": {"message": refused.message, "type": refused.kind, "param": refused.param, "code": refused.code}}


def openai_error(refused: Refused) -> Response:
    """Return the response of an error as OpenAI's servers write it."""
    return answer(openai_body(refused), refused.status, refused.headers)


def ollama_error(refused: Refused) -> Response:
    """Return the response of an error as Ollama writes it."""
    return answer({"error": refused.message}, refused.status, refused.headers)


def refusal(refused: Refused, path: str) -> Response:
    """Return the response of an error at a path, whoever refuses: clients of `/api/` are Ollama's."""
    return ollama_error(refused) if path.startswith("/api/") else openai_error(refused)


def in_shape(shape: Shape) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator for an endpoint whose errors have another shape than OpenAI's."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def refusing(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refused as refused:
                return shape(refused)

        return refusing

    return decorate


async def events(values: AsyncIterator[Any], error: Callable[[Refused], Any] = openai_body) -> AsyncIterator[str]:
    """Yield values as server-sent events; a text, as "[DONE]", goes as it is. A failure in the middle is the last event."""
    try:
        async for value in values:
            yield f"data: {value if isinstance(value, str) else to_line(value)}\n\n"
    except Refused as refused:
        yield f"data: {to_line(error(refused))}\n\n"


class _Stream(StreamingResponse):
    """Cancels its ticket when it ends, also when it ends before it began: then nobody has entered its iterator."""

    ticket: Ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.ticket:
            await super().__call__(scope, receive, send)


def stream(pieces: AsyncIterator[str], ticket: Ticket, media_type: str = "text/event-stream") -> Response:
    """Return a response that is written piece by piece (`events`) from a ticket; whoever leaves cancels it."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    response = _Stream(pieces, media_type=media_type, headers=headers)
    response.ticket = ticket
    return response

"""Mistral's `/v1/fim/completions`: prompt and suffix, answered in the form of a chat, as Codestral's clients read it.

Each event of a stream has one choice whose content is a text, at its end too: Continue and Tabby read it unseen.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.generation.adjust import Adjust
from codeparrot.serve.answers import answer, events, stream
from codeparrot.serve.asking import (
    ending_of,
    finish_reason,
    num_tokens,
    penalties_of,
    placed,
    refuse_unless,
    request_of,
    samples,
    seed_of,
    stops_of,
    temperature_of,
    top_p_of,
)
from codeparrot.serve.exchange import answering, fields_of
from codeparrot.serve.fields import Fields, Refused
from codeparrot.serve.sentinels import current_path
from codeparrot.serve.service import Service
from codeparrot.serve.tickets import Ticket


def routes(service: Service) -> list[Route]:
    """Return the routes of Mistral's completions."""

    async def complete(http: HttpRequest) -> Response:
        service.ready()
        fields = await fields_of(http, service.limits)
        requests = await asyncio.to_thread(_read, fields, service)
        ticket = await service.desk.submit(requests, seconds=service.limits.seconds)
        if fields.flag("stream"):
            return stream(events(_chunks(ticket, service)), ticket)
        async with answering(http, ticket):
            return answer(_whole(await ticket.all(), service))

    return [Route(path, complete, methods=["POST"]) for path in ("/v1/fim/completions", "/fim/completions")]


def _read(fields: Fields, service: Service) -> Any:
    """Return the one request to the engine.

    Raises:
        Refused: a field asks for what cannot be done.
    """
    if not fields.has("prompt"):
        raise Refused(400, "prompt is missing: it may be an empty text", param="prompt")
    refuse_unless(fields, "min_tokens", (0,), "a completion ends where the model ends it")
    refuse_unless(fields, "n", (1,), "one completion is answered")
    fields.flag("stream")
    presence, frequency = penalties_of(fields)
    prompt = fields.text("prompt") or ""
    parts = placed(service, prompt, fields.text("suffix") or None)
    request = request_of(
        service,
        parts,
        ending_of(fields, service, parts.prefix, [current_path(prompt)]),
        max_new_tokens=num_tokens(fields, service, ("max_tokens",)),
        stop=stops_of(fields, service),
        adjust=Adjust(presence=presence, frequency=frequency),
    )
    seed = seed_of(fields, "random_seed")
    return samples(request, temperature_of(fields, 0.2), top_p_of(fields, 1.0), seed, 1)


def _head(service: Service, kind: str) -> dict[str, Any]:
    return {"id": secrets.token_hex(16), "object": kind, "created": int(time.time()), "model": service.name}


def _usage(completion: Any) -> dict[str, int]:
    read, new = len(completion.prompt), len(completion.ids)
    return {"prompt_tokens": read, "completion_tokens": new, "total_tokens": read + new}


def _whole(completions: list[Any], service: Service) -> dict[str, Any]:
    (completion,) = completions
    message = {"role": "assistant", "content": completion.text, "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(completion.ended)}
    return {**_head(service, "chat.completion"), "choices": [choice], "usage": _usage(completion)}


async def _chunks(ticket: Ticket, service: Service) -> AsyncIterator[Any]:
    head, role = _head(service, "chat.completion.chunk"), {"role": "assistant"}
    async for event in ticket:
        if event.text or event.ended:
            reason = finish_reason(event.ended) if event.ended else None
            choice = {"index": 0, "delta": {**role, "content": event.text}, "finish_reason": reason}
            usage = {"usage": _usage(ticket.completions[0])} if event.ended else {}
            yield {**head, "choices": [choice], **usage}
            role = {}
    yield "[DONE]"

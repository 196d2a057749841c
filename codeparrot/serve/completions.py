"""POST /v1/completions, as OpenAI's clients send it."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.generation.requests import Request
from codeparrot.generation.sampling import TEMPERATURES, Nucleus, is_temperature
from codeparrot.serve.answers import answer, events, stream
from codeparrot.serve.basics import check_model
from codeparrot.serve.exchange import answering, fields_of
from codeparrot.serve.fields import Fields, Refused
from codeparrot.serve.service import Service
from codeparrot.serve.tickets import Ticket


def routes(service: Service) -> list[Route]:
    """Return the routes of completions."""

    async def completions(request: HttpRequest) -> Response:
        service.ready()
        asked = read(await fields_of(request, service.limits), service)
        ticket = await service.desk.submit(asked.requests, seconds=service.limits.seconds)
        if asked.stream:
            return stream(events(_chunks(asked, ticket, service)), ticket)
        async with answering(request, ticket):
            return answer(_whole(asked, await ticket.all(), service))

    return [Route(path, completions, methods=["POST"]) for path in ("/v1/completions", "/completions")]


@dataclass(frozen=True)
class Asked:
    """A request, read and checked."""

    prompts: Sequence[str | Sequence[int]]
    requests: Sequence[Request]
    """Those of the first prompt's samples, then those of the next."""
    n: int
    stream: bool
    with_usage: bool
    echo: bool


def read(fields: Fields, service: Service) -> Asked:
    """Read a request.

    Raises:
        Refused: a field asks for what cannot be done.
    """
    check_model(service, fields.text("model"))
    prompts = _prompts(fields, service)
    n = fields.integer("n", 1, 1, service.limits.samples) or 1
    seed, suffix = seed_of(fields), fields.text("suffix") or None
    if suffix:
        service.can_fill_or_refuse()
    temperature, top_p = temperature_of(fields, 1.0), fields.number("top_p", 1.0, 0.0, 1.0) or 1e-9
    stop = stops_of(fields, service)
    longest = fields.integer("max_tokens", 16, 0, service.limits.new_tokens)
    requests = [
        Request(
            prompt,
            Nucleus(temperature, top_p, (seed, index)),
            max_new_tokens=16 if longest is None else longest,
            stop=stop,
            suffix=suffix,
            order=service.order,
        )
        for prompt in prompts
        for index in range(n)
    ]
    options = fields.mapping("stream_options")
    return Asked(prompts, requests, n, fields.flag("stream"), options.flag("include_usage"), fields.flag("echo"))


def seed_of(fields: Fields) -> int:
    """Return the seed that a request names, or a new one."""
    seed = fields.integer("seed", -1, -(2**63), 2**64 - 1)
    return secrets.randbits(63) if seed is None or seed == -1 else seed


def temperature_of(fields: Fields, default: float) -> float:
    """Return the temperature that a request names."""
    temperature = fields.number("temperature", default)
    if temperature is None or not is_temperature(temperature):
        fields.refuse("temperature", TEMPERATURES)
    return temperature


def stops_of(fields: Fields, service: Service) -> tuple[str, ...]:
    """Return the texts that end a completion."""
    words = fields.texts("stop", service.limits.stops, service.limits.stop_characters)
    if "" in words:
        fields.refuse("stop", "of texts that are not empty")
    return tuple(words)


def _prompts(fields: Fields, service: Service) -> Sequence[str | Sequence[int]]:
    value = fields.raw("prompt")
    if value is None or isinstance(value, str):
        return [fields.text("prompt") or ""]
    given = fields.items("prompt")
    if given and all(isinstance(each, int) for each in given):
        given = [given]
    if not 1 <= len(given) <= service.limits.prompts:
        fields.refuse("prompt", f"a text, a list of token ids, or a list of 1 to {service.limits.prompts} of them")
    if all(isinstance(each, str) for each in given):
        return list(fields.texts("prompt", service.limits.prompts))
    size = service.model.get_input_embeddings().num_embeddings
    for ids in given:
        if not isinstance(ids, list) or not all(type(each) is int and 0 <= each < size for each in ids):
            raise Refused(400, f"prompt must hold texts, or lists of token ids from 0 to {size - 1}", "prompt")
    return given


def finish_reason(ended: str) -> str:
    """Return OpenAI's word for why a completion ended."""
    return "length" if ended in ("length", "time") else "stop"


def _head(service: Service) -> dict[str, Any]:
    about = {"object": "text_completion", "created": int(time.time()), "model": service.name}
    return {"id": f"cmpl-{secrets.token_hex(12)}", **about}


def _usage(asked: Asked, completions: Sequence[Any]) -> dict[str, Any]:
    read, new = sum(len(each.prompt) for each in completions[:: asked.n]), sum(len(each.ids) for each in completions)
    return {"prompt_tokens": read, "completion_tokens": new, "total_tokens": read + new}


def _whole(asked: Asked, completions: Sequence[Any], service: Service) -> dict[str, Any]:
    choices = [
        {"index": index, "text": each.text, "logprobs": None, "finish_reason": finish_reason(each.ended)}
        for index, each in enumerate(completions)
    ]
    return {**_head(service), "choices": choices, "usage": _usage(asked, completions)}


async def _chunks(asked: Asked, ticket: Ticket, service: Service) -> AsyncIterator[Any]:
    head = _head(service) | ({"usage": None} if asked.with_usage else {})
    async for event in ticket:
        reason = finish_reason(event.ended) if event.ended else None
        if event.text or reason:
            choice = {"index": event.index, "text": event.text, "logprobs": None, "finish_reason": reason}
            yield {**head, "choices": [choice]}
    if asked.with_usage:
        yield {**head, "choices": [], "usage": _usage(asked, ticket.completions)}
    yield "[DONE]"

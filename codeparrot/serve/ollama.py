"""Ollama's API: `/api/generate` with a suffix, and what its clients ask about the model.

A stream is the default, one JSON object a line. The model continues text and has no template: `system`, `format`, images and
thoughts are refused, and a template may only be the prompt itself. Options that say how llama.cpp runs a model (num_ctx,
num_thread, and so on) are how this server was started; they are read past. Errors are `{"error": text}`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.generation.adjust import Adjust
from codeparrot.generation.requests import Request
from codeparrot.serve.answers import answer, stream, to_line
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

VERSION = "0.12.0"
"""The version of Ollama whose API this is: clients ask for it to know what they may send."""
TEMPLATE = "{{ .Prompt }}"
_FILLING = "{{- if .Suffix }}<fim_prefix>{{ .Prompt }}<fim_suffix>{{ .Suffix }}<fim_middle>{{ else }}{{ .Prompt }}{{ end }}"
"""Continue looks for .Suffix in it to know that a model can fill in the middle."""


def routes(service: Service) -> list[Route]:
    """Return the routes of Ollama's API."""

    async def generate(http: HttpRequest) -> Response:
        began = time.monotonic()
        service.ready()
        fields = await fields_of(http, service.limits)
        streamed = fields.flag("stream", True)
        requests = await asyncio.to_thread(_read, fields, service)
        if requests is None:
            return answer(_head(service) | {"response": "", "done": True, "done_reason": "load"})
        ticket = await service.desk.submit(requests, seconds=service.limits.seconds)
        if streamed:
            return stream(_lines(ticket, service, began), ticket, "application/x-ndjson")
        async with answering(http, ticket):
            (completion,) = await ticket.all()
        return answer(_head(service) | {"response": completion.text} | _end(completion, ticket, began))

    async def tags(http: HttpRequest) -> Response:
        service.ready()
        return answer({"models": [_model(service)]})

    async def show(http: HttpRequest) -> Response:
        service.ready()
        await fields_of(http, service.limits)
        return answer(_shown(service))

    async def version(http: HttpRequest) -> Response:
        return answer({"version": VERSION})

    async def other(http: HttpRequest) -> Response:
        raise Refused(501, "the model continues code and has learned nothing else: ask /api/generate")

    others = ("/api/chat", "/api/embed", "/api/embeddings", "/api/pull", "/api/create", "/api/copy", "/api/push")
    return [
        Route("/api/generate", generate, methods=["POST"]),
        Route("/api/tags", tags),
        Route("/api/ps", tags),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/version", version),
        *(Route(path, other, methods=["POST"]) for path in others),
    ]


def _read(fields: Fields, service: Service) -> "list[Request] | None":
    """Return the one request to the engine; None where only the model is to be loaded.

    Raises:
        Refused: a field asks for what cannot be done.
    """
    for name, neutral in (("system", ("",)), ("format", ("",)), ("images", ([],)), ("context", ([],)), ("think", (False,))):
        refuse_unless(fields, name, neutral, "the model continues text")
    refuse_unless(fields, "logprobs", (False,), "ask /v1/completions for them")
    fields.flag("raw")
    template = (fields.text("template") or TEMPLATE).replace(" ", "")
    if template != TEMPLATE.replace(" ", ""):
        fields.refuse("template", f"{TEMPLATE}: sentinels may stand in the prompt")
    prompt, suffix, options = fields.text("prompt") or "", fields.text("suffix") or None, fields.mapping("options")
    if not prompt and suffix is None:
        return None
    for name, neutral in (("mirostat", (0,)), ("typical_p", (1,)), ("tfs_z", (1,))):
        refuse_unless(options, name, neutral, "this server has no such option")
    parts = placed(service, prompt, suffix)
    request = request_of(
        service,
        parts,
        ending_of(fields, service, parts.prefix, [current_path(prompt)]),
        max_new_tokens=num_tokens(options, service, ("num_predict",)),
        stop=stops_of(options, service),
        adjust=_adjust(options),
    )
    seed = seed_of(options, unseeded=(-1, 0))
    return list(samples(request, temperature_of(options, 0.8), top_p_of(options, 0.9), seed, 1))


def _adjust(options: Fields) -> Adjust:
    """Return what changes the logits before a token is drawn. Ollama's own defaults are those of chats: a penalty for words
    that code repeats is only taken where it is asked for."""
    repeat_last = options.integer("repeat_last_n", 64, -1, 2**31 - 1)
    presence, frequency = penalties_of(options)
    return Adjust(
        presence=presence,
        frequency=frequency,
        repeat=options.number("repeat_penalty", 1.0, 0.01, 100.0) or 1.0,
        repeat_last=64 if repeat_last is None else repeat_last,
        top_k=max(0, options.integer("top_k", 40, -1, 2**31 - 1) or 0),
        min_p=options.number("min_p", 0.0, 0.0, 1.0) or 0.0,
    )


def _head(service: Service) -> dict[str, Any]:
    return {"model": service.name, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _end(completion: Any, ticket: Ticket, began: float) -> dict[str, Any]:
    """Return what the last line of an answer says: counts, and durations in nanoseconds."""
    timings = ticket.timings[0]
    return {
        "done": True,
        "done_reason": finish_reason(completion.ended),
        "total_duration": _nanoseconds(time.monotonic() - began),
        "load_duration": 0,
        "prompt_eval_count": len(completion.prompt),
        "prompt_eval_duration": _nanoseconds(timings.prompt_seconds),
        "eval_count": len(completion.ids),
        "eval_duration": _nanoseconds(timings.predict_seconds),
    }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


async def _lines(ticket: Ticket, service: Service, began: float) -> AsyncIterator[str]:
    try:
        async for event in ticket:
            if event.text:
                yield to_line(_head(service) | {"response": event.text, "done": False}) + "\n"
        yield to_line(_head(service) | {"response": ""} | _end(ticket.completions[0], ticket, began)) + "\n"
    except Refused as refused:
        yield to_line({"error": refused.message}) + "\n"


def _details(service: Service) -> dict[str, Any]:
    family = service.model.config.model_type
    parameters = service.model.num_parameters()
    size = f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.2f}M"
    kind = str(service.model.dtype).removeprefix("torch.").replace("float", "F").replace("bF", "BF")
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": family,
        "families": [family],
        "parameter_size": size,
        "quantization_level": kind,
    }


def _model(service: Service) -> dict[str, Any]:
    created = datetime.fromtimestamp(service.facts.get("created", 0), UTC).isoformat().replace("+00:00", "Z")
    size = sum(each.numel() * each.element_size() for each in service.model.parameters())
    about = {"name": service.name, "model": service.name, "modified_at": created, "size": size, "digest": ""}
    return about | {"details": _details(service)}


def _shown(service: Service) -> dict[str, Any]:
    family, context = service.model.config.model_type, service.context
    info = {"general.architecture": family, "general.parameter_count": service.model.num_parameters()}
    template = _FILLING if service.can_fill else TEMPLATE
    return {
        "modelfile": f"# served by codeparrot\nFROM {service.name}\nTEMPLATE {template}",
        "parameters": f"num_ctx {context}" if context else "",
        "template": template,
        "details": _details(service),
        "model_info": info | ({f"{family}.context_length": context} if context else {}),
        "capabilities": ["completion", *(["insert"] if service.can_fill else [])],
    }

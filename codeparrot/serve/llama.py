"""llama.cpp's completions: `/infill` of llama.vscode and llama.vim, and `/completion` of Continue, twinny and Tabby.

    POST /infill {"input_prefix": ..., "prompt": ..., "input_suffix": ..., "input_extra": [{"text": ...}]}
    POST /completion {"prompt": ...}, also as /completions

What stands before the cursor is input_prefix and prompt together. Several prompts, or n_cmpl above 1, answer an array, in the
order of prompts and then of samples. `n_predict` 0 reads the prompt into the cache and answers no text: editors warm it so, and
the time limits, which count from the first token, do not cut that off. Errors are llama.cpp's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.generation.requests import Request
from codeparrot.languages.detect import language_of
from codeparrot.serve.answers import answer, events, in_shape, stream
from codeparrot.serve.asking import ending_of, num_ids, placed, request_of, samples
from codeparrot.serve.exchange import answering, fields_of
from codeparrot.serve.fields import Fields, Refused
from codeparrot.serve.llama_answers import final, llama_body, partial, picked
from codeparrot.serve.llama_options import Options, read_options
from codeparrot.serve.sentinels import Parts, current_path
from codeparrot.serve.service import Service
from codeparrot.serve.tickets import Ticket


def llama_error(refused: Refused) -> Response:
    """Return the response of an error as llama.cpp's server writes it."""
    return answer(llama_body(refused), refused.status, refused.headers)


def routes(service: Service) -> list[Route]:
    """Return the routes of completions."""

    @in_shape(llama_error)
    async def infill(request: HttpRequest) -> Response:
        service.ready()
        fields = await fields_of(request, service.limits)
        return await _complete(request, lambda: [_infill_parts(fields, service)], fields, service)

    @in_shape(llama_error)
    async def completion(request: HttpRequest) -> Response:
        service.ready()
        fields = await fields_of(request, service.limits)
        return await _complete(request, lambda: _prompts(fields, service), fields, service)

    async def lora_adapters(request: HttpRequest) -> Response:
        return answer([])

    return [
        Route("/infill", infill, methods=["POST"]),
        *(Route(path, completion, methods=["POST"]) for path in ("/completion", "/completions")),
        Route("/lora-adapters", lora_adapters),
    ]


@dataclass(frozen=True)
class _Asked:
    options: Options
    requests: Sequence[Request]
    is_array: bool
    service: Service


def _read(prompts: Sequence[Parts | list[int]], fields: Fields, service: Service) -> _Asked:
    options = read_options(fields, service)
    requests = [
        each
        for prompt in prompts
        for each in samples(
            _request(prompt, options, fields, service), options.temperature, options.top_p, options.seed, options.n_cmpl
        )
    ]
    return _Asked(options, requests, len(requests) > 1, service)


async def _complete(
    http: HttpRequest, prompts: Callable[[], Sequence[Parts | list[int]]], fields: Fields, service: Service
) -> Response:
    # Texts between tokens, and those of biases, are made tokens here, which takes its time: not in the loop.
    asked = await asyncio.to_thread(lambda: _read(prompts(), fields, service))
    options, limit = asked.options, service.limits.seconds
    ticket = await service.desk.submit(asked.requests, seconds=limit, after_line_seconds=options.after_line_seconds)
    if options.stream:
        return stream(events(_events(asked, ticket), llama_body), ticket)
    async with answering(http, ticket):
        found = [
            picked(final(options, service, index, each, ticket.timings[index]), options.response_fields)
            for index, each in enumerate(await ticket.all())
        ]
    return answer(found if asked.is_array else found[0])


def _request(prompt: Parts | list[int], options: Options, fields: Fields, service: Service) -> Request:
    wanted: dict[str, Any] = {
        "max_new_tokens": options.n_predict,
        "stop": options.stop,
        "adjust": options.adjust,
        "min_indent": options.n_indent,
        "num_likely": options.n_probs or None,
    }
    if isinstance(prompt, Parts):
        return request_of(service, prompt, ending_of(fields, service, prompt.prefix, _paths(fields)), **wanted)
    ends = ending_of(fields, service, service.spelling.text(prompt))
    wanted["stop"] = (*options.stop, *ends.texts)
    return Request(prompt, exact=True, steady=True, block=ends.block, **wanted)


def _paths(fields: Fields) -> list[str]:
    """Return paths of the file that the cursor is in, as far as a request shows them.

    `/infill` names other files alone: an editor's files are mostly of one language, and where they are of several, none shows.
    """
    value = fields.raw("prompt")
    own = current_path(value) if isinstance(value, str) else ""
    others = fields.raw("input_extra")
    named = [each.get("filename") for each in others if isinstance(each, dict)] if isinstance(others, list) else []
    languages = {language_of(name, ""): name for name in named if isinstance(name, str)}
    return [own, *(languages.values() if len(languages) == 1 else ())]


def _infill_parts(fields: Fields, service: Service) -> Parts:
    """Return the parts of a request to `/infill`."""
    for name in ("input_prefix", "input_suffix"):
        if not fields.has(name):
            raise Refused(400, f"{name} is missing: it may be empty", param=name)
    prefix, suffix = fields.text("input_prefix") or "", fields.text("input_suffix") or ""
    extra = [_extra_text(each, fields) for each in fields.items("input_extra", 10_000)]
    parts = placed(service, prefix + (fields.text("prompt") or ""), suffix, "input_suffix")
    return parts._replace(extra=tuple(text for text in extra if text.strip()))


def _extra_text(value: Any, fields: Fields) -> str:
    if not isinstance(value, dict):
        fields.refuse("input_extra", 'a list of objects {"filename": text, "text": text}')
    chunk = Fields(value, "input_extra")
    chunk.text("filename")
    if not chunk.has("text"):
        chunk.refuse("text", "a text")
    return chunk.text("text") or ""


def _prompts(fields: Fields, service: Service) -> list[Parts | list[int]]:
    """Return the prompts of a request to `/completion`: one, or a list of several."""
    value = fields.raw("prompt")
    if value is None:
        raise Refused(400, "prompt is missing: it may be an empty text", param="prompt")
    several = isinstance(value, list) and not any(type(each) is int for each in value)
    prompts = value if several else [value]
    if not 1 <= len(prompts) <= service.limits.prompts:
        fields.refuse("prompt", f"one prompt, or a list of 1 to {service.limits.prompts}")
    return [_prompt(each, fields, service) for each in prompts]


def _prompt(value: Any, fields: Fields, service: Service) -> Parts | list[int]:
    """Return one prompt: a text, an object with one, tokens, or tokens and texts in turns."""
    if isinstance(value, dict):
        if value.get("multimodal_data"):
            fields.refuse("prompt", "of text: the model reads nothing else")
        value = value.get("prompt_string")
    if isinstance(value, str):
        return placed(service, Fields({"prompt": value}).text("prompt") or "", param="prompt")
    most = num_ids(service)
    if not isinstance(value, list) or not all(
        isinstance(each, str) or (type(each) is int and 0 <= each < most) for each in value
    ):
        fields.refuse("prompt", f"a text, or a list of texts and of token ids from 0 to {most - 1}")
    ids: list[int] = []
    for each in value:
        ids += [each] if isinstance(each, int) else _ids(each, service)
    return ids or [service.tokenizer.eos_token_id]


def _ids(text: str, service: Service) -> list[int]:
    checked = Fields({"prompt": text}).text("prompt")
    return service.tokenizer(checked, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


async def _events(asked: _Asked, ticket: Ticket) -> AsyncIterator[Any]:
    """Yield what each step brought, and at the end of each completion all that is said of it."""
    options, counts = asked.options, [0] * len(asked.requests)
    async for event in ticket:
        counts[event.index] += len(event.ids)
        if event.text or event.ids:
            yield partial(options, asked.service, event, ticket, counts[event.index])
        if event.ended:
            completion, timings = ticket.completions[event.index], ticket.timings[event.index]
            said = final(options, asked.service, event.index, completion, timings)
            # The text and its tokens were in the pieces.
            whole = said | {"content": "", "tokens": []}
            whole.pop("completion_probabilities", None)
            yield picked(whole, options.response_fields)

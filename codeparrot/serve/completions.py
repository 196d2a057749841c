"""POST /v1/completions, as OpenAI's clients send it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.generation.adjust import Adjust
from codeparrot.generation.prompts import encode_prompt
from codeparrot.generation.requests import Completion, Request
from codeparrot.serve.answers import answer, events, stream
from codeparrot.serve.asking import (
    ending_of,
    finish_reason,
    num_ids,
    penalties_of,
    placed,
    samples,
    seed_of,
    stops_of,
    temperature_of,
    top_p_of,
)
from codeparrot.serve.choices import Shown, Tokens, choice, form
from codeparrot.serve.exchange import answering, fields_of
from codeparrot.serve.fields import Fields, Refused, quoted
from codeparrot.serve.sentinels import current_path
from codeparrot.serve.service import Service
from codeparrot.serve.tickets import Ticket

DEFAULT_TOKENS = 16
"""OpenAI's default."""
MOST_LIKELY = 5
MOST_BIASES = 1024


def routes(service: Service) -> list[Route]:
    """Return the route of completions."""

    async def completions(request: HttpRequest) -> Response:
        service.ready()
        fields = await fields_of(request, service.limits)
        # Encoding a long text takes its time: not in the loop.
        asked = await asyncio.to_thread(read, fields, service)
        ticket = await service.desk.submit(asked.requests, seconds=service.limits.seconds)
        if asked.stream:
            return stream(events(_chunks(asked, ticket, service)), ticket)
        async with answering(request, ticket):
            return answer(_whole(asked, await ticket.all(), service))

    return [Route("/v1/completions", completions, methods=["POST"])]


@dataclass(frozen=True)
class Asked:
    """A request, read and checked."""

    requests: Sequence[Request]
    """Those of the first prompt's samples, then those of the next."""
    shown: Sequence[Shown]
    """Of each prompt."""
    n: int
    """Samples of a prompt that are returned."""
    best_of: int
    """Samples of a prompt that are drawn."""
    stream: bool
    with_usage: bool


def read(fields: Fields, service: Service) -> Asked:
    """Read a request. Its `model` is not compared: one is served, and the answer names it. `user` changes nothing.

    Raises:
        Refused: a field asks for what cannot be done.
    """
    for name in ("model", "user"):
        fields.text(name)
    n, best_of = _samples(fields, service)
    logprobs, echo = fields.integer("logprobs", None, 0, MOST_LIKELY), fields.flag("echo")
    of_prompt = echo and logprobs is not None
    template = _template(fields, service)
    kept = 0 if logprobs is None and best_of > n else logprobs
    seed, temperature, top_p = seed_of(fields), temperature_of(fields, 1.0), top_p_of(fields, 1.0)
    requests, shown = [], []
    for given in _prompts(fields, service):
        one = replace(_request(given, template, of_prompt, fields, service), num_likely=kept, of_prompt=of_prompt)
        in_tokens = not isinstance(given, str)
        one = _ended(one, given, fields, service)
        # Tokens are read as they came, as far as they fit; so is a prompt whose likelihoods are wanted, which is not healed.
        one = replace(one, heal=not of_prompt, steady=not (of_prompt or in_tokens))
        requests += samples(one, temperature, top_p, seed, best_of)
        text = service.spelling.text(given) if in_tokens else given
        shown.append(Shown(text, in_tokens, echo, logprobs is not None))
    options = fields.mapping("stream_options")
    return Asked(requests, shown, n, best_of, fields.flag("stream"), options.flag("include_usage"))


def _samples(fields: Fields, service: Service) -> tuple[int, int]:
    """Return how many samples of a prompt are returned and drawn."""
    most = service.limits.samples
    n = fields.integer("n", 1, 1, most)
    best_of = fields.integer("best_of", n, 1, most)
    assert n is not None and best_of is not None
    if best_of < n:
        fields.refuse("best_of", f"at least n, which is {n}")
    if best_of > n and fields.flag("stream"):
        raise Refused(400, "best_of cannot be streamed: the best are known at the end", "best_of")
    return n, best_of


def _template(fields: Fields, service: Service) -> Request:
    """Return what all requests have in common."""
    longest = fields.integer("max_tokens", DEFAULT_TOKENS, 0, service.limits.new_tokens)
    assert longest is not None
    return Request(
        "",
        max_new_tokens=longest,
        stop=stops_of(fields, service),
        order=service.order,
        exact=True,
        adjust=_adjust(fields, service),
    )


def _adjust(fields: Fields, service: Service) -> Adjust | None:
    bias = fields.mapping("logit_bias")
    size = num_ids(service)
    if len(bias.names()) > MOST_BIASES:
        raise Refused(400, f"logit_bias must hold at most {MOST_BIASES} tokens", "logit_bias")
    for name in bias.names():
        if not (name.isascii() and name.isdecimal() and len(name) <= 20 and int(name) < size):
            raise Refused(400, f"logit_bias must hold token ids from 0 to {size - 1}, not {quoted(name)}", "logit_bias")
    biases = {int(name): value for name in bias.names() if (value := bias.number(name, 0.0, -100.0, 100.0))}
    presence, frequency = penalties_of(fields)
    return Adjust(biases, presence, frequency) if biases or presence or frequency else None


def _request(given: str | Sequence[int], template: Request, of_prompt: bool, fields: Fields, service: Service) -> Request:
    """Return the request of one prompt: its parts, where it is text whose likelihoods nobody asks for, else its tokens."""
    suffix = fields.text("suffix") or None
    if isinstance(given, str) and not of_prompt:
        parts = placed(service, given, suffix)
        return replace(template, prompt=parts.prefix, suffix=parts.suffix, extra=parts.extra)
    if suffix:
        raise Refused(400, "a suffix needs a prompt of text, and no logprobs of the prompt (echo)", "suffix")
    ids = encode_prompt(service.tokenizer, given) if isinstance(given, str) else given
    # Likelihoods of a prompt without its head would be those of another text.
    if of_prompt and service.context is not None and len(ids) + template.max_new_tokens > service.context:
        words = f"{len(ids)} tokens of the prompt and max_tokens {template.max_new_tokens} are more than the context"
        raise Refused(400, f"{words} of {service.context}", "prompt", code="context_length_exceeded")
    return replace(template, prompt=ids)


def _ended(one: Request, given: str | Sequence[int], fields: Fields, service: Service) -> Request:
    """Return a request that also ends where its `stop_at`, or the server's, says."""
    text = given if isinstance(given, str) else service.spelling.text(given)
    before = one.prompt if isinstance(one.prompt, str) else text
    ends = ending_of(fields, service, before, [current_path(text)])
    return replace(one, stop=(*one.stop, *ends.texts), block=ends.block)


def _prompts(fields: Fields, service: Service) -> Sequence[str | Sequence[int]]:
    value, most = fields.raw("prompt"), service.limits.prompts
    if value is None or isinstance(value, str):
        return [fields.text("prompt") or ""]
    given = fields.items("prompt")
    if given and all(isinstance(each, int) for each in given):
        given = [given]
    if not 1 <= len(given) <= most:
        fields.refuse("prompt", f"a text, a list of token ids, or a list of 1 to {most} of them")
    if all(isinstance(each, str) for each in given):
        return fields.texts("prompt", most)
    size = num_ids(service)
    for ids in given:
        if not isinstance(ids, list) or not ids or not all(type(each) is int and 0 <= each < size for each in ids):
            raise Refused(400, f"prompt must hold texts, or lists of token ids from 0 to {size - 1}", "prompt")
    return given


def _head(service: Service) -> dict[str, Any]:
    about = {"object": "text_completion", "created": int(time.time()), "model": service.name}
    return {"id": f"cmpl-{secrets.token_hex(12)}", **about}


def _usage(asked: Asked, completions: Sequence[Completion]) -> dict[str, Any]:
    prompts = completions[:: asked.best_of]
    read, new = sum(len(each.prompt) for each in prompts), sum(len(each.ids) for each in completions)
    cached = {"cached_tokens": sum(each.cached for each in prompts)}
    return {"prompt_tokens": read, "completion_tokens": new, "total_tokens": read + new, "prompt_tokens_details": cached}


def _best(completions: Sequence[Completion], n: int) -> Sequence[Completion]:
    """Return the `n` samples whose tokens are likeliest on average."""

    def mean(completion: Completion) -> float:
        values = [each.logprob for each in completion.likelihoods]
        return sum(values) / max(1, len(values))

    return completions if len(completions) == n else sorted(completions, key=mean, reverse=True)[:n]


def _whole(asked: Asked, completions: Sequence[Completion], service: Service) -> dict[str, Any]:
    choices = []
    for place, shown in enumerate(asked.shown):
        samples = completions[place * asked.best_of : (place + 1) * asked.best_of]
        for each in _best(samples, asked.n):
            choices.append(choice(len(choices), each, shown, service.spelling))
    return {**_head(service), "choices": choices, "usage": _usage(asked, completions)}


async def _chunks(asked: Asked, ticket: Ticket, service: Service) -> AsyncIterator[Any]:
    head = _head(service) | ({"usage": None} if asked.with_usage else {})
    pairs = [(each, asked.shown[index // asked.n]) for index, each in enumerate(ticket.completions)]
    tokens = [Tokens(each, shown, service.spelling) for each, shown in pairs]
    echoes, lengths = [shown.prompt if shown.echo else "" for _, shown in pairs], [0] * len(pairs)
    async for event in ticket:
        reason = finish_reason(event.ended) if event.ended else None
        text, echoes[event.index] = echoes[event.index] + event.text, ""
        lengths[event.index] += len(event.text)
        logprobs = None
        if pairs[event.index][1].logprobs:
            logprobs = tokens[event.index].of(event.likelihoods, lengths[event.index], event.ended)
        if text or reason or (logprobs and logprobs["tokens"]):
            yield {**head, "choices": [form(event.index, text, logprobs, reason)]}
    if asked.with_usage:
        yield {**head, "choices": [], "usage": _usage(asked, ticket.completions)}
    yield "[DONE]"

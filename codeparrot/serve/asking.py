"""What the dialects share between a client's fields and the engine's requests.

Guarantee: one prompt means the same in every dialect: sentinels of any model in a text mark its parts, and a suffix is filled
in front of, or refused.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from codeparrot.generation.endings import STOPS, Ending, StopAt, ending, language_told
from codeparrot.generation.requests import Request
from codeparrot.generation.sampling import TEMPERATURES, Nucleus, is_temperature
from codeparrot.serve.fields import Fields
from codeparrot.serve.sentinels import Parts, parts_of
from codeparrot.serve.service import Service

SEEDS = 2**64 - 1
"""Some clients send unsigned seeds, some signed ones."""


def placed(service: Service, prompt: str, suffix: str | None = None, param: str = "suffix") -> Parts:
    """Return the parts of a prompt of text. A suffix of its own says that the prompt is what stands before the cursor.

    An empty suffix is none. A model that has not learned to fill in the middle goes on where nothing but white space follows:
    editors send that at the end of a file.

    Raises:
        Refused: the model cannot fill in the middle.
    """
    parts = parts_of(prompt) if suffix is None else Parts(prompt, suffix)
    if parts.suffix is None or parts.suffix == "" or not (service.can_fill or parts.suffix.strip()):
        return parts._replace(suffix=None)
    service.can_fill_or_refuse(param)
    return parts


def request_of(service: Service, parts: Parts, ends: Ending, **options: object) -> Request:
    """Return the request of an editor: its next one differs by a few characters, and white space at the end counts.

    Args:
        service: what endpoints share.
        parts: of its prompt.
        ends: what `ending_of` returned.
        options: further fields of the request.
    """
    where = {"suffix": parts.suffix, "extra": parts.extra, "order": service.order, "block": ends.block}
    options["stop"] = (*options.get("stop", ()), *ends.texts)  # type: ignore[misc]
    return Request(parts.prefix, steady=True, exact=True, **where, **options)  # type: ignore[arg-type]


def ending_of(fields: Fields, service: Service, before: str, paths: Sequence[str] = ()) -> Ending:
    """Return where the completion of a request ends besides the texts that it names.

    Args:
        fields: of the request: `stop_at` says where, `language` and `path` of what; no client sends the first by itself.
        service: says where for requests that do not.
        before: the text in front of the cursor.
        paths: of the file, as far as the prompt shows them.
    """
    stop: StopAt = service.stop
    if fields.has("stop_at"):
        asked = fields.text("stop_at")
        if asked not in STOPS:
            fields.refuse("stop_at", f"one of {', '.join(STOPS)}")
        stop = asked
    if stop in ("none", "block"):
        return ending(stop, "", before)
    language, path = (fields.text(name, "", most=4096) or "" for name in ("language", "path"))
    return ending(stop, language_told(language, (path, *paths), before) or service.language, before)


def samples(request: Request, temperature: float, top_p: float, seed: int, count: int) -> Sequence[Request]:
    """Return as many requests that differ in their random numbers."""
    return [replace(request, sampler=Nucleus(temperature, top_p, (seed, index))) for index in range(count)]


def seed_of(fields: Fields, name: str = "seed", unseeded: Sequence[int] = (-1,)) -> int:
    """Return the seed that a request names, or a new one."""
    seed = fields.integer(name, None, -(2**63), SEEDS)
    return secrets.randbits(32) if seed is None or seed in unseeded else seed


def temperature_of(fields: Fields, default: float) -> float:
    """Return the temperature that a request names; below 0 it is 0, as some clients write greedy."""
    temperature = max(0.0, fields.number("temperature", default) or 0.0)
    if not is_temperature(temperature):
        fields.refuse("temperature", TEMPERATURES)
    return temperature


def top_p_of(fields: Fields, default: float) -> float:
    """Return the nucleus that a request names. 0 is the likeliest token alone, which the smallest nucleus holds."""
    return max(1e-9, fields.number("top_p", default, 0.0, 1.0) or 0.0)


def stops_of(fields: Fields, service: Service) -> tuple[str, ...]:
    """Return the texts that end a completion; empty ones end none, and clients send them."""
    words = fields.texts("stop", service.limits.stops, service.limits.stop_characters)
    return tuple(word for word in words if word)


def penalties_of(fields: Fields) -> tuple[float, float]:
    """Return the presence and the frequency penalty that a request names."""
    presence, frequency = (fields.number(f"{name}_penalty", 0.0, -2.0, 2.0) or 0.0 for name in ("presence", "frequency"))
    return presence, frequency


def num_tokens(fields: Fields, service: Service, names: Sequence[str]) -> int:
    """Return how many new tokens a request may have: the first of the fields that is there says it.

    A negative number, and none, is as many as the context and the server allow.
    """
    most = service.limits.new_tokens
    for name in names:
        if fields.has(name):
            asked = fields.integer(name, None, -(2**31), 2**31 - 1)
            return min(asked, most) if asked is not None and asked >= 0 else most
    return most


def refuse_unless(fields: Fields, name: str, neutral: Sequence[object], why: str) -> None:
    """Refuse a field that is known here and would have an effect that this server has not got."""
    value = fields.raw(name)
    if value is not None and value not in neutral:
        fields.refuse(name, f"left out ({why})")


def finish_reason(ended: str) -> str:
    """Return OpenAI's, Mistral's and Ollama's word for why a completion ended."""
    return "length" if ended in ("length", "time") else "stop"


def num_ids(service: Service) -> int:
    """Return how many token ids the model reads: from 0 to one less."""
    return service.model.get_input_embeddings().num_embeddings

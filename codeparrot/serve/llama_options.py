"""The options of a request to llama.cpp's `/completion` and `/infill`, as its server documents them.

Guarantee: each option that is known there is honoured, or has no effect at the value it has, or is refused by name;
`generation_settings` of the answer says what was done.

Where a request names its samplers, the options of others have no effect, as in llama.cpp. The sampler "infill" of its editors
keeps the tokens that are likely beside the likeliest one: here it is a min_p of INFILL_MIN_P.
"""

from dataclasses import dataclass
from typing import Any

from codeparrot.generation.adjust import Adjust
from codeparrot.serve.asking import (
    num_ids,
    num_tokens,
    penalties_of,
    refuse_unless,
    seed_of,
    stops_of,
    temperature_of,
    top_p_of,
)
from codeparrot.serve.fields import Fields
from codeparrot.serve.service import Service

INFILL_MIN_P = 0.2
"""llama.cpp's sampler drops tokens of less than this probability while others have more."""
MOST_LIKELY = 50
"""Of n_probs."""
_LETTERS = {
    **{"e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p", "m": "min_p", "x": "xtc"},
    **{"t": "temperature", "i": "infill", "a": "adaptive_p"},
}
_ALIASES = {"typical_p": "typ_p", "typical": "typ_p", "typ": "typ_p", "temp": "temperature", "nucleus": "top_p"}
_DEFAULT_SAMPLERS = ["penalties", "top_k", "top_p", "min_p", "temperature"]
_UNSEEDED = (-1, 2**32 - 1)
"""llama.cpp writes a random seed as the second one."""
_EFFECTS: dict[str, tuple[object, ...]] = {
    "dry_multiplier": (0,),
    "xtc_probability": (0,),
    "typical_p": (1,),
    "top_n_sigma": (-1, 0),
    "mirostat": (0,),
    "dynatemp_range": (0,),
    "adaptive_target": (-1,),
    "grammar": ("",),
    "json_schema": (),
    "lora": ([],),
    "min_keep": (0,),
    "return_progress": (False,),
    "post_sampling_probs": (False,),
}
"""Options with an effect that this server has not got, and their values that ask for none."""
_OFF = {
    **{"dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "top_n_sigma": -1.0, "xtc_probability": 0.0, "xtc_threshold": 0.1},
    **{
        "typical_p": 1.0,
        "mirostat": 0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
    },
    **{"dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": 64, "dry_sequence_breakers": []},
    **{"n_keep": 0, "n_discard": 0, "min_keep": 0, "grammar": "", "post_sampling_probs": False, "lora": []},
}
"""What the answer says of options that this server has not got."""
_SAMPLER_OF = {"dry_multiplier": "dry", "xtc_probability": "xtc", "typical_p": "typ_p", "top_n_sigma": "top_n_sigma"}


@dataclass(frozen=True)
class Options:
    """What a request asks for besides its prompts."""

    n_predict: int
    temperature: float
    top_p: float
    adjust: Adjust
    seed: int
    stop: tuple[str, ...]
    n_cmpl: int
    n_indent: int
    n_probs: int
    after_line_seconds: float | None
    """End a completion that has a whole line after this long."""
    stream: bool
    return_tokens: bool
    timings_per_token: bool
    response_fields: tuple[str, ...]
    id_slot: int
    settings: dict[str, Any]
    """The `generation_settings` of the answer."""


def read_options(fields: Fields, service: Service) -> Options:
    """Read the options.

    Raises:
        Refused: one is of the wrong type or range, or asks for what this server has not got.
    """
    given = _samplers(fields) if fields.has("samplers") else None
    samplers = _DEFAULT_SAMPLERS if given is None else given
    for name, neutral in _EFFECTS.items():
        if given is None or _SAMPLER_OF.get(name) is None or _SAMPLER_OF[name] in given:
            refuse_unless(fields, name, neutral, "this server has no such option")
    temperature = temperature_of(fields, 0.8)
    if temperature and "temperature" not in samplers:
        temperature = 1.0
    top_p = top_p_of(fields, 0.95) if "top_p" in samplers else 1.0
    adjust = _adjust(fields, service, samplers)
    after_line = fields.number("t_max_predict_ms", 0.0, -1.0) or 0.0
    count = fields.integer("n_cmpl" if fields.has("n_cmpl") else "n", 1, 1, service.limits.samples) or 1
    options = Options(
        n_predict=num_tokens(fields, service, ("n_predict", "max_tokens", "max_completion_tokens")),
        temperature=temperature,
        top_p=top_p,
        adjust=adjust,
        seed=seed_of(fields, unseeded=_UNSEEDED),
        stop=stops_of(fields, service),
        n_cmpl=count,
        n_indent=fields.integer("n_indent", 0, 0, 10_000) or 0,
        n_probs=fields.integer("n_probs", 0, 0, MOST_LIKELY) or 0,
        after_line_seconds=after_line / 1000 if after_line > 0 else None,
        stream=fields.flag("stream"),
        return_tokens=fields.flag("return_tokens"),
        timings_per_token=fields.flag("timings_per_token"),
        response_fields=tuple(fields.texts("response_fields", 100, 200)),
        id_slot=fields.integer("id_slot", -1, -1, 2**31 - 1) or 0,
        settings={},
    )
    options.settings.update(_settings(options, samplers, fields, service))
    return options


def default_settings(service: Service) -> dict[str, Any]:
    """Return the settings of a request without options, for `/props`."""
    settings = read_options(Fields({}), service).settings
    return settings | {"seed": _UNSEEDED[1]}


def _samplers(fields: Fields) -> list[str]:
    """Return the samplers that a request names: by a list of names, or a text of letters."""
    value = fields.raw("samplers")
    words = list(value) if isinstance(value, str) else fields.texts("samplers", 100, 100)
    letters = isinstance(value, str)
    names = [
        _LETTERS.get(word, "") if letters else _ALIASES.get(word.replace("-", "_"), word.replace("-", "_")) for word in words
    ]
    if unknown := [word for word, name in zip(words, names, strict=True) if name not in _LETTERS.values()]:
        fields.refuse("samplers", f"of {', '.join(_LETTERS.values())} ({unknown[0][:40]!r} is none)")
    return names


def _adjust(fields: Fields, service: Service, samplers: list[str]) -> Adjust:
    """Return what changes the logits before a token is drawn."""
    bias = _bias(fields, service)
    if fields.flag("ignore_eos"):
        from codeparrot.generation.engine import end_tokens

        bias |= dict.fromkeys(end_tokens(service.model, service.tokenizer), -float("inf"))
    min_p = (fields.number("min_p", 0.05, 0.0, 1.0) or 0.0) if "min_p" in samplers else 0.0
    top_k = (fields.integer("top_k", 40, -1, 2**31 - 1) or 0) if "top_k" in samplers else 0
    penalised = "penalties" in samplers
    repeat_last = fields.integer("repeat_last_n", 64, -1, 2**31 - 1)
    presence, frequency = penalties_of(fields)
    repeat = fields.number("repeat_penalty", 1.0, 0.01, 100.0)
    return Adjust(
        bias=bias,
        presence=presence if penalised else 0.0,
        frequency=frequency if penalised else 0.0,
        repeat=(repeat or 1.0) if penalised else 1.0,
        repeat_last=64 if repeat_last is None else repeat_last,
        top_k=max(0, top_k),
        min_p=max(min_p, INFILL_MIN_P if "infill" in samplers else 0.0),
    )


def _bias(fields: Fields, service: Service) -> dict[int, float]:
    """Return what is added to tokens' logits: of pairs of a token or text and a number or false, or of an object of them."""
    value = fields.raw("logit_bias")
    pairs = list(value.items()) if isinstance(value, dict) else fields.items("logit_bias", 1000)
    bias: dict[int, float] = {}
    for pair in pairs[:1001]:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not _is_bias(pair[1]) or len(pairs) > 1000:
            fields.refuse("logit_bias", "at most 1000 pairs of a token or text, and a number or false")
        added = -float("inf") if pair[1] is False else float(pair[1])
        bias |= dict.fromkeys(_tokens(pair[0], fields, service), added)
    return bias


def _is_bias(value: object) -> bool:
    return value is False or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6)


def _tokens(name: object, fields: Fields, service: Service) -> list[int]:
    if isinstance(name, str) and name.isdecimal() and len(name) < 10:
        name = int(name)
    if type(name) is int and 0 <= name < num_ids(service):  # true is none: as an index it would be a mask
        return [name]
    if not isinstance(name, str):
        fields.refuse("logit_bias", f"of tokens from 0 to {num_ids(service) - 1}, or texts")
    text = Fields({"logit_bias": name}).text("logit_bias")
    return service.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def _settings(options: Options, samplers: list[str], fields: Fields, service: Service) -> dict[str, Any]:
    """Return what was done, by llama.cpp's names."""
    adjust = options.adjust
    return _OFF | {
        "n_ctx": service.context or 0,
        "model": service.name,
        "seed": options.seed,
        "temperature": options.temperature,
        "top_k": adjust.top_k,
        "top_p": options.top_p,
        "min_p": adjust.min_p,
        "repeat_last_n": adjust.repeat_last,
        "repeat_penalty": adjust.repeat,
        "presence_penalty": adjust.presence,
        "frequency_penalty": adjust.frequency,
        "stop": list(options.stop),
        "max_tokens": options.n_predict,
        "n_predict": options.n_predict,
        "n_indent": options.n_indent,
        "ignore_eos": fields.flag("ignore_eos"),
        "logit_bias": [{"token": token, "bias": max(-1e9, added)} for token, added in adjust.bias.items()],
        "stream": options.stream,
        "n_probs": options.n_probs,
        "samplers": samplers,
        "timings_per_token": options.timings_per_token,
    }

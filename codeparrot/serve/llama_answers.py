"""What llama.cpp's server says of a completion, field by field."""

from typing import TYPE_CHECKING, Any

from codeparrot.serve.fields import Refused
from codeparrot.serve.tickets import Event, Ticket, Timings

if TYPE_CHECKING:
    from codeparrot.generation.likelihoods import Likelihood
    from codeparrot.generation.requests import Completion
    from codeparrot.serve.llama_options import Options
    from codeparrot.serve.service import Service

_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_ERRORS |= {501: "not_supported_error", 503: "unavailable_error"}


def llama_body(refused: Refused) -> dict[str, Any]:
    """Return an error as llama.cpp's server writes it."""
    kind = _ERRORS.get(refused.status, "invalid_request_error" if refused.status < 500 else "server_error")
    return {"error": {"code": refused.status, "message": refused.message, "type": kind}}


def final(options: "Options", service: "Service", index: int, completion: "Completion", timings: Timings) -> dict[str, Any]:
    """Return all that is said of a completion that has ended."""
    text, num_read, num_new = completion.text, len(completion.prompt), counted(options, len(completion.ids))
    full = service.context is not None and num_read + len(completion.ids) >= service.context and completion.ended == "length"
    said: dict[str, Any] = {
        "index": index,
        "content": text,
        "tokens": completion.ids if options.return_tokens else [],
        "id_slot": max(0, options.id_slot),
        "stop": True,
        "model": service.name,
        "tokens_predicted": num_new,
        "tokens_evaluated": num_read,
        "generation_settings": options.settings,
        "prompt": service.tokenizer.decode(completion.prompt, clean_up_tokenization_spaces=False),
        "has_new_line": "\n" in text,
        "truncated": full or bool(completion.truncated),
        "stop_type": _stop_type(completion),
        "stopping_word": completion.stopped_by,
        "tokens_cached": num_read + max(0, num_new - 1),  # the last one has not been read
        "timings": timings_of(timings, num_read, completion.cached, num_new),
    }
    if options.n_probs:
        said["completion_probabilities"] = [
            probability(each, service) for each in completion.likelihoods[: len(completion.ids)]
        ]
    return said


def partial(options: "Options", service: "Service", event: Event, ticket: Ticket, count: int) -> dict[str, Any]:
    """Return what is said of a piece of a completion that grows."""
    completion = ticket.completions[event.index]
    said: dict[str, Any] = {
        "index": event.index,
        "content": event.text,
        "tokens": event.ids,
        "stop": False,
        "id_slot": max(0, options.id_slot),
        "tokens_predicted": counted(options, count),
        "tokens_evaluated": len(completion.prompt),
    }
    if options.timings_per_token:
        said["timings"] = timings_of(
            ticket.timings[event.index], len(completion.prompt), completion.cached, counted(options, count)
        )
    if options.n_probs:
        said["completion_probabilities"] = [probability(each, service) for each in event.likelihoods[: len(event.ids)]]
    return said


def counted(options: "Options", num_new: int) -> int:
    """Return how many new tokens are counted: not those that write the healed end of the prompt again."""
    return min(num_new, options.n_predict)


def _stop_type(completion: "Completion") -> str:
    if completion.ended == "end":
        return "eos"
    return "word" if completion.stopped_by else "limit"


def timings_of(timings: Timings, num_read: int, cached: int, num_new: int) -> dict[str, Any]:
    """Return counts, milliseconds and rates: of the prompt's tokens that were not in the cache, and of the new ones."""
    found: dict[str, Any] = {"cache_n": cached}
    for name, count, seconds in (
        ("prompt", num_read - cached, timings.prompt_seconds),
        ("predicted", num_new, timings.predict_seconds),
    ):
        found[f"{name}_n"] = count
        found[f"{name}_ms"] = seconds * 1000
        found[f"{name}_per_token_ms"] = seconds * 1000 / count if count else 0.0
        found[f"{name}_per_second"] = count / seconds if seconds > 0 else 0.0
    return found


def probability(likelihood: "Likelihood", service: "Service") -> dict[str, Any]:
    """Return the log probability of a token, and the likeliest in its place."""
    likely = [_token(token, logprob, service) for token, logprob in likelihood.likely]
    return _token(likelihood.token, likelihood.logprob, service) | {"top_logprobs": likely}


def _token(token: int, logprob: float, service: "Service") -> dict[str, Any]:
    text = service.tokenizer.decode([token], clean_up_tokenization_spaces=False)
    # -inf is no number of JSON: llama.cpp writes the least float32.
    return {"id": token, "token": text, "bytes": list(text.encode()), "logprob": max(logprob, -3.4e38)}


def picked(said: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    """Return the wanted fields; all, if none are named.

    A name with slashes is a field inside a field, and its name in the answer. Those that there are not, are left out: llama.vim
    asks for the field "" where it reads no answer.
    """
    if not wanted:
        return said
    found = {}
    for name in wanted:
        value: Any = said
        for part in name.split("/"):
            value = value.get(part, _NONE) if isinstance(value, dict) else _NONE
        if value is not _NONE:
            found[name] = value
    return found


_NONE = object()

"""From a prompt to the tokens that the model reads.

Guarantees: a prompt is text, whatever it spells; the model's context is never exceeded.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.generation.healing import take_back, text_and_rest, vocabulary_of
from codeparrot.generation.infill import NUM_SENTINELS, arranged, rest_of_word, shares
from codeparrot.generation.requests import Request
from codeparrot.model.context import context_of
from codeparrot.stream.sentinels import require_sentinels

log = logging.getLogger(__name__)

STEPS = 8
"""A steady request is cut in steps of this part of the context."""


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a prompt. Special tokens spelled out in it are text; an empty one becomes the end of a document."""
    return tokenizer(prompt, split_special_tokens=True, verbose=False)["input_ids"] or [tokenizer.eos_token_id]


def room(num_ids: int, num_new: int, context: int | None) -> tuple[int, int]:
    """Return how many tokens at the end of a prompt the model reads, and how many new ones fit after them.

    The prompt is shortened to make room for new tokens, down to half the context; below that, fewer new tokens are generated.

    Args:
        num_ids: tokens of the prompt.
        num_new: requested new tokens.
        context: most tokens that the model can read, or None for no limit.
    """
    if context is None or num_ids + num_new <= context:
        return num_ids, num_new
    new = min(num_new, max(context - num_ids, context // 2))
    return min(num_ids, context - new), new


class TooLong(NamedTuple):
    """A prompt that loses text, because the context has no room for it."""

    num_tokens: int
    """All of it."""
    words: str
    """What is said of it."""


def warn(found: TooLong) -> None:
    log.warning("%s", found.words)


def checked(request: Request, size: int) -> Request:
    """Return a request that can be met.

    Args:
        request: any request.
        size: of the model's vocabulary.

    Raises:
        CodeparrotError: a token is none of the model's, a text is none (half of a surrogate pair), or likelihoods of the
            prompt are wanted where its tokens are not certain.
    """
    given = () if isinstance(request.prompt, str | bytes) else request.prompt
    bias = request.adjust.bias if request.adjust else ()
    for kind, ids in (("the prompt", given), ("the biases", bias)):
        wrong = next((each for each in ids if not 0 <= each < size), None)
        if wrong is not None:
            raise CodeparrotError(f"{kind}: {wrong} is no token of the model; its tokens are 0 to {size - 1}")
    for text in (request.prompt, request.suffix, *request.extra):
        if isinstance(text, str):
            _check_text(text)
    if request.of_prompt and (request.num_likely is None or (request.heal and not given)):
        raise CodeparrotError("likelihoods of the prompt need num_likely, and a prompt that is not healed")
    return request


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CodeparrotError(f"character {error.start} is half of a surrogate pair: send whole characters") from error


def resolved(request: Request, tokenizer: Any, context: int | None, too_long: Callable[[TooLong], None] = warn) -> Request:
    """Return the same request in tokens: healed, and fitted to the context. A request that is so already is returned unchanged.

    If prompt and new tokens do not fit the context together, the prompt is shortened: see `room`, and `infill.shares` for a
    suffix. What healing takes back, from the prompt or the suffix, counts as new tokens then. Other files go first.

    Args:
        request: any request.
        tokenizer: the model's.
        context: most tokens that the model can read, or None for no limit.
        too_long: called where the prompt loses text.

    Raises:
        CodeparrotError: the prompt is not UTF-8, or ends inside a character and cannot be healed; it has a suffix, and the
            tokenizer no sentinels.
    """
    if not isinstance(request.prompt, str | bytes):
        return _continued(request, request.prompt, "", b"", tokenizer, context, too_long)
    text, rest = text_and_rest(request.prompt)
    if request.suffix is not None:
        return _infilled(request, text, rest, request.suffix, tokenizer, context, too_long)
    return _continued(request, encode_prompt(tokenizer, text), text, rest, tokenizer, context, too_long)


def _room(request: Request, total: int, context: int | None) -> tuple[int, int, int]:
    """Return what `room` does, and the step in which text is cut. Text that fits with the new tokens is never cut."""
    if not request.steady or context is None:
        return *room(total, request.max_new_tokens, context), 1
    step = max(1, context // STEPS)
    if request.max_new_tokens and total + request.max_new_tokens <= context:
        return total, request.max_new_tokens, step
    # The room for new tokens is a multiple of the step: a request for none, which warms the cache, is cut like the next one.
    used, planned = room(total, _round_up(max(1, request.max_new_tokens), step), context)
    return used, min(planned, request.max_new_tokens), step


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _continued(
    request: Request,
    ids: Sequence[int],
    text: str,
    rest: bytes,
    tokenizer: Any,
    context: int | None,
    too_long: Callable[[TooLong], None],
) -> Request:
    total = len(ids) + len(rest)
    used, new, step = _room(request, total, context)
    used = total - _round_up(total - used, step)
    if used < total:
        kept = f"the last {used} of its {total} tokens are used"
        too_long(TooLong(total, f"the prompt is too long: {kept} (the context holds {context}, {new} of them new)"))
    kept, begin = _heal(request, ids[total - used :], text, rest, tokenizer)
    prompt, longest = kept or [tokenizer.eos_token_id], new + used - len(kept)
    prompt = [*_documents(request, used, context, tokenizer, too_long), *prompt]
    if context is not None:
        longest = min(longest, context - len(prompt))
    return replace(request, prompt=prompt, begin=begin, extra=(), max_new_tokens=longest if new else 0)


def _infilled(
    request: Request,
    text: str,
    rest: bytes,
    suffix: str,
    tokenizer: Any,
    context: int | None,
    too_long: Callable[[TooLong], None],
) -> Request:
    sentinels = require_sentinels(tokenizer, "completing with a suffix")
    vocabulary = vocabulary_of(tokenizer)
    join = rest_of_word(text, suffix) if request.heal and not rest and vocabulary else ""
    if vocabulary and len(join.encode()) > vocabulary.longest:
        join = ""  # no word: encoded data, say
    before, joined, behind = (_encode(tokenizer, part) for part in (text, join, suffix[len(join) :]))
    fixed = NUM_SENTINELS + len(rest) + len(joined)
    total = fixed + len(before) + len(behind)
    used, new, step = _room(request, total, context)
    left, right = shares(len(before), len(behind), max(0, used - fixed), step)
    if left + right < len(before) + len(behind):
        kept = f"the last {left} of {len(before)} tokens before the cursor and the first {right} of {len(behind)} behind it"
        too_long(TooLong(total, f"the text is too long: {kept} are used (the context holds {context}, {new} of them new)"))
    used = min(used, fixed + left + right)
    ids, begin = _heal(request, before[len(before) - left :], text, rest, tokenizer)
    ids = arranged(request.order, sentinels, ids, behind[:right])
    longest = used + new - len(ids) if new else 0
    ids = [*_documents(request, used, context, tokenizer, too_long), *ids]
    return replace(request, prompt=ids, begin=begin, join=join.encode(), extra=(), max_new_tokens=longest)


def _documents(
    request: Request, used: int, context: int | None, tokenizer: Any, too_long: Callable[[TooLong], None]
) -> list[int]:
    """Return the tokens of the other files for which there is room beside `used` tokens and the new ones, nearest last."""
    _, new, step = _room(request, used, context)
    planned = _round_up(used, step) + _round_up(max(new, step - 1), step)
    found: list[int] = []
    files = [text for text in request.extra if text]
    for number, text in enumerate(reversed(files)):
        document = [*_encode(tokenizer, text), tokenizer.eos_token_id]
        if context is not None and planned + len(found) + len(document) > context:
            left = f"{len(files) - number} of {len(files)} other files are left out"
            too_long(TooLong(used + len(document), f"the text is too long: {left} (the context holds {context})"))
            break
        found[:0] = document
    return found


def _encode(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def _heal(request: Request, ids: Sequence[int], text: str, rest: bytes, tokenizer: Any) -> tuple[list[int], bytes]:
    """Return the tokens of a prompt that stay, and the bytes that the new ones must begin with."""
    if not text and not rest:
        return list(ids), request.begin
    if not request.heal:
        if rest:
            raise CodeparrotError("the prompt ends inside a character: it can only be continued if it is healed")
        return list(ids), b""
    kept, begin = take_back(ids, text, rest, tokenizer)
    return list(ids[:kept]), begin


def context_length(model: Any) -> int | None:
    """Return how many tokens a model can read, or None for no limit."""
    return context_of(model.config)

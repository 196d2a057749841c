"""From a prompt to the tokens that the model reads.

Guarantees: a prompt is text, whatever it spells; the model's context is never exceeded.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.generation.healing import take_back, text_and_rest
from codeparrot.generation.requests import Request
from codeparrot.loading import context_of

log = logging.getLogger(__name__)


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


def resolved(request: Request, tokenizer: Any, context: int | None, too_long: Callable[[TooLong], None] = warn) -> Request:
    """Return the same request in tokens: healed, and fitted to the context. A request that is so already is returned unchanged.

    The prompt and new tokens that do not fit the context together: see `room`. The tokens that healing takes back
    count as new ones then.

    Args:
        request: any request.
        tokenizer: the model's.
        context: most tokens that the model can read, or None for no limit.
        too_long: called where the prompt loses text.

    Raises:
        CodeparrotError: the prompt is not UTF-8, or ends inside a character and cannot be healed.
    """
    text, rest = "", b""
    if isinstance(request.prompt, str | bytes):
        text, rest = text_and_rest(request.prompt)
        ids = encode_prompt(tokenizer, text)
    else:
        ids = list(request.prompt)
    total = len(ids) + len(rest)
    used, new = room(total, request.max_new_tokens, context)
    if used < total:
        kept = f"the last {used} of its {total} tokens are used"
        too_long(TooLong(total, f"the prompt is too long: {kept} (the context holds {context}, {new} of them new)"))
    ids = ids[total - used :]
    if rest and not request.heal:
        raise CodeparrotError("the prompt ends inside a character: it can only be continued if it is healed")
    if not rest and not (text and request.heal):
        return replace(request, prompt=ids, max_new_tokens=new)
    kept, begin = take_back(ids, text, rest, tokenizer)
    prompt = ids[:kept] or [tokenizer.eos_token_id]
    longest = new + len(ids) - kept + len(rest)
    return replace(
        request,
        prompt=prompt,
        begin=begin,
        max_new_tokens=longest if context is None else min(longest, context - len(prompt)),
    )


def context_length(model: Any) -> int | None:
    """Return how many tokens a model can read, or None for no limit."""
    return context_of(model.config)

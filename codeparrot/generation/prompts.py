"""From a prompt to the tokens that the model reads.

Guarantees: a prompt is text, whatever it spells; the model's context is never exceeded.
"""

import logging
from collections.abc import Sequence
from typing import Any

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


def fit(ids: Sequence[int], num_new: int, context: int | None) -> tuple[list[int], int]:
    """Return the tokens at the end of a prompt that the model reads, and how many new ones fit after them: see `room`.

    A prompt that is shortened is told in a warning.
    """
    used, new = room(len(ids), num_new, context)
    if used < len(ids):
        kept = f"the last {used} of its {len(ids)} tokens are used"
        log.warning(f"the prompt is too long: {kept} (the context holds {context}, {new} of them new)")
    return list(ids[len(ids) - used :]), new


def context_length(model: Any) -> int | None:
    """Return how many tokens a model can read, or None for no limit."""
    return context_of(model.config)

"""What a request changes about the model's probabilities before a token is drawn: biases, penalties, cuts.

Guarantee: a row without an `Adjust` keeps its bits and costs nothing; one with it is changed by its own tokens alone, never by
the rows beside it. Cost: a pass over the row's own tokens for penalties, one over the vocabulary for each cut.

Importing this module does not import torch.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Adjust:
    """Changes of one request, in the order in which they are made: bias, penalties, cuts. The defaults change nothing."""

    bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of tokens, by id. -100 all but forbids one, -inf forbids it."""
    presence: float = 0.0
    """Taken off the logit of each token that is already among the new ones (OpenAI's presence_penalty)."""
    frequency: float = 0.0
    """Taken off as many times as the token is among the new ones (OpenAI's frequency_penalty)."""
    repeat: float = 1.0
    """Above 0. Positive logits of recent tokens are divided by it, negative ones multiplied (llama.cpp's repeat_penalty)."""
    repeat_last: int = 64
    """How many tokens are recent, the prompt's included; 0: none; below 0: all."""
    top_k: int = 0
    """Keep this many likeliest tokens, and those as likely as the last of them; 0: all."""
    min_p: float = 0.0
    """Keep tokens at least this share as likely as the likeliest; 0: all."""


def adjust(logits: "torch.Tensor", wanted: Adjust, prompt: Sequence[int], ids: Sequence[int]) -> None:
    """Change the logits [vocabulary] of one row in place.

    Args:
        logits: float32.
        wanted: the changes. Ids of tokens are within the vocabulary.
        prompt: the tokens that the model has read.
        ids: the new tokens.
    """
    if wanted.bias:
        logits[list(wanted.bias)] += logits.new_tensor(list(wanted.bias.values()))
    if wanted.repeat != 1.0 and wanted.repeat_last:
        _repeat(logits, wanted, prompt, ids)
    if ids and (wanted.presence or wanted.frequency):
        counts = Counter(ids)
        penalties = [wanted.presence + wanted.frequency * count for count in counts.values()]
        logits[list(counts)] -= logits.new_tensor(penalties)
    if 0 < wanted.top_k < len(logits):
        logits[logits < logits.topk(wanted.top_k).values[-1]] = -math.inf
    if wanted.min_p > 0:
        # The likeliest stays even where the last bit of the logarithm of 1 would say otherwise.
        logits[logits < logits.amax() + min(0.0, math.log(wanted.min_p))] = -math.inf


def _repeat(logits: "torch.Tensor", wanted: Adjust, prompt: Sequence[int], ids: Sequence[int]) -> None:
    last = wanted.repeat_last if wanted.repeat_last > 0 else len(prompt) + len(ids)
    # Not the two together: the prompt may be long.
    older = prompt[-(last - len(ids)) :] if last > len(ids) else ()
    recent = sorted({*older, *ids[-last:]})
    scores = logits[recent]
    logits[recent] = (scores / wanted.repeat).where(scores > 0, scores * wanted.repeat)

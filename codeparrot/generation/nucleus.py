"""The next token of each row, drawn from its nucleus.

Guarantee: a row's token is a function of its logits, its temperature and its own random numbers; neither the rows beside it
nor the number of threads changes a bit of it.

Nucleus sampling (arXiv:1904.09751) without sorting: draw a token from the whole distribution, and keep it if the more probable
tokens together hold less than top_p; otherwise draw again. Every token of the nucleus gets its share, as with cutting and
scaling. It takes at most 1 / top_p draws on average, each one pass over the probabilities. (Tokens exactly as probable as the
last one of the nucleus belong to it.)
"""

import random
from collections.abc import Sequence

import torch
from torch.nn.functional import pad, softmax

_BLOCK = 64
"""Probabilities are summed in blocks of this size: each sum has the same order whatever the number of rows and threads."""


def stream(*names: object) -> random.Random:
    """Return a name's own random numbers: different for each name, the same on every machine and in every order."""
    return random.Random("/".join(map(str, names)))  # noqa: S311 - seeded by a hash of the text, for sampling


def draw(
    logits: torch.Tensor, temperatures: Sequence[float], top_ps: Sequence[float], streams: Sequence[random.Random]
) -> list[int]:
    """Return a token for each row of `logits` [rows, vocabulary].

    Args:
        logits: float32.
        temperatures: each row's; 0 takes the likeliest token and draws no random number.
        top_ps: probability that each row's nucleus holds, above 0 and at most 1.
        streams: each row's random numbers.
    """
    tokens = logits.argmax(-1).tolist()
    left = [row for row, temperature in enumerate(temperatures) if temperature > 0]
    if not left:
        return tokens
    rows = logits if len(left) == len(tokens) else logits[left]
    scale = torch.tensor([temperatures[row] for row in left], dtype=logits.dtype, device=logits.device)
    blocks = _blocks(softmax(rows / scale[:, None], -1))
    ends = _sums(blocks).cumsum(-1)
    while left:
        uniform = torch.tensor([streams[row].random() for row in left], dtype=torch.float64, device=logits.device)
        drawn, probability = _at(blocks, ends, uniform)
        wanted = [top_ps[row] for row in left]
        if min(wanted) < 1:
            more_probable = _sums(torch.where(blocks > probability[:, None, None], blocks, 0.0)).cumsum(-1)[:, -1].tolist()
            taken = [share < top_p or top_p == 1 for share, top_p in zip(more_probable, wanted, strict=True)]
        else:
            taken = [True] * len(left)
        for row, token, is_taken in zip(left, drawn.tolist(), taken, strict=True):
            if is_taken:
                tokens[row] = token
        again = [index for index, is_taken in enumerate(taken) if not is_taken]
        left = [left[index] for index in again]
        if left:
            blocks, ends = blocks[again], ends[again]
    return tokens


def _at(blocks: torch.Tensor, ends: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the token at a share of each row's probability, and its own probability."""
    target = uniform[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True).clamp(max=ends.shape[1] - 1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(len(blocks), device=blocks.device), block[:, 0]]
    sums = before + inside.double().cumsum(-1)
    place = torch.searchsorted(sums, target, right=True).clamp(max=_BLOCK - 1)
    # The last bit of a sum may point past the block's last token, or at one with zero probability.
    last = _BLOCK - 1 - (inside > 0).flip(-1).int().argmax(-1, keepdim=True)
    place = torch.minimum(place, last)
    return (block * _BLOCK + place)[:, 0], inside.gather(1, place)[:, 0]


def _blocks(probabilities: torch.Tensor) -> torch.Tensor:
    rows, size = probabilities.shape
    return pad(probabilities, (0, -size % _BLOCK)).view(rows, -1, _BLOCK)


def _sums(blocks: torch.Tensor) -> torch.Tensor:
    """Return the sum of each block, in float64."""
    return blocks.sum(-1).double()

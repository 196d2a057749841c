"""How likely the model held each token, and which tokens it held likeliest.

Guarantee: the model's own probabilities, before temperature, biases and healing; a row's are a function of its logits alone.
Cost: one log-softmax and one top-k a token, for the rows that ask. Importing this module does not import torch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Likelihood(NamedTuple):
    """One token in its place."""

    token: int
    logprob: float
    """Natural logarithm of the probability that the model gave it."""
    likely: tuple[tuple[int, float], ...]
    """Likeliest tokens there and their log probabilities, likeliest first."""


def likelihoods(logits: "torch.Tensor", tokens: Sequence[int], num_likely: Sequence[int]) -> list[Likelihood]:
    """Return the likelihood of a token in each row.

    Args:
        logits: [rows, vocabulary], float32, as the model gave them.
        tokens: each row's token.
        num_likely: how many of the likeliest tokens each row wants; more than there are gives them all.
    """
    import torch

    # Not log_softmax: the whole matrix is not needed.
    totals = torch.logsumexp(logits, -1)
    own = (logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0] - totals).tolist()
    most = min(max(num_likely, default=0), logits.shape[1])
    if not most:
        return [Likelihood(token, value, ()) for token, value in zip(tokens, own, strict=True)]
    found = logits.topk(most, -1)
    ids, values = found.indices.tolist(), (found.values - totals[:, None]).tolist()
    likely = (tuple(zip(*pair, strict=True))[:count] for *pair, count in zip(ids, values, num_likely, strict=True))
    return [Likelihood(*row) for row in zip(tokens, own, likely, strict=True)]

"""What bits a byte mean: what a general compressor and a model that only counts need for the same text.

`xz_bits_per_byte` compresses the text with xz's strongest preset. `NGrams` is an interpolated Kneser-Ney model (Ney, Essen and
Kneser, 1994) of the training tokens: it predicts a token from how often it followed the last few. Both are measured in the bits
and bytes of eval/tasks/perplexity.py. Cost: a second for a megabyte of text, and a second for each million training tokens.
"""

import lzma
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ORDER = 5
"""Tokens of an n-gram: the one that is predicted and up to four before it."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def xz_bits_per_byte(texts: Sequence[str]) -> float:
    """Return the bits that `xz -9e` needs for each byte of the texts, joined."""
    text = "\n".join(texts).encode()
    packed = lzma.compress(text, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    return 8 * len(packed) / len(text)


class _Counts(NamedTuple):
    """The n-grams of one length; keys are sorted."""

    grams: NDArray[np.uint64]
    counts: NDArray[np.int64]
    contexts: NDArray[np.uint64]
    totals: NDArray[np.int64]
    """Sum of the counts behind each context."""
    kinds: NDArray[np.int64]
    """How many different tokens were seen behind each context."""
    discount: float

    def mix(self, grams: NDArray[np.uint64], contexts: NDArray[np.uint64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of n-grams, given those by shorter ones."""
        count = _look_up(self.grams, self.counts, grams)
        total, kinds = (_look_up(self.contexts, column, contexts) for column in (self.totals, self.kinds))
        seen = np.maximum(total, 1)
        mixed = (np.maximum(count - self.discount, 0) + self.discount * kinds * lower) / seen
        return np.where(total > 0, mixed, lower)


class NGrams:
    """An n-gram model of windows of tokens; n-grams do not run across windows.

    Args:
        windows: [windows, length] token ids.
        vocab_size: a token that was never seen has a share of 1 / vocab_size of what the discounts leave.
        order: tokens of the longest n-grams.
    """

    def __init__(self, windows: NDArray[Any], vocab_size: int, order: int = ORDER) -> None:
        self.vocab_size, self.order = vocab_size, order
        keys = [_keys(windows, size) for size in range(order + 1)]
        self._levels = [_counted(keys, size, longest=size == order) for size in range(1, order + 1)]

    def probabilities(self, window: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of each token of a window, [length], given up to order - 1 tokens before it."""
        found = np.full(len(window), 1 / self.vocab_size)
        for size, level in enumerate(self._levels, 1):
            if size <= len(window):
                grams, contexts = _keys(window[None], size)[0], _keys(window[None], size - 1)[0]
                found[size - 1 :] = level.mix(grams, contexts[: len(grams)], found[size - 1 :])
        return found

    def bits_per_byte(self, windows: Sequence[NDArray[Any]], token_bytes: NDArray[np.int64]) -> float:
        """Return the bits for each byte of the windows' tokens, without each window's first, as the loss of a model has it."""
        bits = sum(float(-np.log2(self.probabilities(window)[1:]).sum()) for window in windows)
        return bits / sum(int(token_bytes[window[1:]].sum()) for window in windows)


def _counted(keys: Sequence[NDArray[np.uint64]], size: int, longest: bool) -> _Counts:
    """Count the longest n-grams as they occur, shorter ones by the different tokens that they were seen behind."""
    row, column = np.divmod(np.arange(keys[size].size), keys[size].shape[1])
    if not longest:
        longer = keys[size + 1]
        row, column = np.divmod(np.unique(longer, return_index=True)[1], longer.shape[1])
        column += 1  # without the first token
    grams, first, counts = np.unique(keys[size][row, column], return_index=True, return_counts=True)
    of_grams = keys[size - 1][row[first], column[first]]
    contexts, inverse, kinds = np.unique(of_grams, return_inverse=True, return_counts=True)
    totals = np.bincount(inverse, weights=counts).astype(np.int64)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return _Counts(grams, counts, contexts, totals, kinds, once / (once + 2 * twice) if once else 0.5)


def _keys(windows: NDArray[Any], size: int) -> NDArray[np.uint64]:
    """Return a hash of each run of `size` tokens, [windows, length - size + 1]; of none, [windows, length + 1] zeros."""
    last = windows.shape[1] - size + 1
    keys = np.zeros((len(windows), last), np.uint64)
    for offset in range(size):
        keys = (keys + windows[:, offset : offset + last].astype(np.uint64) + np.uint64(1)) * _MULTIPLIER
        keys ^= keys >> np.uint64(29)
    return keys


def _look_up(keys: NDArray[np.uint64], values: NDArray[np.int64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the values of keys, 0 where there is none."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)

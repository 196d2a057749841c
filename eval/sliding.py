"""Windows that overlap: each token is predicted once, with many tokens before it.

In windows side by side, the first tokens of each have almost no context, and the loss is higher than the model deserves. Here
each window begins `stride` tokens after the one before it, and only tokens not yet predicted count.
Cost: seq_length / stride times the forward passes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100


@dataclass(frozen=True)
class SlidingWindows:
    """Stands in for a ValidationSet.

    Args:
        tokens: all tokens in order.
        seq_length: tokens a window.
        stride: tokens from the beginning of a window to that of the next, at most seq_length - 1, so that the first token of a
            window was predicted before.
    """

    tokens: NDArray[np.uint32]
    seq_length: int
    stride: int
    languages: NDArray[np.uint16] | None = None
    """The language of each token, if it is known."""

    @property
    def count(self) -> int:
        return 1 + max(0, -(-(len(self.tokens) - self.seq_length) // self.stride))

    def num_batches(self, size: int) -> int:
        return -(-self.count // size)

    def batch(self, index: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return input ids and labels [size, seq_length]; rows past the end predict nothing."""
        input_ids = np.zeros((size, self.seq_length), np.int64)
        labels = np.full((size, self.seq_length), IGNORED, np.int64)
        for row, number in enumerate(range(index * size, min((index + 1) * size, self.count))):
            begin = number * self.stride
            window = self.tokens[begin : begin + self.seq_length]
            seen = self.seq_length - self.stride if number else 0
            input_ids[row, : len(window)] = window
            labels[row, seen : len(window)] = window[seen:]
        return input_ids, labels

    def language_batch(self, index: int, size: int) -> NDArray[np.int64]:
        """Return the languages of a batch's tokens, as `ValidationSet.language_batch` does."""
        found = np.zeros((size, self.seq_length), np.int64)
        for row, number in enumerate(range(index * size, min((index + 1) * size, self.count))):
            if self.languages is not None:
                own = self.languages[number * self.stride : number * self.stride + self.seq_length]
                found[row, : len(own)] = own
        return found

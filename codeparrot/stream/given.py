"""Tokens that a model reads and does not predict: a mark in the token itself, so that packing keeps it.

The mark is a bit that no vocabulary reaches. Windows of other sources have none.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MARK = 1 << 30


def given(tokens: NDArray[Any]) -> NDArray[Any]:
    """Return tokens with the mark."""
    return tokens | np.asarray(MARK, tokens.dtype)


def are_given(tokens: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which tokens have the mark. Padding is negative, and has none."""
    return tokens >= MARK


def unmarked(tokens: NDArray[Any]) -> NDArray[Any]:
    """Return tokens without the mark; padding stays as it is."""
    if np.iinfo(tokens.dtype).max < MARK:
        return tokens  # of a window file, which has none
    return np.where(are_given(tokens), tokens ^ np.asarray(MARK, tokens.dtype), tokens)

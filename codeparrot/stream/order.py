"""Permutations and numbers that are a pure function of a key.

A run must see the same order after an upgrade, but `numpy`'s `Generator.permutation` may change between releases. The raw
output of a bit generator is guaranteed not to change, so a permutation here is the order that sorts such raw numbers.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

_FINE = 1 << 53
"""A rate is held to one part in so many."""


def permutation(size: int, *key: int | str) -> NDArray[np.int64]:
    """Return a permutation of range(`size`) that depends on nothing but `size` and `key`."""
    digest = xxhash.xxh3_128_intdigest("/".join(map(str, key)).encode())
    raw = np.random.Philox(key=digest).random_raw(size)
    return np.argsort(raw, kind="stable").astype(np.int64, copy=False)


def draw(size: int, *key: int | str) -> int:
    """Return a number below `size` that depends on nothing but `size` and `key`."""
    return xxhash.xxh3_64_intdigest("/".join(map(str, key)).encode()) * size >> 64


def happens(rate: float, *key: int | str) -> bool:
    """Return whether something of this rate, from 0 to 1, happens: it depends on nothing but `rate` and `key`."""
    return draw(_FINE, *key) < rate * _FINE

"""Hashing many pieces of a text at once, eight bytes at a time, on whole arrays."""

import numpy as np
from numpy.typing import NDArray

STEP = 8
MASKS = np.array([(1 << 8 * length) - 1 for length in range(STEP + 1)], np.uint64)
"""What is left of the eight bytes of `eight_bytes` where a piece has fewer."""
ORDER = np.uint64(0xD1B54A32D192ED03)
"""Odd: what a hash is multiplied by for its place in a row."""


def eight_bytes(text: bytes) -> NDArray[np.uint64]:
    """Return the eight bytes from every byte on, but for the last seven."""
    # Explicitly little-endian: the same on every machine.
    return np.ndarray(len(text) - STEP + 1, "<u8", text, strides=(1,))


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, which spreads every bit over all (Steele, Lea, Flood, OOPSLA 2014). Changes its argument."""
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes

"""Hashing many pieces of a text at once, eight bytes at a time, on whole arrays."""

import numpy as np
from numpy.typing import NDArray

STEP = 8
MASKS = np.array([(1 << 8 * length) - 1 for length in range(STEP + 1)], np.uint64)
"""Masks that keep what a shorter piece has of the eight bytes of `eight_bytes`."""
ORDER = np.uint64(0xD1B54A32D192ED03)
"""Odd multiplier that makes a joined hash depend on the order of its parts."""


def eight_bytes(text: bytes) -> NDArray[np.uint64]:
    """Return the eight bytes that begin at every byte but the last seven."""
    # Explicitly little-endian: the same on every machine.
    return np.ndarray(len(text) - STEP + 1, "<u8", text, strides=(1,))


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply splitmix64's finaliser: it spreads every bit over all (Steele, Lea, Flood, OOPSLA 2014). Changes its argument."""
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes

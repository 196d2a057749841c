"""MinHash signatures of texts, and their bands: two texts that share a band are candidates for near duplicates.

The share of equal values in two signatures estimates the Jaccard similarity of the texts' shingles, with a standard deviation
of sqrt(J (1 - J) / permutations): 0.02 at 256. The same text has the same signature in every process, on every machine and for
every release of `rensa` whose permutations are those of SIGNATURE_VERSION; a test checks this.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codeparrot.corpus.minhash.bands import Bands

SEED = 42
NO_SHINGLES = 0xFFFFFFFF
"""Every value of the signature of a text without tokens."""


def signatures(shingles: Sequence[NDArray[np.uint64]], permutations: int) -> NDArray[np.uint32]:
    """Return one row of `permutations` values for the shingles of each text."""
    from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] (it comes from a compiled module)

    ends = np.cumsum([0, *map(len, shingles)], dtype=np.uint64)
    flat = np.concatenate(shingles) if shingles else np.empty(0, np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, ends, permutations, SEED)
    return np.array(matrix.to_rows(), np.uint32).reshape(len(shingles), permutations)


def band_keys(rows: NDArray[np.uint32], bands: Bands) -> NDArray[np.uint64]:
    """Return, for each band (first axis), a hash of its values in every signature (second axis); 0 if a text has no token."""
    cut = rows[:, : bands.number * bands.rows].reshape(len(rows), bands.number, bands.rows).astype(np.uint64)
    keys = np.zeros(cut.shape[:2], np.uint64)
    for place in range(bands.rows):
        keys = (keys ^ cut[:, :, place]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    keys[keys == 0] = 1
    keys[np.all(rows == NO_SHINGLES, axis=1)] = 0
    return np.ascontiguousarray(keys.T)

"""The shingles of a text: hashes of its runs of five tokens, computed on whole arrays.

A token is a run of ASCII letters, digits and underscores, as CodeParrot and BigCode have it, and of characters beyond ASCII,
so that a comment in any script counts. A text of fewer tokens than a shingle has is one shingle of all of them; one of no
tokens has none.

The regular expression and the joins that this is usually done with are the slowest part of near-duplicate removal. Here
tokens are found by comparing neighbouring bytes, and hashed eight bytes at a time, all tokens at once. Cost: about 5 ns a byte
(benchmarks/corpus.py).
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

TOKEN = rb"[0-9A-Za-z_\x80-\xff]+"
"""The same tokens as a regular expression over UTF-8."""

_CLASSES = bytes(byte >= 128 or chr(byte).isalnum() or byte == ord("_") for byte in range(256))
_WORD = 8
_LONG = 32
"""Bytes from which on tokens, which are rare, are hashed one by one: the time for all at once grows with the longest."""
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(_WORD + 1)], np.uint64)
_ORDER = np.uint64(0xD1B54A32D192ED03)
"""Odd: what a token is multiplied by for its place in a shingle."""


def token_hashes(encoded: bytes) -> NDArray[np.uint64]:
    """Return the hash of every token of a text in UTF-8, in order."""
    padded = b"".join((b"\0", encoded, bytes(_WORD)))
    classes = np.frombuffer(padded.translate(_CLASSES), np.uint8)
    edges = np.flatnonzero(classes[1:] != classes[:-1]) + 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    # The eight bytes from every byte on. Explicitly little-endian: the same on every machine.
    words = np.ndarray(len(padded) - _WORD + 1, "<u8", padded, strides=(1,))
    hashes = _mixed(words[starts] & _MASKS[np.minimum(lengths, _WORD)])
    left = np.flatnonzero(lengths > _WORD)
    for done in range(_WORD, _LONG, _WORD):
        more = words[starts[left] + done] & _MASKS[np.minimum(lengths[left] - done, _WORD)]
        hashes[left] = _mixed(hashes[left] * _ORDER + more + np.uint64(1))
        left = left[lengths[left] > done + _WORD]
    for token in left.tolist():
        start = int(starts[token])
        hashes[token] = xxhash.xxh3_64_intdigest(padded[start : start + int(lengths[token])])
    return hashes


def shingles(encoded: bytes, ngram: int) -> NDArray[np.uint64]:
    """Return the hash of every run of `ngram` tokens, repetitions included: max(1, tokens - ngram + 1) of them, or none."""
    tokens = token_hashes(encoded)
    length = min(ngram, len(tokens))
    if length == 0:
        return tokens
    count = len(tokens) - length + 1
    joined = tokens[:count].copy()
    for place in range(1, length):
        joined *= _ORDER
        joined += tokens[place : place + count]
    return _mixed(joined)


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, which spreads every bit over all (Steele, Lea, Flood, OOPSLA 2014). Changes its argument."""
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes

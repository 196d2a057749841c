"""The shingles of a text: hashes of its runs of five tokens, computed on whole arrays.

A token is a run of ASCII letters, digits and underscores, as CodeParrot and BigCode define it, and of characters beyond ASCII,
so that a comment in any script counts. A text with fewer tokens than a shingle is one shingle of all of them; a text without
tokens has none.

The usual regular expression and joins are the slowest part of near-duplicate removal. Here tokens are found by comparing
neighbouring bytes and hashed eight bytes at a time, all tokens at once. Cost: about 5 ns a byte (benchmarks/corpus.py).
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.corpus.mixing import MASKS, ORDER, STEP, eight_bytes, mixed

TOKEN = rb"[0-9A-Za-z_\x80-\xff]+"
"""The same tokens as a regular expression over UTF-8."""

_CLASSES = bytes(byte >= 128 or chr(byte).isalnum() or byte == ord("_") for byte in range(256))
_LONG = 32
"""Tokens this long in bytes, which are rare, are hashed one by one: the time for all at once grows with the longest."""


def token_hashes(encoded: bytes) -> NDArray[np.uint64]:
    """Return the hash of every token of a text in UTF-8, in order."""
    padded = b"".join((b"\0", encoded, bytes(STEP)))
    classes = np.frombuffer(padded.translate(_CLASSES), np.uint8)
    edges = np.flatnonzero(classes[1:] != classes[:-1]) + 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    pieces = eight_bytes(padded)
    hashes = mixed(pieces[starts] & MASKS[np.minimum(lengths, STEP)])
    left = np.flatnonzero(lengths > STEP)
    for done in range(STEP, _LONG, STEP):
        more = pieces[starts[left] + done] & MASKS[np.minimum(lengths[left] - done, STEP)]
        hashes[left] = mixed(hashes[left] * ORDER + more + np.uint64(1))
        left = left[lengths[left] > done + STEP]
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
        joined *= ORDER
        joined += tokens[place : place + count]
    return mixed(joined)

"""Hashes that are the same in every process, on every machine and in every year; Python's own `hash` is salted.

The order, the sample and the split of a corpus are drawn from them, so they depend on the seed and the names alone.
"""

import re

import xxhash

POSITIONS = 1 << 64

_ASCII_SPACE = bytes(byte for byte in range(128) if chr(byte).isspace())
_OTHER_SPACE = re.compile(r"[^\x00-\x7f\S]")


def position(seed: int, *names: str) -> int:
    """Return the place in the pseudo-random order of `seed` of something with these names: 0 to 2**64 - 1."""
    return xxhash.xxh3_64_intdigest("\0".join((str(seed), *names)).encode("utf-8", "surrogatepass"))


def fingerprint(text: str) -> bytes:
    """Return 16 bytes that are equal for two texts that differ only in white space."""
    # White space beyond ASCII is rare, and joining the words takes five times as long as deleting bytes.
    ascii_only = text.isascii() or not _OTHER_SPACE.search(text)
    dense = text.encode().translate(None, _ASCII_SPACE) if ascii_only else "".join(text.split()).encode()
    return xxhash.xxh3_128_digest(dense)

"""The tokens of a program as a copier would leave them: without comments, triple-quoted strings and white space.

A token is a run of letters, digits and underscores, or one other character; parentheses are none, because `sum(x for x in y)`
and `return (a, b)` are the same with more or fewer of them. All tokens are found and hashed at once, on whole
arrays of bytes: broken programs have tokens too, and the time grows with the length alone. Cost: about 15 ns a byte.
"""

import keyword
import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Possessive quantifiers: what is taken is never given back. A string that does not end runs to the end of the text.
_LEFT_OUT = re.compile(rb'#[^\n]*+|"""(?:[^"]++|"(?!""))*+(?:"""|\Z)|\'\'\'(?:[^\']++|\'(?!\'\'))*+(?:\'\'\'|\Z)')
_WORD = np.array([byte >= 128 or chr(byte).isalnum() or byte == ord("_") for byte in range(256)])
_NO_TOKEN = np.array([byte < 128 and (chr(byte).isspace() or chr(byte) in "()\\") for byte in range(256)])
_QUOTES = bytes.maketrans(b"'", b'"')
_DOT = ord(".")
_MULTIPLIER = 0x9E3779B97F4A7C15

FIXED_NAMES = (
    *(word for word in keyword.kwlist if word.isascii()),
    *"abs all any bin bool bytes chr dict divmod enumerate filter float frozenset hash hex input int isinstance iter".split(),
    *"len list map max min next object oct open ord pow print range repr reversed round self set slice sorted str sum".split(),
    *"super tuple type zip Exception IndexError KeyError TypeError ValueError".split(),
)
"""Names that mean something in every program; all others, but for attributes, are what somebody called a thing."""


class Tokens(NamedTuple):
    """The tokens of a program, in order."""

    program: bytes
    """The program without what is left out."""
    starts: NDArray[np.int64]
    """Where each begins in `program`."""
    hashes: NDArray[np.uint64]
    variables: NDArray[np.bool_]
    """Whether it is a name that could be another one without changing the program: no keyword, no attribute, no number."""

    def excerpt(self, first: int, count: int) -> str:
        """Return the text of some tokens in a row, in one line."""
        end = self.starts[first + count] if first + count < len(self.starts) else len(self.program)
        return " ".join(self.program[self.starts[first] : end].decode("utf-8", "replace").split())


def tokens(content: str) -> Tokens:
    """Return the tokens of a program; both kinds of quotes are one."""
    program = _LEFT_OUT.sub(b" ", content.encode()).translate(_QUOTES)
    codes = np.frombuffer(program, np.uint8)
    word = _WORD[codes]
    begins = word.copy()
    begins[1:] &= ~word[:-1]
    starts = np.flatnonzero(begins | ~(word | _NO_TOKEN[codes]))
    powers, inverses = _powers(max(1024, 1 << len(codes).bit_length()))
    # A polynomial of the bytes modulo 2**64, from the beginning of the program up to each byte. What a token adds to it,
    # divided by the power that the token begins with, is a hash of the token: the powers of an odd number have inverses.
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.multiply(codes, powers[: len(codes)], out=sums[1:], dtype=np.uint64)
    np.cumsum(sums[1:], out=sums[1:])
    ends = starts + 1
    is_word = word[starts]
    ends[is_word] = np.flatnonzero(word & ~np.append(word[1:], False)) + 1
    hashes = (sums[ends] - sums[starts]) * inverses[starts]
    first = codes[starts]
    attribute = np.zeros(len(starts), bool)
    attribute[1:] = (first[:-1] == _DOT) & (starts[1:] == starts[:-1] + 1)
    digit = (first >= ord("0")) & (first <= ord("9"))
    return Tokens(program, starts, hashes, is_word & ~digit & ~attribute & ~_fixed().holds(hashes))


class HashSet:
    """A set of 64-bit hashes in which many are looked up at once: in a table of bits first, which nearly no other passes."""

    def __init__(self, hashes: NDArray[np.uint64], bits: int) -> None:
        self.hashes = np.unique(hashes)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self._slots(self.hashes)] = True

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of the hashes are in the set, and which of its sorted elements they are."""
        places = np.flatnonzero(self._table[self._slots(hashes)])
        wanted = hashes[places]
        found = np.searchsorted(self.hashes, wanted)
        known = self.hashes[np.minimum(found, len(self.hashes) - 1)] == wanted if len(self.hashes) else np.zeros(0, bool)
        return places[known], found[known]

    def holds(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        held = np.zeros(len(hashes), bool)
        held[self.find(hashes)[0]] = True
        return held

    def _slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        return (scattered(hashes) >> self._shift).astype(np.intp)


def scattered(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hashes with every bit spread over the high ones, of which tables are made."""
    return (hashes ^ (hashes >> np.uint64(32))) * np.uint64(_MULTIPLIER)


@lru_cache(maxsize=2)
def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the first powers of the multiplier modulo 2**64, and of its inverse."""
    return _series(_MULTIPLIER, count), _series(pow(_MULTIPLIER, -1, 1 << 64), count)


def _series(factor: int, count: int) -> NDArray[np.uint64]:
    series = np.full(count, factor, np.uint64)
    series[0] = 1
    return np.cumprod(series)


@lru_cache(maxsize=1)
def _fixed() -> HashSet:
    powers, _ = _powers(1024)
    names = [np.frombuffer(name.encode(), np.uint8) for name in FIXED_NAMES]
    return HashSet(np.array([np.sum(name * powers[: len(name)], dtype=np.uint64) for name in names], np.uint64), 16)

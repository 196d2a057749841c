"""The tokens of a program that survive copying: without comments, triple-quoted strings and white space.

A token is a run of letters, digits and underscores, or one other character. Parentheses are not tokens, because
`sum(x for x in y)` and `return (a, b)` mean the same with more or fewer of them. All tokens are found and hashed at once, on
whole arrays of bytes: broken programs have tokens too, and the time grows with the length alone. Cost: about 15 ns a byte.
"""

import keyword
import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.corpus.mixing import MASKS, ORDER, STEP, eight_bytes, mixed

# First what is kept (code, and one-line strings, in which other quotes and comment signs mean nothing), then what is left out.
# Possessive quantifiers never backtrack. A string that is not closed runs to the end of its line, or of the text.
_KEPT = re.compile(
    rb"""
    ( (?: [^\#"']++ | "(?!"") (?: [^"\\\n]++ | \\(?:.|\Z) )*+ "? | '(?!'') (?: [^'\\\n]++ | \\(?:.|\Z) )*+ '? )*+ )
    (?:
        \#[^\n]*+
        | \"\"\" (?: [^"\\]++ | \\(?:.|\Z) | "(?!"") )*+ (?: \"\"\" | \Z )
        | ''' (?: [^'\\]++ | \\(?:.|\Z) | '(?!'') )*+ (?: ''' | \Z )
        | \Z
    )
    """,
    re.DOTALL | re.VERBOSE,
)
_SPACE, _WORD, _SIGN = range(3)
_CLASSES = bytes(
    _WORD
    if byte >= 128 or chr(byte).isalnum() or byte == ord("_")
    else _SPACE
    if chr(byte).isspace() or chr(byte) in "()\\"
    else _SIGN
    for byte in range(256)
)
_QUOTES = bytes.maketrans(b"'", b'"')
_DOT = ord(".")
_LONGEST = 64
"""Bytes of a token that its hash covers, besides its length: more would not tell tokens apart."""

FIXED_NAMES = (
    *(word for word in keyword.kwlist if word.isascii()),
    *"abs all any bin bool bytes chr dict divmod enumerate filter float frozenset hash hex input int isinstance iter".split(),
    *"len list map max min next object oct open ord pow print range repr reversed round self set slice sorted str sum".split(),
    *"super tuple type zip Exception IndexError KeyError TypeError ValueError".split(),
)
"""Names that mean the same in every program; all others, attributes aside, were chosen by the author."""


class Tokens(NamedTuple):
    """The tokens of a program, in order."""

    program: bytes
    """The program without the parts that are left out."""
    starts: NDArray[np.int64]
    """Where each token begins in `program`."""
    hashes: NDArray[np.uint64]
    variables: NDArray[np.bool_]
    """Whether each token is a name that can be replaced without changing the program: no keyword, attribute or number."""

    def excerpt(self, first: int, count: int) -> str:
        """Return the text of `count` tokens from `first` on, on one line."""
        end = self.starts[first + count] if first + count < len(self.starts) else len(self.program)
        return " ".join(self.program[self.starts[first] : end].decode("utf-8", "replace").split())


def tokens(content: str) -> Tokens:
    """Return the tokens of a program; both kinds of quotes count as the same token."""
    program = b"".join((b" ", b" ".join(_KEPT.findall(content.encode())).translate(_QUOTES), b" " * (STEP + 1)))
    classes = np.frombuffer(program.translate(_CLASSES), np.uint8)
    is_word = classes == _WORD
    begins, ends = is_word[1:] & ~is_word[:-1], is_word[:-1] & ~is_word[1:]
    starts = np.flatnonzero(begins | (classes[1:] == _SIGN)) + 1
    words = is_word[starts]
    lengths = np.ones(len(starts), np.int64)
    lengths[words] = np.flatnonzero(ends) + 1 - starts[words]
    hashes = _hashes(program, starts, lengths)
    first = np.frombuffer(program, np.uint8)[starts]
    attributes = np.zeros(len(starts), bool)
    attributes[1:] = (first[:-1] == _DOT) & (starts[1:] == starts[:-1] + 1)
    digits = (first >= ord("0")) & (first <= ord("9"))
    return Tokens(program, starts, hashes, words & ~digits & ~attributes & ~_fixed().holds(hashes))


def _hashes(program: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash of every token, eight bytes at a time; the program must have eight more bytes after the last one."""
    pieces = eight_bytes(program)
    hashes = mixed((pieces[starts] & MASKS[np.minimum(lengths, STEP)]) + lengths.astype(np.uint64))
    left = np.flatnonzero(lengths > STEP)
    for done in range(STEP, _LONGEST, STEP):
        more = pieces[starts[left] + done] & MASKS[np.minimum(lengths[left] - done, STEP)]
        hashes[left] = mixed(hashes[left] * ORDER + more)
        left = left[lengths[left] > done + STEP]
    return hashes


class HashSet:
    """A set of 64-bit hashes that looks up many at once: first in a table of bits, which stops nearly all others."""

    def __init__(self, hashes: NDArray[np.uint64], bits: int) -> None:
        self.hashes = np.unique(hashes)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self._slots(self.hashes)] = True

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of the hashes are in the set, and their places among its sorted elements."""
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
        return (hashes >> self._shift).astype(np.intp)


@lru_cache(maxsize=1)
def _fixed() -> HashSet:
    program = " ".join(("", *FIXED_NAMES, " " * STEP)).encode()
    lengths = np.array([len(name) for name in FIXED_NAMES], np.int64)
    starts = np.cumsum(lengths + 1) - lengths
    return HashSet(_hashes(program, starts, lengths), 16)

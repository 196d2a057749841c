"""An index of the token n-grams of a few thousand short programs. It tells which programs a document holds a large part of."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codeparrot.corpus.contamination.program_tokens import HashSet, Tokens, tokens

_PLACEHOLDER = np.uint64(0xD1B54A32D192ED03)
_ORDER = np.uint64(0xBF58476D1CE4E5B9)
"""Odd multiplier that makes an n-gram's hash depend on the order of its tokens."""
_TABLE_BITS = 20


class Rules(Protocol):
    """Says what counts as a large part (stage.py)."""

    @property
    def ngram(self) -> int: ...
    @property
    def min_ngrams(self) -> int: ...
    @property
    def min_overlap(self) -> float: ...
    @property
    def min_renamed_overlap(self) -> float: ...


class Ngrams:
    """The n-grams of programs, as they are and with a placeholder for every variable."""

    def __init__(self, programs: list[str], rules: Rules) -> None:
        self._ngram = rules.ngram
        found = [tokens(program) for program in programs]
        self._tables = [
            Table([ngrams(each(program), rules.ngram) for program in found], rules.min_ngrams, share)
            for each, share in ((as_they_are, rules.min_overlap), (renamed, rules.min_renamed_overlap))
        ]

    def held(self, content: str) -> Iterator[tuple[int, str]]:
        """Yield the number of every program that a document holds, and the document's text where the program begins."""
        document = tokens(content)
        for table, hashes in zip(self._tables, (as_they_are(document), renamed(document)), strict=True):
            for number, place in table.held(ngrams(hashes, self._ngram)):
                yield number, document.excerpt(place, 2 * self._ngram)


class Table:
    """Which programs have which n-grams."""

    def __init__(self, programs: list[NDArray[np.uint64]], min_ngrams: int, min_share: float) -> None:
        different = [np.unique(each) for each in programs]
        different = [each if len(each) >= min_ngrams else each[:0] for each in different]
        sizes = np.array([len(each) for each in different], np.int64)
        joined = np.concatenate([np.empty(0, np.uint64), *different])
        self._set = HashSet(joined, _TABLE_BITS)
        self._key_of = np.searchsorted(self._set.hashes, joined)
        self._owners = np.repeat(np.arange(len(programs)), sizes)
        self._least = np.maximum(1, np.ceil(sizes * min_share - 1e-9)).astype(np.int64)
        self._fewest = int(self._least[sizes > 0].min(initial=np.iinfo(np.int64).max))

    def held(self, grams: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
        """Yield the number of every program that has enough of its n-grams here, and the place of the first of them."""
        places, keys = self._set.find(grams)
        if len(places) < self._fewest:
            return
        found = np.zeros(len(self._set.hashes), bool)
        found[keys] = True
        counts = np.bincount(self._owners[found[self._key_of]], minlength=len(self._least))
        for program in np.flatnonzero(counts >= self._least):
            own = np.isin(keys, self._key_of[self._owners == program])
            yield int(program), int(places[own][0])


def as_they_are(document: Tokens) -> NDArray[np.uint64]:
    return document.hashes


def renamed(document: Tokens) -> NDArray[np.uint64]:
    """Return the hashes, with one and the same hash for all variables."""
    return np.where(document.variables, _PLACEHOLDER, document.hashes)


def ngrams(hashes: NDArray[np.uint64], ngram: int) -> NDArray[np.uint64]:
    """Return the 64-bit hash of every `ngram` tokens in a row; nothing if there are fewer."""
    count = len(hashes) - ngram + 1
    if count < 1:
        return hashes[:0]
    joined = hashes[:count].copy()
    for place in range(1, ngram):
        joined *= _ORDER
        joined += hashes[place : place + count]
    # The lookup uses the high bits. They depend on all tokens: the low bits of the first ones were moved up.
    return joined

"""Pairs of duplicates, exact and near, found in one band after the other.

A band has one key per document. Documents that share a key are candidates. In the exact band they are duplicates if their whole
fingerprints are equal; in a MinHash band, if their signatures agree in at least the threshold's share of values. The pairs
connect the same documents whatever the order of reading. Documents already connected through others with the same key are not
compared.

The keys of a band are handled in parts, so that memory does not grow with the number of documents: about 40 bytes for each of
PART_DOCUMENTS, and TOGETHER signatures.

Cost: a group of n documents that are all alike takes n comparisons. A group of n that all differ, which is rare, would take
n * n / 2; at most LEADERS * n of them are made, in the order of the fingerprints.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.segments import FINGERPRINT, Segment
from codeparrot.files import new_file

EXACT = -1
PART_DOCUMENTS = 4_000_000
LEADERS = 1000
TOGETHER = 16_384
"""Signatures in memory at once, unless a group of at most LEADERS documents has the last of them."""


class BandPart(NamedTuple):
    """A task: the keys of a band that leave the remainder `part` when divided by `parts`."""

    band: int
    """EXACT or the number of a MinHash band."""
    part: int
    parts: int
    output: Path
    """File of the pairs: an array (k, 2) of document numbers."""


class Documents:
    """All candidates of a build, numbered through their segments."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.starts = np.cumsum([0, *map(len, segments)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def signatures(self, numbers: NDArray[np.int64], permutations: int) -> NDArray[np.uint32]:
        found = np.empty((len(numbers), permutations), np.uint32)
        for places, segment, rows in self.located(numbers):
            found[places] = segment.signatures(rows, permutations)
        return found

    def fingerprints(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the two halves of each fingerprint: (k, 2)."""
        found = np.empty((len(numbers), 2), np.uint64)
        for places, segment, rows in self.located(numbers):
            found[places] = fingerprints(segment)[rows]
        return found

    def located(self, numbers: NDArray[np.int64]) -> "list[tuple[NDArray[np.int64], Segment, NDArray[np.int64]]]":
        """Return, for each segment that holds some of the documents, their places in `numbers` and their rows in it."""
        owners = np.searchsorted(self.starts, numbers, side="right") - 1
        order = np.argsort(owners, kind="stable")
        cuts = np.flatnonzero(np.diff(owners[order])) + 1
        groups = np.split(order, cuts) if len(order) else []
        return [
            (places, self.segments[owners[places[0]]], numbers[places] - self.starts[owners[places[0]]]) for places in groups
        ]


def fingerprints(segment: Segment) -> NDArray[np.uint64]:
    """Return the two halves of the fingerprint of every candidate in a segment: (n, 2)."""
    chunks = segment.columns(FINGERPRINT).column(0).chunks
    data = b"".join(chunk.buffers()[1].to_pybytes()[chunk.offset * 16 : (chunk.offset + len(chunk)) * 16] for chunk in chunks)
    return np.frombuffer(data, np.uint64).reshape(-1, 2)


def find_pairs(task: BandPart, segments: list[Segment], settings: NearDuplicates) -> None:
    """Write the pairs in a part of a band, unless they are already there."""
    if task.output.exists():
        return
    documents = Documents(segments)
    numbers, groups = _groups(task, documents)
    pairs = _exact(documents, numbers, groups) if task.band == EXACT else near_pairs(documents, numbers, groups, settings)
    save_pairs(task.output, pairs)


def save_pairs(output: Path, pairs: NDArray[np.int64]) -> None:
    """Write the pairs of a task."""
    with new_file(output) as fresh, fresh.open("wb") as file:
        np.save(file, pairs)


Groups = NDArray[np.int64]
"""The first place of every group, and the place after its last: (g, 2)."""


def _groups(task: BandPart, documents: Documents) -> tuple[NDArray[np.int64], Groups]:
    """Return the document numbers in the order of their keys, and where two or more have the same key."""
    all_keys, all_numbers = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for start, segment in zip(documents.starts.tolist(), documents.segments, strict=False):
        keys = fingerprints(segment)[:, 0] if task.band == EXACT else segment.keys(task.band)
        wanted = np.flatnonzero((keys % np.uint64(task.parts) == task.part) & ((keys != 0) | (task.band == EXACT)))
        all_keys.append(keys[wanted])
        all_numbers.append(wanted + start)
    keys, numbers = np.concatenate(all_keys), np.concatenate(all_numbers)
    order = np.argsort(keys, kind="stable")
    return numbers[order], same_neighbours(keys[order])


def same_neighbours(keys: NDArray[np.uint64]) -> Groups:
    """Return the runs of two or more equal keys."""
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    ends = np.append(starts[1:], len(keys))
    several = ends - starts > 1
    return np.stack([starts[several], ends[several]], axis=1)


def _exact(documents: Documents, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.int64]:
    members = numbers[_inside(groups)]
    halves = documents.fingerprints(members)
    order = np.lexsort((members, halves[:, 1], halves[:, 0]))
    members, halves = members[order], halves[order]
    same = np.all(halves[1:] == halves[:-1], axis=1)
    return np.stack([members[:-1][same], members[1:][same]], axis=1)


def _inside(groups: Groups) -> NDArray[np.int64]:
    lengths = groups[:, 1] - groups[:, 0]
    return np.arange(lengths.sum()) + np.repeat(groups[:, 0] - np.cumsum(lengths) + lengths, lengths)


def near_pairs(documents: Documents, numbers: NDArray[np.int64], groups: Groups, settings: NearDuplicates) -> NDArray[np.int64]:
    """Return the pairs inside the groups whose signatures agree."""
    least = int(np.ceil(settings.threshold * settings.permutations - 1e-9))
    lengths = groups[:, 1] - groups[:, 0]
    found = [np.empty((0, 2), np.int64)]
    pairs = numbers[np.stack([groups[lengths == 2, 0], groups[lengths == 2, 0] + 1], axis=1)]
    for start in range(0, len(pairs), TOGETHER // 2):
        some = pairs[start : start + TOGETHER // 2]
        rows = documents.signatures(some.reshape(-1), settings.permutations).reshape(len(some), 2, -1)
        found.append(some[(rows[:, 0] == rows[:, 1]).sum(axis=1) >= least])
    for some in _together(groups[lengths > 2]):
        if len(some) == 1 and some[0, 1] - some[0, 0] > LEADERS:
            found.append(_among_many(documents, numbers[some[0, 0] : some[0, 1]], settings.permutations, least))
            continue
        members = numbers[_inside(some)]
        rows = documents.signatures(members, settings.permutations)
        ends = np.cumsum(some[:, 1] - some[:, 0])
        for end, length in zip(ends.tolist(), (some[:, 1] - some[:, 0]).tolist(), strict=True):
            found.append(_among(members[end - length : end], Rows(rows[end - length : end]), least))
    return np.concatenate(found)


def _together(groups: Groups) -> Iterator[Groups]:
    """Yield some groups at a time: those of at most LEADERS documents until they have TOGETHER, each larger one by itself."""
    lengths = groups[:, 1] - groups[:, 0]
    small = groups[lengths <= LEADERS]
    parts = np.cumsum(lengths[lengths <= LEADERS]) // TOGETHER
    yield from np.split(small, np.flatnonzero(np.diff(parts)) + 1) if len(small) else ()
    for group in groups[lengths > LEADERS]:
        yield group[None]


class Rows:
    """Signatures that are in memory."""

    def __init__(self, rows: NDArray[np.uint32]) -> None:
        self._rows = rows

    def alike(self, leader: int, places: NDArray[np.int64], least: int) -> NDArray[np.int64]:
        """Return the places whose signatures agree with the leader's in `least` values or more."""
        return places[(self._rows[places] == self._rows[leader]).sum(axis=1) >= least]


class StoredRows:
    """Signatures that are read, TOGETHER at a time, whenever they are compared."""

    def __init__(self, documents: Documents, members: NDArray[np.int64], permutations: int) -> None:
        self._documents, self._members, self._permutations = documents, members, permutations

    def alike(self, leader: int, places: NDArray[np.int64], least: int) -> NDArray[np.int64]:
        (wanted,) = self._documents.signatures(self._members[leader : leader + 1], self._permutations)
        parts = [places[start : start + TOGETHER] for start in range(0, len(places), TOGETHER)]
        rows = (self._documents.signatures(self._members[some], self._permutations) for some in parts)
        return np.concatenate([some[(each == wanted).sum(axis=1) >= least] for some, each in zip(parts, rows, strict=True)])


def _among_many(documents: Documents, members: NDArray[np.int64], permutations: int, least: int) -> NDArray[np.int64]:
    # Which of so many lead must not depend on the order of reading.
    halves = documents.fingerprints(members)
    members = members[np.lexsort((members, halves[:, 1], halves[:, 0]))]
    if len(members) > TOGETHER:
        return _among(members, StoredRows(documents, members, permutations), least)
    return _among(members, Rows(documents.signatures(members, permutations)), least)


def _among(members: NDArray[np.int64], rows: Rows | StoredRows, least: int) -> NDArray[np.int64]:
    component = np.arange(len(members))
    found = [np.empty((0, 2), np.int64)]
    for leader in range(min(len(members) - 1, LEADERS)):
        apart = np.flatnonzero(component[leader + 1 :] != component[leader]) + leader + 1
        if not len(apart):
            if np.all(component == component[leader]):
                break
            continue
        alike = rows.alike(leader, apart, least)
        if len(alike):
            found.append(np.stack([np.full(len(alike), members[leader]), members[alike]], axis=1))
            component[np.isin(component, component[alike])] = component[leader]
    return np.concatenate(found)

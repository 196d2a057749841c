"""Best-fit packing: documents stay whole where they fit (Ding et al., 2024, "Fewer Truncations Improve Language Modeling").

Documents of a lane are gathered until they have as many tokens as a block of windows (shuffle.py). Those longer than a window
are cut into windows; what is left of them, and the others, are placed one by one, the longest first, each into the window in
which it leaves the least room. Then the block is handed out in a drawn order, as any block is. What no document fills is
padding at the end of a window.

Guarantees: each token of the lane is in one window; the windows of a block are a function of its documents; a lane's place is
where its block begins and how many of its windows are handed out. A block ends with an epoch, and with a whole document, or in
a longer one where a window ends.

Cost: n log n in the documents of a block; beside encoding them, less than benchmarks/packing.py allows. Memory: that of blocks.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from codeparrot.stream.lane import Chunk, Cursor

Item = TypeVar("Item")

PADDING = -100
"""Stands behind the tokens of a window; as a label it is codeparrot.model.IGNORED, which is not predicted."""


class Packed:
    """What the blocks of a source have held so far, for reports."""

    def __init__(self) -> None:
        self.windows = self.tokens = self.documents = self.cut = 0
        """Windows; tokens without padding; documents that ended in them; those of these that lie in several windows."""

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.array([self.windows, self.tokens, self.documents, self.cut])


class Kind(NamedTuple, Generic[Item]):
    """What parts are: tokens, or tokens and where they come from."""

    size: Callable[[Item], int]
    """Returns the number of tokens."""
    last: Callable[[Item], int]
    """Returns the last token."""
    join: Callable[[list[Item]], Item]
    """Returns several parts as one."""


def last_of(tokens: NDArray[np.uint32]) -> int:
    """Return the last token as a number of Python, which compares faster than one of numpy."""
    return tokens.item(-1)


TOKENS: Kind[NDArray[np.uint32]] = Kind(len, last_of, np.concatenate)


def parts(stream: Iterator[Chunk], seq_length: int, end_of_document: int) -> Iterator[tuple[NDArray[np.uint32], Cursor]]:
    """Cut the joined chunks behind each document, and a document behind each `seq_length` tokens.

    The cursor of a part is the one behind it, as in `lane.pack`.
    """
    carried, cursor = np.empty(0, np.uint32), Cursor()
    for chunk in stream:
        offset, begin = len(carried), 0
        joined = np.concatenate([carried, chunk.tokens])
        stops = _stops(joined, seq_length, end_of_document)
        owners = np.searchsorted(chunk.starts, np.array(stops, np.int64) - offset, side="left") - 1
        starts = chunk.starts.tolist()
        for stop, owner in zip(stops, owners.tolist(), strict=True):
            # A copy, since a part would keep the whole in memory. The cursor is what `_replace` makes, at a third of its time.
            epoch, shard, block, row, piece, _ = chunk.cursors[owner]
            yield joined[begin:stop].copy(), Cursor(epoch, shard, block, row, piece, stop - offset - starts[owner])
            begin = stop
        carried = joined[begin:]
        if len(chunk.tokens):
            cursor = chunk.cursors[-1]._replace(token=len(chunk.tokens) - int(chunk.starts[-1]))
    if len(carried):
        yield carried, cursor


def _stops(tokens: NDArray[np.uint32], seq_length: int, end_of_document: int) -> list[int]:
    stops: list[int] = []
    begin = 0
    for end in (np.flatnonzero(tokens == end_of_document) + 1).tolist():
        stops.extend(range(begin + seq_length, end, seq_length))
        stops.append(end)
        begin = end
    stops.extend(range(begin + seq_length, len(tokens) + 1, seq_length))
    return stops


def place(sizes: Sequence[int], seq_length: int) -> list[list[int]]:
    """Return the indexes of the parts in each window, ascending, by best-fit decreasing: n log n.

    Args:
        sizes: tokens of each part, from 1 to `seq_length`.
        seq_length: tokens that a window has room for.
    """
    with_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # those that some window has, ascending
    windows: list[list[int]] = []
    for index in np.argsort(-np.asarray(sizes, np.int64), kind="stable").tolist():
        at = bisect_left(rooms, sizes[index])
        if at == len(rooms):
            window, room = len(windows), seq_length
            windows.append([])
        else:
            room = rooms[at]
            window = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[at]
        windows[window].append(index)
        if left := room - sizes[index]:
            if left not in with_room:
                insort(rooms, left)
            with_room.setdefault(left, []).append(window)
    for own in windows:
        own.sort()
    return windows


class Parts(Generic[Item]):
    """The parts of a lane, of which the next one can be looked at: it may belong to the next block."""

    def __init__(self, stream: Iterator[tuple[Item, Cursor]]) -> None:
        self._stream = stream
        self.next = next(stream, None)
        self.ended = True
        """Whether the last part of the last block ends its document; taken for true at the beginning, for reports alone."""

    def take(self) -> None:
        self.next = next(self._stream, None)


class BestFitBlock(Generic[Item]):
    """A block of windows in the making; see `shuffle.in_blocks`."""

    def __init__(
        self, stream: Parts[Item], kind: Kind[Item], num_windows: int, seq_length: int, end: int, packed: Packed
    ) -> None:
        self.items: dict[int, Item] = {}
        self.end = Cursor()
        """The cursor behind the last part."""
        self.missing = num_windows
        """Windows' worth of tokens still to come, at most."""
        self._stream, self._kind, self._packed = stream, kind, packed
        self._room, self._seq_length, self._end_token = num_windows * seq_length, seq_length, end
        self._parts: list[Item] = []

    def fill(self, count: int) -> None:
        """Gather `count` windows' worth of tokens, or fewer if the block, the epoch or the stream ends before."""
        if not self.missing:
            return
        # A call gathers about one part, so what it does besides counts as much.
        stream, room = self._stream, self._room
        least = max(0, room - count * self._seq_length)
        while room > least:
            found = stream.next
            if found is None or (self._parts and found[1].epoch != self.end.epoch):
                room = 0
                break
            part, self.end = found
            self._parts.append(part)
            room -= self._kind.size(part)
            stream.take()
        self._room, self.missing = room, max(0, -(-room // self._seq_length))
        if not self.missing:
            self._pack()

    def _pack(self) -> None:
        parts, kind, length = self._parts, self._kind, self._seq_length
        sizes = list(map(kind.size, parts))
        # Most parts are windows of their own, the middles of long documents. They are the longest, so they come first.
        windows = [part for part, size in zip(parts, sizes, strict=True) if size == length]
        others = [part for part, size in zip(parts, sizes, strict=True) if size < length]
        for own in place(list(map(kind.size, others)), length):
            windows.append(others[own[0]] if len(own) == 1 else kind.join([others[index] for index in own]))
        self.items = dict(enumerate(windows))
        # All at once: a comparison with a number of numpy takes as long as copying a part.
        ends = np.array(list(map(kind.last, parts)), np.int64) == self._end_token
        self._parts = []
        begins = np.concatenate([[self._stream.ended], ends[:-1]]) if len(ends) else ends
        self._stream.ended = bool(ends[-1]) if len(ends) else self._stream.ended
        packed = self._packed
        packed.windows += len(windows)
        packed.tokens += sum(sizes)
        packed.documents += int(ends.sum())
        packed.cut += int((ends & ~begins).sum())


def padded(windows: Sequence[NDArray[Any]], seq_length: int) -> NDArray[np.int64]:
    """Return windows as one array [windows, seq_length], with PADDING behind the tokens of each."""
    found = np.empty((len(windows), seq_length), np.int64)
    for row, window in zip(found, windows, strict=True):
        row[: len(window)] = window
        row[len(window) :] = PADDING
    return found

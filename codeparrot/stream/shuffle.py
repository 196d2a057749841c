"""The order in which a lane hands out its windows: a permutation of each block of them, drawn from its key.

The windows of a document are packed one behind the other. Handed out like that, consecutive steps train on neighbouring windows
of the same few files, and a model learns less from as many tokens (benchmarks/learning.py). So a lane packs a block of windows
and hands them out in an order drawn from (seed, lane, number of the block's first window). No token is lost: the next block
begins with the token behind the last one of this block.

The state says where the block begins and how many of its windows are handed out. Resuming packs one block and nothing before. A
block ends with an epoch: no document comes again before the others were seen. While a block is handed out, the next one is
prepared at an even pace, a higher one behind a short block.

Memory: about a block a lane, since windows that are handed out make room for those of the next block. `default_block_windows`
keeps the blocks of all lanes within 64 MB, however many lanes a process owns.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

from codeparrot.config import StreamConfig
from codeparrot.stream.best_fit import BestFitBlock, Kind, Packed, Parts
from codeparrot.stream.lane import Cursor, Order, Reading
from codeparrot.stream.losses import leave_out, refuse

Item = TypeVar("Item")

MOST_BLOCK_WINDOWS = 2048
BLOCK_BYTES = 1 << 26
"""Tokens of a block of every lane, 4 bytes each."""
FAR_APART = 4
"""Places of the lane's share that are read side by side, so that a block mixes several repositories."""
FAR_APART_TOKENIZED = 32
"""The same for windows that were tokenised before, which can be read anywhere at no cost."""
SEQUENTIAL_DOCUMENTS = 256
"""Documents read at once of shards that can only be read from their start."""


class LaneState(NamedTuple):
    """How far a lane has been consumed."""

    num_windows: int = 0
    cursor: Cursor = Cursor()
    """Where the block begins whose windows are being handed out. Without blocks of windows, behind the last window."""
    taken: int = 0
    """Windows of that block that are handed out."""
    tokens: int = 0
    """Of all windows, without padding, where they are packed best-fit; else 0."""


class MixedState(NamedTuple):
    """How far a lane has been consumed, over all sources of the stream."""

    sources: tuple[LaneState, ...]

    @property
    def num_windows(self) -> int:
        return sum(state.num_windows for state in self.sources)


def default_block_windows(stream: StreamConfig) -> int:
    """Return the number of windows in a block of each lane, from memory for all lanes in one process."""
    return max(1, min(MOST_BLOCK_WINDOWS, BLOCK_BYTES // (4 * stream.lanes * stream.seq_length)))


def block_windows(stream: StreamConfig) -> int:
    """Return `stream.block_windows`, or what stands for 0."""
    return stream.block_windows or default_block_windows(stream)


def reading(stream: StreamConfig, tokenized: bool, part: float = 1.0) -> Reading:
    """Return how lanes read their shards; see `place_tokens` for the size of those.

    `part`: of the block of all sources that the block of this one is. Together they read about as many places as one source
    would.
    """
    meet = leave_out if stream.on_error == "skip" else refuse
    if stream.order == "documents":
        return Reading(1, stream.block_documents, meet)
    together = FAR_APART_TOKENIZED if tokenized else max(1, round(FAR_APART * part))
    return Reading(together, SEQUENTIAL_DOCUMENTS, meet)


def place_tokens(stream: StreamConfig, tokenized: bool, part: float = 1.0) -> int:
    """Return how many tokens each of the places holds that are read side by side: together, as many as a block.

    No source has smaller ones than a source alone would have, since a row group is decoded again for each place in it: those of
    a source with a small `part` serve several of its blocks.
    """
    tokens = block_windows(stream) * stream.seq_length
    return max(earlier_place_tokens(stream, tokenized, part), 0 if tokenized else int(tokens / part) // FAR_APART)


def earlier_place_tokens(stream: StreamConfig, tokenized: bool, part: float) -> int:
    """Return what `place_tokens` returned before positions in mixtures said it: theirs are places of that size."""
    tokens = block_windows(stream) * stream.seq_length
    return max(1, tokens // reading(stream, tokenized, part).together)


def in_order(
    packed: Iterator[tuple[Item, Cursor]], order: Order, stream: StreamConfig, tokenized: bool, start: LaneState
) -> Iterator[tuple[Item, LaneState]]:
    """Yield a lane's windows after `start` in the order of the run, with the state behind each.

    Args:
        packed: windows as they were packed, from `start.cursor` on, each with the cursor behind it.
        order: what the order is drawn from.
        stream: the configuration.
        tokenized: whether the windows were tokenised before. Their own blocks are shuffled already.
        start: a state that this function has yielded, or the beginning.
    """
    if stream.order == "documents" or tokenized:
        for number, (item, cursor) in enumerate(packed, start.num_windows + 1):
            yield item, LaneState(number, cursor)
        return
    yield from shuffled(packed, order, block_windows(stream), start)


def best_fit(
    parts: Iterator[tuple[Item, Cursor]],
    kind: Kind[Item],
    order: Order,
    stream: StreamConfig,
    end_of_document: int,
    start: LaneState,
    packed: Packed,
) -> Iterator[tuple[Item, LaneState]]:
    """Yield a lane's windows after `start`, packed best-fit; see `in_order`.

    Args:
        parts: of documents, as `best_fit.parts` cuts them, from `start.cursor` on.
        kind: what a part is, and so a window.
        order, stream, start: as of `in_order`.
        end_of_document: the token that ends documents.
        packed: counts what the blocks hold.
    """
    new = partial(BestFitBlock, Parts(parts), kind, block_windows(stream), stream.seq_length, end_of_document, packed)
    return in_blocks(new, order, start, kind.size)


def shuffled(
    packed: Iterator[tuple[Item, Cursor]], order: Order, num_windows: int, start: LaneState
) -> Iterator[tuple[Item, LaneState]]:
    """Yield windows in blocks of up to `num_windows`, each block in its drawn order; see `in_order`."""
    return in_blocks(partial(_Block, packed, num_windows), order, start)


class Block(Protocol[Item]):
    """A block of windows in the making."""

    items: dict[int, Item]
    """Its windows by number, once nothing is missing."""
    end: Cursor
    """Where the next block begins."""
    missing: int
    """Windows still to come, at most."""

    def fill(self, count: int) -> None:
        """Prepare `count` windows more."""
        ...


def in_blocks(
    new: Callable[[], Block[Item]], order: Order, start: LaneState, counted: Callable[[Item], int] | None = None
) -> Iterator[tuple[Item, LaneState]]:
    """Yield windows in the blocks that `new` makes one after the other, each in its drawn order; see `in_order`.

    `counted`: returns the number of tokens of a window, where states count them.
    """
    number, begin, taken, tokens = start.num_windows - start.taken, start.cursor, start.taken, start.tokens
    block = new()
    block.fill(block.missing)
    if taken > len(block.items):  # the state of a run with another seed, which goes on with a block of its own
        number, taken = start.num_windows, 0
    while block.items:
        count = len(block.items)
        following = new()
        for place, index in enumerate(order.draw(count, "windows", number).tolist()):
            item = block.items.pop(index)
            if place < taken:
                continue
            # As much of the next block as it takes to have it ready when this one ends.
            following.fill(math.ceil(following.missing / (count - place)))
            last = place == count - 1
            tokens += counted(item) if counted else 0
            yield item, LaneState(number + place + 1, *((block.end, 0) if last else (begin, place + 1)), tokens)
        following.fill(following.missing)
        number, begin, taken, block = number + count, block.end, 0, following


class _Block(Generic[Item]):
    """A block of windows in the making."""

    def __init__(self, packed: Iterator[tuple[Item, Cursor]], size: int) -> None:
        self.items: dict[int, Item] = {}
        self.end = Cursor()
        """The cursor behind the last window."""
        self.missing = size
        """Windows still to come, at most."""
        self._packed, self._epoch = packed, -1

    def fill(self, count: int) -> None:
        """Add `count` windows, or fewer if the epoch or the stream ends before."""
        while self.missing and count:
            count -= 1
            found = next(self._packed, None)
            if found is None:
                self.missing = 0
                return
            item, self.end = found
            self._epoch = self._epoch if self.items else self.end.epoch
            self.items[len(self.items)] = item
            self.missing = self.missing - 1 if self.end.epoch == self._epoch else 0
